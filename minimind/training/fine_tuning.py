"""What stages share that make an answering model of a pretrained one: what they start from, and their rows.

The base lies in the run's folder too, so a resumed run begins from the weights that it began from, whatever has become
of the base meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import World, open_rows, pack_rows, write_rows
from ..data.chat_examples import chat_examples
from ..data.rows import Columns
from ..data.world import Conversation
from ..device import choose_device
from ..errors import UserError
from ..metrics import HeldOut, perplexity
from ..model import MiniMind, load
from ..runs import find_run, is_adapter, is_shipped, weights_digest
from ..settings import FineTuneSettings
from ..tokenizer import Tokenizer
from .corpus import Corpus, Recipe, open_corpus, prepare_corpus
from .prepared import link, read_corpus_file
from .replay import Pretraining, pretraining_of, repeated, with_replay

BASE_FILES = ("config.json", "generation_config.json", "model.safetensors")
PRETRAINING_DOCUMENTS = 32
"""Held-out documents of the pretraining that each look reads: few, but the same ones each time."""


@dataclass
class Conversations:
    """What a fine-tuning stage reads."""

    corpus: Corpus
    """The rows to train on; what is held out there are documents of the pretraining."""
    answers: dict[str, np.ndarray]
    """Conversations that are held out, packed."""
    base: Path
    """The model that it starts from, as it was at the start."""

    @property
    def facts(self) -> dict[str, Any]:
        """Counts, for run.json and the report."""
        return self.corpus.facts

    @property
    def tokenizer(self) -> Tokenizer:
        """The base's."""
        return self.corpus.tokenizer


def open_conversations(folder: Path) -> Conversations:
    """Read what `prepare_conversations` left.

    Raises:
        UserError: if it is not whole.
    """
    corpus = open_corpus(folder)
    try:
        answers = open_rows(folder / "data" / "answers", corpus.tokenizer.digest)
    except UserError as error:
        raise UserError(f"{error}; start over with --overwrite") from None
    return Conversations(corpus, answers, folder / "data" / "base")


def check_start(settings: FineTuneSettings) -> None:
    """Refuse what cannot work, before anything is read."""
    if not 0 <= settings.replay < 1:
        raise UserError(f"replay must be at least 0 and below 1, got {settings.replay}")


@dataclass(frozen=True)
class Lesson:
    """What differs between stages that fine-tune on conversations."""

    name: str
    """Of the stage."""
    documents: Callable[[World, str], Iterable[Conversation]]
    """What the embedded world has to teach, of a split."""
    tokens: int = 0
    """Shorter data are repeated until they have as many, each time between other parts of what is replayed."""
    replayed: Callable[[Path, Pretraining], Iterator[Columns] | None] = lambda base, pretraining: None
    """What is repeated of what the model in a folder has learned; None for documents of its pretraining."""
    check: Callable[[MiniMind], None] = lambda model: None
    """Refuses a base with which the stage cannot work, before any data are read."""
    facts_of_base: Callable[[Path, MiniMind, Tokenizer], Mapping[str, Any]] = lambda *base: {}
    """What is noted of the base, to compare with at the end."""


ANSWERING = Lesson("sft", World.conversations)


def prepare_conversations(
    settings: FineTuneSettings, row_count: int, folder: Path, lesson: Lesson = ANSWERING
) -> None:
    """Leave in a folder what `open_conversations` reads.

    Args:
        settings: `data_path` names the reader's own conversations; without it they come from the embedded world that
            the base was pretrained on.
        row_count: rows that the run will read, for the world, which would go on for ever.
        folder: gets `data/` and the tokenizer.
        lesson: of the stage.

    Raises:
        UserError: if the base or the conversations cannot be read, or do not fit together.
    """
    try:
        base = find_run(settings.from_weight)
    except UserError as error:
        raise UserError(f"--from-weight {error}") from None
    if base.resolve() == Path(settings.output).resolve():
        raise UserError(f"--from-weight {settings.from_weight} is --output itself; choose another --output")
    if is_adapter(base):
        raise UserError(
            f"--from-weight {base}: is an adapter; `minimind merge {base}` makes a model of it first"
        )
    model, tokenizer = load(settings.from_weight)
    lesson.check(model)
    longest = model.config.max_position_embeddings
    if settings.max_seq_len > longest:
        raise UserError(
            f"max_seq_len {settings.max_seq_len} is longer than {longest}, the longest text that "
            f"{settings.from_weight} was trained on; give --max-seq-len {longest}"
        )
    pretraining = pretraining_of(base, tokenizer)
    own = settings.data_path is not None
    seed = None if own else pretraining.seed or 0
    counts: Counter[str] = Counter()
    kept_counts: Counter[str] = Counter()
    last: Iterator[Columns | list[int]] | None = lesson.replayed(base, pretraining)
    known = last is not None or pretraining.seed is not None or pretraining.folder is not None
    replayed = last or pretraining.documents(settings.seed)
    replay = settings.replay if known else 0.0

    def examples(tokenizer: Tokenizer, conversations: Iterable[Any]) -> Iterator[Columns]:
        chats = chat_examples(tokenizer, conversations, settings.max_seq_len, counts)
        chats = repeated(chats, int(lesson.tokens * (1 - replay)))
        return with_replay(chats, replayed, replay, counts) if replay else chats

    def held_out(tokenizer: Tokenizer, conversations: list[Any]) -> list[HeldOut]:
        return pretraining.held_out(PRETRAINING_DOCUMENTS)

    def leave_more(folder: Path, conversations: list[Any]) -> dict[str, Any]:
        chats = chat_examples(tokenizer, conversations, settings.max_seq_len, kept_counts)
        rows = pack_rows(chats, settings.max_seq_len, tokenizer.pad_token_id)
        write_rows(folder / "data" / "answers", rows, tokenizer.vocab_size, tokenizer.digest)
        (folder / "data" / "base").mkdir()
        for name in BASE_FILES:
            if (base / name).exists():
                link(str(base / name), str(folder / "data" / "base" / name))
        nats = [getattr(conversation, "nats", None) for conversation in conversations]
        whole = None not in nats and not kept_counts["truncated"]
        before = held_out(tokenizer, [])
        device = choose_device(settings.device)
        return {
            **counts,
            **lesson.facts_of_base(base, model.to(device), tokenizer),
            "replay_tokens": counts["replay_tokens"],
            "base": f"shipped/{base.name}" if is_shipped(base) else str(base),
            "world_seed": pretraining.seed,
            "conversations_seed": seed,
            "held_out_conversations": kept_counts["conversations"],
            "held_out_nats": sum(nats) if whole else None,
            "pretraining_perplexity_before": perplexity(model, before).perplexity if before else None,
        }

    if settings.replay and not known:
        print(f"no replay: what {settings.from_weight} was pretrained on is not there any more, or not known")
    recipe = Recipe(
        lesson.name,
        "sft",
        examples,
        held_out,
        documents=lambda world, split: iter(lesson.documents(world, split)),
        world_seed=seed,
        key={
            "base": weights_digest(base),
            "repeated to": lesson.tokens,
            "base's name": str(base),
            "replay": replay,
            "seed": settings.seed,
            "pretrained on": [pretraining.seed, str(pretraining.folder)],
        },
        leave_more=leave_more,
    )
    prepare_corpus(settings, tokenizer, row_count, folder, recipe)
    for note in notes_of(read_corpus_file(folder)["facts"]):
        print(note)


def notes_of(counts: Mapping[str, Any]) -> list[str]:
    """What a reader should know of conversations that did not fit."""
    words = {
        "truncated": "longer than a row: their old end was cut",
        "answers_without_end": "with an answer longer than a row: it was cut, and does not teach to stop",
        "dropped": "with nothing left to learn from: left out",
    }
    total = counts["conversations"]
    return [
        f"{counts[name]:,} of {total:,} conversations {why}" for name, why in words.items() if counts[name]
    ]


def base_model(data: Conversations) -> MiniMind:
    """The model to go on from."""
    model = MiniMind.from_pretrained(data.base)
    ends = model.generation_config.get("eos_token_id")
    if data.tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        model.generation_config |= data.tokenizer.special_ids
    return model
