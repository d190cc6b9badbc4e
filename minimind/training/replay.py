"""Replay: what a model has learned before, among what it is fine-tuned on, so that it does not forget it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data import World, encode_documents, open_rows
from ..data.chat_examples import chat_examples
from ..data.rows import Columns
from ..errors import UserError
from ..metrics import HeldOut, held_out
from ..runs import find_run, is_shipped, read_run, weights_digest
from ..tokenizer import Tokenizer
from .corpus import digest
from .prepared import read_corpus_file, read_held_out

WORLD_DOCUMENTS = 1_000_000
"""Replay begins somewhere among so many documents of the world, by the run's seed."""

TELLING = ("tour",)
"""Every other document of the world that is replayed is of this kind. A fact that no quiz and no conversation asks
stands in tours alone."""

DOCUMENTS = 0.3
"""Share of documents in what is replayed of conversations and documents."""


@dataclass(frozen=True)
class Pretraining:
    """What a model was pretrained on, as far as that can still be read."""

    tokenizer: Tokenizer
    seed: int | None
    """Of the embedded world, if it was that."""
    folder: Path | None
    """Else the run that has its documents as rows."""

    @property
    def known(self) -> bool:
        """Whether that is anything."""
        return self.seed is not None or self.folder is not None

    def documents(self, seed: int) -> Iterator[list[int]]:
        """Ids of documents such as the model was trained on, without end, in an order that depends on the seed; of the
        world's, every other one is a tour."""
        if self.seed is not None:
            start = random.Random(f"{seed} replay").randrange(WORLD_DOCUMENTS)
            world = World(self.seed)
            told = world.documents(start=start + WORLD_DOCUMENTS, kinds=TELLING)
            pairs = zip(world.documents(start=start), told, strict=False)
            yield from encode_documents(
                self.tokenizer, (document.text for pair in pairs for document in pair)
            )
        if self.folder is not None:
            rows = open_rows(self.folder / "data" / "rows", self.tokenizer.digest)
            for epoch in count():
                for row in np.random.default_rng([seed, epoch]).permutation(len(rows["input_ids"])):
                    ids, owners = rows["input_ids"][row], rows["document_ids"][row]
                    yield from (ids[owners == owner].tolist() for owner in range(int(owners.max()) + 1))

    def held_out(self, most: int) -> list[HeldOut]:
        """Documents that the model was not trained on."""
        if self.seed is not None:
            return held_out(self.tokenizer, islice(World(self.seed).documents("validation"), most))
        return read_held_out(self.folder)[0][:most] if self.folder is not None else []


def pretraining_of(folder: Path, tokenizer: Tokenizer) -> Pretraining:
    """What the model in a run's folder was pretrained on: there, or in the run that it was fine-tuned from.

    Args:
        folder: of the model.
        tokenizer: the model's; documents of another one are of no use.
    """
    unknown = Pretraining(tokenizer, None, None)
    seen: set[Path] = set()
    try:
        while (
            (run := read_run(folder)) is not None and "from_weight" in run["settings"] and folder not in seen
        ):
            seen.add(folder)
            folder = find_run(run["data"]["base"])
            began_from = run["data"].get("base_weights")  # Earlier runs did not note it.
            if began_from is not None and not is_shipped(folder) and began_from != weights_digest(folder):
                return unknown  # The folder holds other weights by now: trained further, or anew.
        if run is None or "preset" not in run["settings"]:
            return unknown
        if run["settings"].get("data_path") is None:
            return Pretraining(tokenizer, run["settings"].get("seed", 0), None)
        made_for = read_corpus_file(folder, ("key",))["key"].get("made for")
        open_rows(folder / "data" / "rows", tokenizer.digest)
        return Pretraining(tokenizer, None, folder) if made_for == "pretrain" else unknown
    except (UserError, OSError, KeyError, TypeError):
        return unknown  # The run is gone or damaged. That is no mistake in what was asked for.


def conversations_of(
    folder: Path, tokenizer: Tokenizer, row_length: int, seed: int, without: Collection[int] = ()
) -> Iterator[Columns] | None:
    """Conversations such as a model was fine-tuned on, without end, in an order that depends on the seed.

    Args:
        folder: of the fine-tuned model.
        tokenizer: the model's.
        row_length: none is longer.
        seed: of the order.
        without: of the world's conversations, those are left out in which a user says one of these, which
            `questions_in` gives. What a reader's own file taught is kept as rows, and repeated as it is.

    Returns:
        As `chat_examples` gives them, none if all are longer; None if the model has learned none, or they are not
        there any more.
    """
    run = read_run(folder) or {}
    world = run["data"].get("conversations_seed") if isinstance(run.get("data"), dict) else None
    if world is not None:
        start = random.Random(f"{seed} replay").randrange(WORLD_DOCUMENTS)
        talks = World(world).conversations(start=start)
        kept = (talk for talk in talks if not any(said in without for said in questions_in(talk.messages)))
        return chat_examples(tokenizer, kept, row_length, Counter())
    try:
        if read_corpus_file(folder, ("key",))["key"].get("made for") != "sft":
            return None
        rows = open_rows(folder / "data" / "rows", tokenizer.digest)
    except UserError:
        return None  # as in `pretraining_of`
    return _examples_of(rows, row_length, seed)


def learned_last(
    folder: Path, pretraining: Pretraining, row_length: int, seed: int, without: Collection[int] = ()
) -> Iterator[Columns] | None:
    """What a fine-tuned model was trained on last, without end: conversations, and documents between them.

    Conversations alone are not enough: what a model knows from documents, and no conversation asks for, would fade.

    Args:
        folder: of the fine-tuned model; what is not told here is as in `conversations_of`.
        pretraining: what the model was pretrained on.

    Returns:
        None if the model has learned from no conversations, or they are not there any more.
    """
    conversations = conversations_of(folder, pretraining.tokenizer, row_length, seed, without)
    if conversations is None or not pretraining.known:
        return conversations
    return with_replay(conversations, pretraining.documents(seed), DOCUMENTS, Counter())


def questions_in(messages: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """A number for each thing that a user says, the same for the same words."""
    return (digest(message["content"]) for message in messages if message["role"] == "user")


def _examples_of(rows: Mapping[str, np.ndarray], row_length: int, seed: int) -> Iterator[Columns]:
    """What was packed into rows, one by one, pass after pass."""
    for epoch in count():
        fitting = 0
        for row in np.random.default_rng([seed, epoch]).permutation(len(rows["input_ids"])):
            owners = rows["document_ids"][row]
            for owner in range(int(owners.max()) + 1):
                inside = owners == owner
                if inside.sum() <= row_length:
                    fitting += 1
                    yield {name: rows[name][row][inside] for name in ("input_ids", "labels")}
        if not fitting:
            return


def with_replay(
    examples: Iterable[Columns], replayed: Iterator[Columns | list[int]], share: float, counts: Counter[str]
) -> Iterator[Columns]:
    """Put between examples what was learned before, so that this share of all tokens is that.

    Args:
        examples: as `chat_examples` gives them.
        replayed: ids of documents, of which each token is learned, or examples; without end.
        share: of the tokens of both together, below 1.
        counts: is told of `replay_documents` and `replay_tokens`.
    """
    tokens = 0
    for example in examples:
        yield example
        tokens += len(example["input_ids"])
        while counts["replay_tokens"] < share / (1 - share) * tokens:
            if (one := next(replayed, None)) is None:
                break
            again = one if isinstance(one, dict) else {"input_ids": np.array(one), "labels": np.array(one)}
            counts["replay_documents"] += 1
            counts["replay_tokens"] += len(again["input_ids"])
            yield again


def repeated(examples: Iterable[Columns], tokens: int) -> Iterator[Columns]:
    """The examples; and where they are short, all of them again and again, until they have this many tokens."""
    kept: list[Columns] = []
    total = 0
    for example in examples:
        yield example
        total += len(example["input_ids"])
        if total < tokens:
            kept.append(example)
    while kept and total < tokens:
        for example in kept:
            yield example
            total += len(example["input_ids"])
