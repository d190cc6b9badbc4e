"""What stages share that make an answering model of a pretrained one: what they start from, and their rows.

The base lies in the run's folder too, so a resumed run begins from the weights that it began from, whatever has become
of the base meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import World, open_rows, pack_rows, write_rows
from ..data.chat_examples import chat_examples
from ..data.rows import Columns
from ..data.world import Conversation
from ..device import choose_device
from ..errors import UserError
from ..metrics import HeldOut, perplexity
from ..model import MiniMind
from ..progress import counted
from ..runs import is_shipped
from ..settings import FineTuneSettings
from ..tokenizer import Tokenizer
from .base import Base
from .corpus import Corpus, Recipe, open_corpus, prepare_corpus
from .numerics import choose_numerics, use_numerics
from .prepared import code_digest, link, read_corpus_file
from .replay import repeated, with_replay

BASE_FILES = ("config.json", "generation_config.json", "model.safetensors")
PRETRAINING_DOCUMENTS = 32
"""Held-out documents of the pretraining that each look reads: few, but the same ones each time."""
FEW_CONVERSATIONS = 20
"""Figures from fewer that are held out are rough."""


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
    replayed: Iterator[Columns] | None = None
    """What is repeated of what the base has learned; None for documents of its pretraining."""
    facts: Callable[[Base], Mapping[str, Any]] = lambda base: {}
    """What is noted of the base, to compare with at the end."""


ANSWERING = Lesson("sft", World.conversations)


def prepare_conversations(
    settings: FineTuneSettings, base: Base, row_count: int, folder: Path, lesson: Lesson = ANSWERING
) -> None:
    """Leave in a folder what `open_conversations` reads.

    Args:
        settings: `data_path` names the reader's own conversations; without it they come from the embedded world that
            the base was pretrained on.
        base: the model to start from.
        row_count: rows that the run will read, for the world, which would go on for ever.
        folder: gets `data/` and the tokenizer.
        lesson: of the stage.

    Raises:
        UserError: if the conversations cannot be read, or do not fit a row.
    """
    preparation = Preparation(settings, base, lesson)
    if settings.replay and not preparation.known:
        what = f"what {settings.from_weight} was pretrained on"
        print(f"no replay: {what} is not known, is not there any more, or has changed since")
    prepare_corpus(settings, base.tokenizer, row_count, folder, preparation.recipe())
    for note in notes_of(read_corpus_file(folder)["facts"]):
        print(note)


class Preparation:
    """How conversations become rows, with what is replayed between them, and what is noted of them.

    Attributes:
        known: whether there is something to replay.
        replay: the share of it.
        seed: of the world that the conversations come from; None for the reader's own.
    """

    def __init__(self, settings: FineTuneSettings, base: Base, lesson: Lesson) -> None:
        self.settings, self.base, self.lesson = settings, base, lesson
        self.known = lesson.replayed is not None or base.pretraining.known
        self.replay = settings.replay if self.known else 0.0
        self.seed = None if settings.data_path is not None else base.pretraining.seed or 0
        self.learned: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    def recipe(self) -> Recipe:
        """What `prepare_corpus` needs to know."""
        return Recipe(
            self.lesson.name,
            "sft",
            self.examples,
            self.held_out,
            documents=lambda world, split: iter(self.lesson.documents(world, split)),
            world_seed=self.seed,
            key={
                "base": self.base.digest,
                "repeated to": self.lesson.tokens,
                "base's name": str(self.base.folder),
                "replay": self.replay,
                "seed": self.settings.seed,
                "pretrained on": [self.base.pretraining.seed, str(self.base.pretraining.folder)],
                "code of the stage": code_digest([Path(getfile(self.lesson.facts))]),
                # Rows do not depend on it. What is measured of the base does.
                "precision": choose_numerics(self.settings, choose_device(self.settings.device))["precision"],
            },
            leave_more=self.leave_more,
        )

    def examples(self, tokenizer: Tokenizer, conversations: Iterable[Any]) -> Iterator[Columns]:
        """Conversations to learn from, and between them what is replayed."""
        chats = self.chats(tokenizer, conversations, self.learned)
        chats = repeated(chats, int(self.lesson.tokens * (1 - self.replay)))
        if not self.replay:
            return chats
        replayed = self.lesson.replayed or self.base.pretraining.documents(self.settings.seed)
        return with_replay(chats, replayed, self.replay, self.learned)

    def chats(
        self, tokenizer: Tokenizer, conversations: Iterable[Any], counts: Counter[str]
    ) -> Iterator[Columns]:
        """Conversations as examples; one of them at least must fit a row."""
        yield from chat_examples(tokenizer, conversations, self.settings.max_seq_len, counts)
        if 0 < counts["conversations"] == counts["dropped"]:
            what = "training" if counts is self.learned else "held-out"
            raise UserError(
                f"max_seq_len {self.settings.max_seq_len}: no {what} conversation fits with the tools that it calls; "
                "give a larger --max-seq-len"
            )

    def held_out(self, tokenizer: Tokenizer, conversations: list[Any]) -> list[HeldOut]:
        """Documents of the pretraining, to see what the training costs there."""
        return self.base.pretraining.held_out(PRETRAINING_DOCUMENTS)

    def leave_more(self, folder: Path, conversations: list[Any]) -> dict[str, Any]:
        """Leave the held-out conversations and the base in a folder; gives the facts for run.json."""
        tokenizer = self.base.tokenizer
        chats = self.chats(tokenizer, conversations, self.kept)
        rows = pack_rows(chats, self.settings.max_seq_len, tokenizer.pad_token_id)
        write_rows(folder / "data" / "answers", rows, tokenizer.vocab_size, tokenizer.digest)
        (folder / "data" / "base").mkdir()
        for name in BASE_FILES:
            if (self.base.folder / name).exists():
                link(str(self.base.folder / name), str(folder / "data" / "base" / name))
        return self.facts(conversations)

    def facts(self, conversations: list[Any]) -> dict[str, Any]:
        """What is known of the base and of the conversations, some of which were held out."""
        base, kept = self.base, self.kept
        nats = [getattr(conversation, "nats", None) for conversation in conversations]
        whole = None not in nats and not kept["truncated"] and not kept["dropped"]
        documents = self.held_out(base.tokenizer, conversations)
        with measuring(base.model, self.settings):
            before = perplexity(base.model, documents).perplexity if documents else None
            facts = self.lesson.facts(base)
        return {
            **self.learned,
            **facts,
            "replay_tokens": self.learned["replay_tokens"],
            "base": f"shipped/{base.folder.name}" if is_shipped(base.folder) else str(base.folder),
            "base_weights": base.digest,
            "world_seed": self.base.pretraining.seed,
            "conversations_seed": self.seed,
            "held_out_conversations": kept["conversations"] - kept["dropped"],
            "held_out_nats": sum(nats) if whole else None,
            "pretraining_perplexity_before": before,
        }


@contextmanager
def measuring(model: MiniMind, settings: FineTuneSettings) -> Iterator[None]:
    """Measure a model as the training will: on its device, in its precision, by its fast parts, which it then keeps."""
    device = choose_device(settings.device)
    model.to(device).eval()
    autocast = use_numerics(model, choose_numerics(settings, device), device)
    with torch.no_grad(), autocast():
        yield


def notes_of(facts: Mapping[str, Any]) -> list[str]:
    """What a reader should know of conversations that did not fit, and of too few that are held out."""
    words = {
        "truncated": "longer than a row: their old end was cut",
        "answers_without_end": "with an answer longer than a row: it was cut, and does not teach to stop",
        "dropped": "too long for a row with the tools that they call: left out",
    }
    total, held_out = facts["conversations"], facts["held_out_conversations"]
    notes = [
        f"{facts[name]:,} of {total:,} conversations {why}" for name, why in words.items() if facts[name]
    ]
    if facts["conversations_seed"] is None and held_out < FEW_CONVERSATIONS:
        notes.append(f"held out: {counted(held_out, 'conversation')}; figures from so few are rough")
    return notes


def base_model(data: Conversations) -> MiniMind:
    """The model to go on from."""
    model = MiniMind.from_pretrained(data.base)
    ends = model.generation_config.get("eos_token_id")
    if data.tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        model.generation_config |= data.tokenizer.special_ids
    return model
