"""From documents to what training needs: a tokenizer, rows to train on, and documents that are held out.

All of it lies in the run's folder, so a resumed run trains on exactly what it started with, even if the file that it
was made from has changed since. It is made once: another run that would make the same takes over the files of the
first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..data import (
    Example,
    TokenStore,
    World,
    encode_documents,
    pack_rows,
    read_records,
    tokenizer_sample,
    write_rows,
)
from ..errors import UserError
from ..metrics import held_out
from ..progress import progress
from ..settings import CorpusSettings
from ..tokenizer import Tokenizer, VocabularyTooLarge, train_tokenizer
from .prepared import (
    CORPUS_FILE,
    Corpus,
    NewTokenizer,
    Recipe,
    corpus_key,
    holds,
    open_corpus,
    read_corpus,
    read_corpus_file,
    read_held_out,
    seed_of_world,
    share,
    take_if_whole,
    take_over,
)

__all__ = [
    "Corpus",
    "NewTokenizer",
    "Recipe",
    "check_documents",
    "open_corpus",
    "prepare_corpus",
    "read_held_out",
]

LISTED = 20
"""Bad rows that a report names; it counts all of them."""
WORLD_TOKENS = 20_000_000
"""Most tokens of the embedded world that are stored; a longer run reads them again, in another order."""


class Document(Protocol):
    """A document of the world, or a row of a file."""

    @property
    def text(self) -> str: ...


AnyDocument = TypeVar("AnyDocument", bound=Document)


def check_documents(settings: CorpusSettings) -> None:
    """Refuse what cannot work, before anything is read."""
    if settings.validation_documents < 1:
        raise UserError(f"validation_documents must be at least 1, got {settings.validation_documents}")
    if not 0 < settings.validation_share < 1:
        raise UserError(f"validation_share must be above 0 and below 1, got {settings.validation_share}")
    if settings.data_path is None and settings.epochs != type(settings).epochs:
        raise UserError("the embedded world has no end, so it has no epochs; set its length with --steps")


def examples_to_continue(tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[Example]:
    """Whole documents, of which every token is to be predicted."""
    return encode_documents(tokenizer, (document.text for document in documents))


PRETRAINING = Recipe("pretrain", "pretrain", examples_to_continue, held_out)


def prepare_corpus(
    settings: CorpusSettings,
    tokenizer: Tokenizer | NewTokenizer,
    row_count: int,
    folder: Path,
    recipe: Recipe = PRETRAINING,
) -> int:
    """Leave in a folder what `open_corpus` reads: made by an earlier run with equal settings, or now.

    Args:
        settings: `data_path` names the reader's own documents; without it they come from the embedded world.
            `prepared` names a folder that runs share; without it, runs beside this one are looked at.
        tokenizer: one that is there, or how large one should be that is trained on the documents.
        row_count: rows that the run will read, for the world, which would go on for ever.
        folder: gets `data/` and the tokenizer.
        recipe: what the stage makes of a document.

    Returns:
        Ids of the tokenizer.

    Raises:
        UserError: if the documents cannot be read, or are too few, or what is in `prepared` is something else.
    """
    of_world = min(row_count * settings.max_seq_len, WORLD_TOKENS)
    wanted = of_world if settings.data_path is None else None
    key = corpus_key(settings, recipe, tokenizer, wanted)
    if settings.prepared is not None:
        base = Path(settings.prepared)
        if holds(base, key):
            take_over(base, folder)
        else:
            make_corpus(settings, recipe, tokenizer, wanted, folder, key)
            share(folder, base, key)
    else:
        here = Path(settings.output)
        others = sorted(here.parent.iterdir()) if here.parent.is_dir() else []
        if not any(take_if_whole(other, folder, key) for other in others if other.name != here.name):
            make_corpus(settings, recipe, tokenizer, wanted, folder, key)
    for note in read_corpus_file(folder)["notes"]:
        print(note)
    used = read_corpus(folder).tokenizer
    used.save(folder)  # Beside the model, and not a link: to change it there changes no other run.
    return used.vocab_size


def make_corpus(
    settings: CorpusSettings,
    recipe: Recipe,
    tokenizer: Tokenizer | NewTokenizer,
    wanted: int | None,
    folder: Path,
    key: dict[str, Any],
) -> None:
    """Read, split, encode and pack the documents, in one pass, so that a file need not fit into memory."""
    notes: list[str] = []
    if isinstance(tokenizer, NewTokenizer):
        tokenizer, notes = make_tokenizer(settings, recipe.kind, tokenizer)
    counts = {"training_documents": 0, "training_tokens": 0}
    measured: list[Any]
    if settings.data_path is None:
        world = World(seed_of_world(settings, recipe))
        source, records = f"the embedded world, seed {world.seed}", None
        measured = list(islice(recipe.documents(world, "validation"), settings.validation_documents))
        examples = until(recipe.examples(tokenizer, recipe.documents(world, "train")), wanted)
        encoded = progress(examples, "encoding, tokens", wanted, token_count)
    else:
        source = settings.data_path
        records = read_records(source, recipe.kind, skip_bad_rows=settings.skip_bad_rows)
        shown = progress(records, "reading and encoding, bytes", records.size, lambda record: record.size)
        measured = []  # filled on the way: it is whole once all documents were read
        training = hold_out(shown, settings.validation_documents, settings.validation_share, measured)
        encoded = recipe.examples(tokenizer, training)
    rows = pack_rows(counted(encoded, counts), settings.max_seq_len, tokenizer.pad_token_id)
    write_rows(folder / "data" / "rows", refuse_none(rows, source), tokenizer.vocab_size, tokenizer.digest)
    left_out: dict[str, Any] = {}
    if records is not None and records.report.bad:
        problems = records.report.problems
        notes.append(f"left out {records.report.bad} bad row(s): {' | '.join(problems[:3])}")
        left_out = {"bad_rows": records.report.bad, "left_out": " | ".join(problems[:LISTED])}
    kept = recipe.held_out(tokenizer, measured)
    if kept:
        ids = (document.ids for document in kept)
        TokenStore.write(folder / "data" / "held_out", ids, tokenizer.vocab_size, tokenizer.digest)
    facts = {
        "source": source,
        **counts,
        "held_out_documents": len(kept),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_digest": tokenizer.digest,
        **left_out,
        **recipe.leave_more(folder, measured),
    }
    measures = {"bytes": [document.bytes for document in kept], "nats": [document.nats for document in kept]}
    tokenizer.save(folder / "data" / "tokenizer")
    stored = {"key": key, "facts": facts, "notes": notes, **measures}
    (folder / CORPUS_FILE).write_text(json.dumps(stored), encoding="utf-8")


def make_tokenizer(settings: CorpusSettings, kind: str, new: NewTokenizer) -> tuple[Tokenizer, list[str]]:
    """Train a tokenizer on a sample of the data; and what is to be said of it."""
    # Handed over as an iterator below: a list of strings might be taken for names of files.
    texts = tokenizer_sample(settings.data_path, settings.seed, kind)
    try:
        return train_tokenizer(iter(texts), new.vocab_size), []
    except VocabularyTooLarge as error:
        if settings.data_path is not None:
            # Little text may be all that bad rows have left; then they are what has to be said.
            for _ in read_records(settings.data_path, kind, skip_bad_rows=settings.skip_bad_rows):
                pass
        if new.exact:
            raise
        note = f"vocabulary: {error.largest} ids instead of {new.vocab_size}, the data have no more pairs to merge"
        return train_tokenizer(iter(texts), error.largest), [note]


def hold_out(
    documents: Iterable[AnyDocument], most: int, share: float, kept: list[AnyDocument]
) -> Iterator[AnyDocument]:
    """Hand on the documents to train on, and keep back some to measure on.

    A hash of its text decides where a document falls, so copies of a text fall on the same side. Kept are the texts
    with the smallest hashes: those below the share, no more than `most`, at least one. Nothing else is remembered: what
    a smaller hash pushes out is handed on.

    Args:
        documents: are read once.
        most: documents that are kept at most.
        share: of all hashes, the part below which a document is kept.
        kept: gets the documents that were kept, one of each text, when all are read.
    """
    waiting: dict[int, list[AnyDocument]] = {}  # by hash, all documents of that text
    largest_first: list[int] = []  # the same hashes, negative, as a heap
    below = share * 2.0**64
    handed_on = False
    for document in documents:
        number = digest(document.text)
        if number in waiting:
            # Rows of one text may differ in what else they have. Of equal ones, only the first is held in memory.
            last = waiting[number][-1]
            waiting[number].append(last if rest_of(last) == rest_of(document) else document)
            continue
        waiting[number] = [document]
        heappush(largest_first, -number)
        while len(waiting) > most or (len(waiting) > 1 and -largest_first[0] >= below):
            handed_on = True
            yield from waiting.pop(-heappop(largest_first))
    # Of a few documents all may fall below the share, and one is needed to train on.
    if not handed_on and len(waiting) > 1:
        yield from waiting.pop(-heappop(largest_first))
    kept += [waiting[number][0] for number in sorted(waiting)]


def rest_of(document: Document) -> Any:
    """What a record has beside its text; None for documents that are nothing but text."""
    return getattr(document, "fields", None)


def digest(text: str) -> int:
    """A number of 64 bits for a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def token_count(example: Example) -> int:
    """Tokens of an example, which is ids or a dict of columns."""
    return len(example["input_ids"] if isinstance(example, Mapping) else example)


def until(examples: Iterator[Example], wanted: int | None) -> Iterator[Example]:
    """Examples until they have this many tokens together; all of them if it is None."""
    total = 0
    for example in examples:
        yield example
        total += token_count(example)
        if wanted is not None and total >= wanted:
            return


def counted(examples: Iterable[Example], counts: dict[str, int]) -> Iterator[Example]:
    """Count documents and their tokens as they pass."""
    for example in examples:
        counts["training_documents"] += 1
        counts["training_tokens"] += token_count(example)
        yield example


def refuse_none(rows: Iterator[dict[str, np.ndarray]], source: str) -> Iterator[dict[str, np.ndarray]]:
    """Hand on the rows, of which there must be one."""
    first = next(rows, None)
    if first is None:
        raise UserError(
            f"{source}: found no two documents that differ; training needs at least two, one of them to measure on"
        )
    yield first
    yield from rows
