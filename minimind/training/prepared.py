"""The folder `data/` of a run: what lies in it, what it was made from, and how runs share it.

It has the packed rows, the documents that are held out, the tokenizer as it was made, and `corpus.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from inspect import getfile
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Example, TokenStore, World, find_files, open_rows
from ..errors import UserError
from ..metrics import HeldOut
from ..settings import CorpusSettings
from ..tokenizer import Tokenizer

CORPUS_FILE = Path("data", "corpus.json")
STORED = {"key": dict, "facts": dict, "notes": list, "bytes": list, "nats": list}
"""What stands in that file: what the corpus was made from, its counts, what was said while it was made, and for each
held-out document its length and its entropy, where that is known."""
PACKAGE = Path(__file__).parents[1]
MADE_BY = (
    "data", "tokenizer", "metrics",
    "training/answering.py", "training/corpus.py", "training/prepared.py", "training/replay.py",
)  # fmt: skip
"""Files and folders of this package that decide what a corpus becomes."""


@dataclass(frozen=True)
class Recipe:
    """What differs from stage to stage in how documents become what training reads."""

    name: str
    """Tells its rows from those of every other recipe, so that these are not shared."""
    kind: str
    """What the rows of a file are, one of `KINDS`."""
    examples: Callable[[Tokenizer, Iterable[Any]], Iterator[Example]]
    """Records, or documents of the world, as `pack_rows` takes them: token ids, or a dict of columns."""
    held_out: Callable[[Tokenizer, list[Any]], list[HeldOut]]
    """Documents whose perplexity is measured: those that are held out, or others."""
    documents: Callable[[World, str], Iterator[Any]] = World.documents
    """What the embedded world has of this kind, of a split."""
    world_seed: int | None = None
    """Of the embedded world, where it is not the run's own."""
    key: Mapping[str, Any] = field(default_factory=dict)
    """What else decides the rows, by the names that a user knows."""
    leave_more: Callable[[Path, list[Any]], Mapping[str, Any]] = lambda folder, measured: {}
    """Called last: leaves more files in the folder (of what was held out, for example), and gives more facts."""

    def files(self) -> list[Path]:
        """Where its functions are written."""
        return [Path(getfile(function)) for function in (self.examples, self.held_out, self.leave_more)]


@dataclass(frozen=True)
class NewTokenizer:
    """A tokenizer that is to be trained on the data."""

    vocab_size: int
    """Its ids."""
    exact: bool = False
    """Refuse data that do not allow as many; otherwise there are as many as they allow."""


@dataclass
class Corpus:
    """What training reads."""

    tokenizer: Tokenizer
    rows: dict[str, np.ndarray]
    """The documents to train on, packed: `input_ids`, `document_ids`, `labels` and what other columns the recipe makes,
    each (rows, row_length), on disk."""
    held_out: list[HeldOut]
    """Documents to measure on."""
    facts: dict[str, Any]
    """Counts, for run.json and the report."""


def open_corpus(folder: Path) -> Corpus:
    """Read what `prepare_corpus` left.

    Raises:
        UserError: if it is not whole.
    """
    try:
        if "key" not in read_corpus_file(folder, ()):
            raise UserError(f"{folder}: was begun by an earlier version of minimind and cannot go on")
        return read_corpus(folder)
    except UserError as error:
        raise UserError(f"{error}; start over with --overwrite") from None


def read_corpus(folder: Path) -> Corpus:
    """As `open_corpus`, for a folder that need not be a run's."""
    tokenizer = Tokenizer.load(folder / "data" / "tokenizer")
    rows = open_rows(folder / "data" / "rows", tokenizer.digest)
    kept, facts = read_held_out(folder)
    return Corpus(tokenizer, rows, kept, {**facts, "rows": len(rows["input_ids"])})


def read_held_out(folder: Path) -> tuple[list[HeldOut], dict[str, Any]]:
    """The documents that a run held out, and the facts of its corpus."""
    # A run of an earlier version has no more than these, and its model can be measured all the same.
    stored = read_corpus_file(folder, ("facts", "bytes", "nats"))
    store = TokenStore.open(folder / "data" / "held_out") if stored["bytes"] else ()
    if not len(store) == len(stored["bytes"]) == len(stored["nats"]):
        raise UserError(f"{folder / CORPUS_FILE}: is not of the documents beside it")
    measures = zip(store, stored["bytes"], stored["nats"], strict=True)
    return [HeldOut(ids.tolist(), size, nats) for ids, size, nats in measures], stored["facts"]


def read_corpus_file(folder: Path, names: Iterable[str] = tuple(STORED)) -> dict[str, Any]:
    """What is known of a corpus beside its documents.

    Args:
        folder: a run's folder, or one of prepared data.
        names: of `STORED`, what the reader needs; the rest may be absent.

    Raises:
        UserError: if the file is missing or damaged.
    """
    path = folder / CORPUS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = None
    if not isinstance(stored, dict) or not all(isinstance(stored.get(name), STORED[name]) for name in names):
        raise UserError(f"{path}: damaged or missing")
    return stored


def corpus_key(
    settings: CorpusSettings, recipe: Recipe, tokenizer: Tokenizer | NewTokenizer, tokens: int | None
) -> dict[str, Any]:
    """All that decides what a corpus becomes, by the names that a user knows."""
    new = tokenizer if isinstance(tokenizer, NewTokenizer) else None
    key: dict[str, Any] = {
        "made for": recipe.name,
        "kind of rows": recipe.kind,
        "max_seq_len": settings.max_seq_len,
        "vocab_size": new.vocab_size if new else None,
        "lower vocab_size": new is not None and not new.exact,
        "tokenizer": tokenizer.digest if isinstance(tokenizer, Tokenizer) else None,
        "validation_documents": settings.validation_documents,
        "code of minimind": code_digest(recipe.files()),
        "version of tokenizers": version("tokenizers"),
        **recipe.key,
    }
    if settings.data_path is None:
        return {
            **key,
            "data_path": None,
            "seed of the world": seed_of_world(settings, recipe),
            "tokens": tokens,
        }
    files = [(path.resolve(), path.stat()) for path in find_files(settings.data_path)]
    return {
        **key,
        "data_path": settings.data_path,
        "files": [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in files],
        "validation_share": settings.validation_share,
        "skip_bad_rows": settings.skip_bad_rows,
    }


def seed_of_world(settings: CorpusSettings, recipe: Recipe) -> int:
    """Which embedded world a run reads."""
    return settings.seed if recipe.world_seed is None else recipe.world_seed


def code_digest(others: Iterable[Path] = (), package: Path = PACKAGE) -> str:
    """Changes with the code that makes a corpus, and with the words that the world is written in.

    Args:
        others: files that have a part in it, beside those of every stage.
        package: where these are.
    """
    code = hashlib.blake2b(digest_size=16)
    for path in (*(package / name for name in MADE_BY), *others):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.parent.name != "__pycache__":
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
            read_corpus(base)
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
        read_corpus(folder)
        whole = read_key(other) == key  # unless it has been replaced meanwhile
    except (OSError, UserError):
        whole = False  # Damaged, or just being deleted: this run makes its own, as if nothing had been there.
    if not whole:
        shutil.rmtree(folder / "data", ignore_errors=True)
    return whole


def take_over(source: Path, folder: Path) -> None:
    """Give a folder the prepared data of another one: the same files on the disk under a second name, where the disk
    can do that, so they take no room and stay when the other folder is deleted."""
    shutil.copytree(source / "data", folder / "data", copy_function=link)


def link(source: str, target: str) -> None:
    """One file under two names, or else a copy."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copy2(source, target)
