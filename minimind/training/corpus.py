"""From documents to what training needs: a tokenizer, rows to train on, and documents that are held out.

All of it lies in the run's folder, so a resumed run trains on exactly what it started with, even if the file that it
was made from has changed since. It is made once: another run that would make the same takes over the files of the
first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..data import (
    TokenStore,
    World,
    encode_documents,
    find_files,
    open_rows,
    pack_rows,
    read_records,
    tokenizer_sample,
    write_rows,
)  # fmt: skip
from ..errors import UserError
from ..metrics import HeldOut, held_out
from ..progress import progress
from ..settings import PretrainSettings
from ..tokenizer import Tokenizer, train_tokenizer
from ..tokenizer.train import VocabularyTooLarge

WORLD_TOKENS = 20_000_000
"""Most tokens of the embedded world that are stored; a longer run reads them again, in another order."""
CORPUS_FILE = Path("data", "corpus.json")
STORED = {"key": dict, "facts": dict, "notes": list, "bytes": list, "nats": list}
"""What stands in that file: what the corpus was made from, its counts, what was said while it was made, and for each
held-out document its length and its entropy, where that is known."""
MADE_BY = ("data", "tokenizer", "training/corpus.py")
"""Files and folders of this package that decide what a corpus becomes."""


@dataclass
class Corpus:
    """What training reads."""

    tokenizer: Tokenizer
    rows: dict[str, np.ndarray]
    """The documents to train on, packed: `input_ids`, `labels` and `document_ids`, each (rows, row_length), on disk."""
    held_out: list[HeldOut]
    """Documents to measure on."""
    facts: dict[str, Any]
    """Counts, for run.json and the report."""


class Document(Protocol):
    """A document of the world, or a row of a file."""

    @property
    def text(self) -> str: ...


AnyDocument = TypeVar("AnyDocument", bound=Document)


def prepare_corpus(settings: PretrainSettings, vocab_size: int, row_count: int, folder: Path) -> int:
    """Leave in a folder what `open_corpus` reads: made by an earlier run with equal settings, or now.

    Args:
        settings: `data_path` names the reader's own documents; without it they come from the embedded world.
            `prepared` names a folder that runs share; without it, runs beside this one are looked at.
        vocab_size: ids of the tokenizer that is trained, unless settings name one.
        row_count: rows that the run will read, for the world, which would go on for ever.
        folder: gets `data/` and the tokenizer.

    Returns:
        Ids of the tokenizer.

    Raises:
        UserError: if the documents cannot be read, or are too few, or what is in `prepared` is something else.
    """
    key = corpus_key(settings, vocab_size, row_count)
    if settings.prepared is not None:
        base = Path(settings.prepared)
        if holds(base, key):
            take_over(base, folder)
        else:
            make_corpus(settings, vocab_size, row_count, folder, key)
            share(folder, base, key)
    else:
        here = Path(settings.output)
        others = sorted(here.parent.iterdir()) if here.parent.is_dir() else []
        if not any(take_if_whole(other, folder, key) for other in others if other.name != here.name):
            make_corpus(settings, vocab_size, row_count, folder, key)
    for note in read_corpus_file(folder)["notes"]:
        print(note)
    return open_corpus(folder).tokenizer.vocab_size


def open_corpus(folder: Path) -> Corpus:
    """Read what `prepare_corpus` left.

    Raises:
        UserError: if it is not whole.
    """
    try:
        tokenizer = Tokenizer.load(folder)
        rows = open_rows(folder / "data" / "rows", tokenizer.digest)
        kept, facts = read_held_out(folder)
    except UserError as error:
        raise UserError(f"{error}; start over with --overwrite") from None
    return Corpus(tokenizer, rows, kept, facts)


def read_held_out(folder: Path) -> tuple[list[HeldOut], dict[str, Any]]:
    """The documents that a run held out, and the facts of its corpus."""
    store = TokenStore.open(folder / "data" / "held_out")
    stored = read_corpus_file(folder)
    if not len(store) == len(stored["bytes"]) == len(stored["nats"]):
        raise UserError(f"{folder / CORPUS_FILE}: is not of the documents beside it")
    measures = zip(store, stored["bytes"], stored["nats"], strict=True)
    return [HeldOut(ids.tolist(), size, nats) for ids, size, nats in measures], stored["facts"]


def read_corpus_file(folder: Path) -> dict[str, Any]:
    """What is known of a corpus beside its documents.

    Raises:
        UserError: if the file is missing or damaged.
    """
    path = folder / CORPUS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = None
    if not isinstance(stored, dict) or not all(
        isinstance(stored.get(name), kind) for name, kind in STORED.items()
    ):
        raise UserError(f"{path}: damaged or missing")
    return stored


def make_corpus(
    settings: PretrainSettings, vocab_size: int, row_count: int, folder: Path, key: dict[str, Any]
) -> None:
    """Read, split, encode and pack the documents, in one pass, so that a file need not fit into memory."""
    tokenizer, notes = make_tokenizer(settings, vocab_size)
    counts = {"training_documents": 0, "training_tokens": 0}
    measured: list[Any]
    if settings.data_path is None:
        source, records = f"the embedded world, seed {settings.seed}", None
        wanted = world_tokens(settings, row_count)
        measured = list(islice(World(settings.seed).documents("validation"), settings.validation_documents))
        texts = (document.text for document in World(settings.seed).documents())
        encoded = progress(until(encode_documents(tokenizer, texts), wanted), "encoding, tokens", wanted, len)
    else:
        source = settings.data_path
        records = read_records(source, skip_bad_rows=settings.skip_bad_rows)
        shown = progress(records, "reading and encoding, bytes", records.size, lambda record: record.size)
        measured = []  # filled on the way: it is whole once all documents were read
        training = hold_out(shown, settings.validation_documents, settings.validation_share, measured)
        encoded = encode_documents(tokenizer, (record.text for record in training))
    rows = pack_rows(counted(encoded, counts), settings.max_seq_len, tokenizer.pad_token_id)
    write_rows(folder / "data" / "rows", refuse_none(rows, source), tokenizer.vocab_size, tokenizer.digest)
    if records is not None and records.report.bad:
        notes.append(f"left out {records.report.bad} bad row(s): {' | '.join(records.report.problems[:3])}")
    kept = held_out(tokenizer, measured)
    ids = (document.ids for document in kept)
    TokenStore.write(folder / "data" / "held_out", ids, tokenizer.vocab_size, tokenizer.digest)
    facts = {
        "source": source,
        **counts,
        "held_out_documents": len(kept),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_digest": tokenizer.digest,
    }
    measures = {"bytes": [document.bytes for document in kept], "nats": [document.nats for document in kept]}
    stored = {"key": key, "facts": facts, "notes": notes, **measures}
    (folder / CORPUS_FILE).write_text(json.dumps(stored), encoding="utf-8")
    tokenizer.save(folder)


def make_tokenizer(settings: PretrainSettings, vocab_size: int) -> tuple[Tokenizer, list[str]]:
    """The tokenizer that settings name, or one trained on a sample of the data; and what is to be said of it."""
    if settings.tokenizer is not None:
        return Tokenizer.load(settings.tokenizer), []
    texts = tokenizer_sample(settings.data_path, settings.seed)
    try:
        return train_tokenizer(texts, vocab_size), []
    except VocabularyTooLarge as error:
        if settings.data_path is not None:
            # Little text may be all that bad rows have left; then they are what has to be said.
            for _ in read_records(settings.data_path, skip_bad_rows=settings.skip_bad_rows):
                pass
        if settings.vocab_size is not None:
            raise
        note = (
            f"vocabulary: {error.largest} ids instead of {vocab_size}, the data have no more pairs to merge"
        )
        return train_tokenizer(texts, error.largest), [note]


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
    # By hash: a document, and how many copies of it were met.
    waiting: dict[int, tuple[AnyDocument, int]] = {}
    largest_first: list[int] = []  # the same hashes, negative, as a heap
    below = share * 2.0**64
    handed_on = False
    for document in documents:
        number = digest(document.text)
        if number in waiting:
            waiting[number] = (waiting[number][0], waiting[number][1] + 1)
            continue
        waiting[number] = (document, 1)
        heappush(largest_first, -number)
        while len(waiting) > most or (len(waiting) > 1 and -largest_first[0] >= below):
            pushed_out, copies = waiting.pop(-heappop(largest_first))
            handed_on = True
            yield from [pushed_out] * copies
    # Of a few documents all may fall below the share, and one is needed to train on.
    if not handed_on and len(waiting) > 1:
        pushed_out, copies = waiting.pop(-heappop(largest_first))
        yield from [pushed_out] * copies
    kept += [waiting[number][0] for number in sorted(waiting)]


def digest(text: str) -> int:
    """A number of 64 bits for a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def until(documents: Iterator[list[int]], wanted: int) -> Iterator[list[int]]:
    """Documents until they have this many tokens together."""
    total = 0
    for ids in documents:
        yield ids
        total += len(ids)
        if total >= wanted:
            return


def counted(documents: Iterable[list[int]], counts: dict[str, int]) -> Iterator[list[int]]:
    """Count documents and their tokens as they pass."""
    for ids in documents:
        counts["training_documents"] += 1
        counts["training_tokens"] += len(ids)
        yield ids


def refuse_none(rows: Iterator[dict[str, np.ndarray]], source: str) -> Iterator[dict[str, np.ndarray]]:
    """Hand on the rows, of which there must be one."""
    first = next(rows, None)
    if first is None:
        raise UserError(
            f"{source}: found one document only; training needs at least two, one of them to measure on"
        )
    yield first
    yield from rows


def world_tokens(settings: PretrainSettings, row_count: int) -> int:
    """How many tokens of the world a run needs."""
    return min(row_count * settings.max_seq_len, WORLD_TOKENS)


def corpus_key(settings: PretrainSettings, vocab_size: int, row_count: int) -> dict[str, Any]:
    """All that decides what a corpus becomes, by the names that a user knows."""
    key: dict[str, Any] = {
        "max_seq_len": settings.max_seq_len,
        "vocab_size": vocab_size if settings.tokenizer is None else None,
        "lower vocab_size": settings.tokenizer is None and settings.vocab_size is None,
        "tokenizer": None if settings.tokenizer is None else Tokenizer.load(settings.tokenizer).digest,
        "validation_documents": settings.validation_documents,
        "code of minimind": code_digest(),
        "version of tokenizers": version("tokenizers"),
    }
    if settings.data_path is None:
        return {**key, "data_path": None, "seed": settings.seed, "tokens": world_tokens(settings, row_count)}
    files = [(path.resolve(), path.stat()) for path in find_files(settings.data_path)]
    return {
        **key,
        "data_path": settings.data_path,
        "files": [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in files],
        "validation_share": settings.validation_share,
        "skip_bad_rows": settings.skip_bad_rows,
    }


def code_digest() -> str:
    """Changes with the code that makes a corpus."""
    package = Path(__file__).parents[1]
    code = hashlib.blake2b(digest_size=16)
    for name in MADE_BY:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            code.update(file.read_bytes())
    return code.hexdigest()


def read_key(folder: Path) -> dict[str, Any] | None:
    """What a folder was prepared from; None if nothing that can be read is there."""
    try:
        return read_corpus_file(folder)["key"]
    except UserError:
        return None


def holds(base: Path, key: dict[str, Any]) -> bool:
    """Whether a shared folder holds what this run needs; False if nothing is there yet.

    Raises:
        UserError: if it holds something else.
    """
    found = read_key(base)
    if found == key:
        try:
            open_corpus(base)
        except UserError as error:
            raise UserError(f"{base}: is damaged, delete it ({error})") from None
        return True
    if found is None:
        if base.exists() and (not base.is_dir() or any(base.iterdir())):
            raise UserError(f"{base}: holds something else than prepared data; choose another --prepared")
        return False
    differ = [name for name in {**found, **key} if found.get(name) != key.get(name)]
    values = {name: f"{name} was {found.get(name)!r}, now {key.get(name)!r}" for name in differ}
    said = [text if len(text) < 100 else f"other {name}" for name, text in values.items()]
    raise UserError(
        f"{base}: was prepared from other data or settings: {'; '.join(said)}; choose another --prepared"
    )


def share(folder: Path, base: Path, key: dict[str, Any]) -> None:
    """Let other runs have what lies in a folder. It appears in `base` whole, or not at all."""
    aside = base.with_name(f".{base.name}.{os.getpid()}.partial")
    try:
        take_over(folder, aside)
        os.rename(aside, base)  # onto nothing, or an empty folder; onto anything else it fails
    except OSError as error:
        if not holds(base, key):  # Another run that prepares the same may have been faster, which is as good.
            raise UserError(f"{base}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def take_if_whole(other: Path, folder: Path, key: dict[str, Any]) -> bool:
    """Take over what another run was made from, if that is what this one needs and nothing of it is damaged."""
    if read_key(other) != key:
        return False
    try:
        take_over(other, folder)
        open_corpus(folder)
        whole = read_key(other) == key  # unless it has been replaced meanwhile
    except (OSError, UserError):
        whole = False  # Damaged, or just being deleted: this run makes its own, as if nothing had been there.
    if not whole:
        shutil.rmtree(folder / "data", ignore_errors=True)
    return whole


def take_over(source: Path, folder: Path) -> None:
    """Give a folder the prepared data of another one: the same files on the disk under a second name, where the disk
    can do that, so they take no room and stay when the other folder is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "data", folder / "data", copy_function=link)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)  # Small, and readers like to change them.


def link(source: str, target: str) -> None:
    """One file under two names, or else a copy."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copy2(source, target)
