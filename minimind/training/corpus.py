"""From documents to what pretraining needs: a tokenizer, rows to train on, and documents that are held out.

The result lies in the run's folder, so a resumed run trains on exactly what it started with, even if the file
that it was made from has changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data import TokenStore, World, encode_documents, pack, read_records
from ..errors import UserError
from ..metrics import HeldOut, held_out
from ..progress import progress
from ..settings import PretrainSettings
from ..tokenizer import Tokenizer, train_tokenizer
from ..tokenizer.train import VocabularyTooLarge

TOKENIZER_DOCUMENTS = 4000
"""Documents that a tokenizer learns its merges from; more change them little."""
WORLD_TOKENS = 20_000_000
"""Most tokens of the embedded world that are stored; a longer run reads them again, in another order."""
PACKED_AT_ONCE = 100_000
"""Documents that are packed together, so that the rows of a large corpus are never held as 64-bit numbers."""


@dataclass
class Corpus:
    """What pretraining reads."""

    tokenizer: Tokenizer
    store: TokenStore
    """Documents to train on, as token ids."""
    held_out: list[HeldOut]
    """Documents to measure on."""
    facts: dict[str, Any]
    """Counts, for run.json and the report."""

    def rows(self, row_length: int) -> dict[str, np.ndarray]:
        """The documents packed into rows: `input_ids` and `document_ids`, both (N, row_length)."""
        documents = progress(self.store, "packing, documents", len(self.store))
        ids, owners = [], []
        while part := list(islice(documents, PACKED_AT_ONCE)):
            packed = pack(part, row_length, pad_id=self.tokenizer.pad_token_id)
            ids.append(packed.input_ids.astype(np.int32))
            owners.append(packed.document_ids.astype(np.int32))
        return {"input_ids": np.concatenate(ids), "document_ids": np.concatenate(owners)}


def prepare_corpus(settings: PretrainSettings, vocab_size: int, row_count: int, folder: Path) -> int:
    """Read, split, encode and store the documents, for `open_corpus`.

    Args:
        settings: `data_path` names the reader's own documents; without it they come from the embedded world.
        vocab_size: ids of the tokenizer that is trained, unless settings name one.
        row_count: rows that the run will read, for the world, which would go on for ever.
        folder: gets `data/` and the tokenizer.

    Returns:
        Ids of the tokenizer.

    Raises:
        UserError: if the documents cannot be read, or are too few.
    """
    if settings.data_path is None:
        source, world = f"the embedded world, seed {settings.seed}", World(settings.seed)
        sample: list[str] = [document.text for document in islice(world.documents(), TOKENIZER_DOCUMENTS)]
        measured: list[Any] = list(islice(world.documents("validation"), settings.validation_documents))
        training: Iterable[Any] = world.documents()
        wanted = min(row_count * settings.max_seq_len, WORLD_TOKENS)
    else:
        source, wanted = settings.data_path, None
        chosen, count = choose_held_out(settings)
        # The file is read again for each purpose rather than kept in memory.
        apart = -(-count // TOKENIZER_DOCUMENTS)
        sample = [record.text for record in islice(own_documents(settings, chosen, False), 0, None, apart)]
        measured = list({record.text: record for record in own_documents(settings, chosen, True)}.values())
        training = own_documents(settings, chosen, False)
    tokenizer = make_tokenizer(settings, vocab_size, sample)
    encoded = until(encode_documents(tokenizer, (document.text for document in training)), wanted)
    store = TokenStore.write(
        folder / "data" / "train",
        progress(encoded, "encoding, tokens", wanted, len),
        tokenizer.vocab_size,
        tokenizer.digest,
    )
    kept = held_out(tokenizer, measured)
    TokenStore.write(
        folder / "data" / "held_out",
        (document.ids for document in kept),
        tokenizer.vocab_size,
        tokenizer.digest,
    )
    facts = {
        "source": source,
        "training_documents": len(store),
        "training_tokens": store.num_tokens,
        "held_out_documents": len(kept),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_digest": tokenizer.digest,
    }
    measures = {"bytes": [document.bytes for document in kept], "nats": [document.nats for document in kept]}
    (folder / "data" / "corpus.json").write_text(json.dumps({"facts": facts, **measures}), encoding="utf-8")
    tokenizer.save(folder)
    return tokenizer.vocab_size


def open_corpus(folder: Path) -> Corpus:
    """Read what `prepare_corpus` stored.

    Raises:
        UserError: if it is not whole.
    """
    try:
        tokenizer = Tokenizer.load(folder)
        store = TokenStore.open(folder / "data" / "train", tokenizer.digest)
        kept, facts = read_held_out(folder)
    except UserError as error:
        raise UserError(f"{error}; start over with --overwrite") from None
    return Corpus(tokenizer, store, kept, facts)


def read_held_out(folder: Path) -> tuple[list[HeldOut], dict[str, Any]]:
    """The documents that a run held out, and the facts of its corpus."""
    path = folder / "data" / "corpus.json"
    store = TokenStore.open(folder / "data" / "held_out")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        measures = zip(store, stored["bytes"], stored["nats"], strict=True)
        return [HeldOut(ids.tolist(), size, nats) for ids, size, nats in measures], stored["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged or missing") from None


def until(documents: Iterator[list[int]], wanted: int | None) -> Iterator[list[int]]:
    """Documents until they have this many tokens together; all of them if it is None."""
    total = 0
    for ids in documents:
        yield ids
        total += len(ids)
        if wanted is not None and total >= wanted:
            return


def choose_held_out(settings: PretrainSettings) -> tuple[set[bytes], int]:
    """Choose documents to measure on by a hash of their text, so that copies of a text fall on the same side.

    Returns:
        Digests of the texts held out, at least one; and the number of documents.
    """
    records = read_records(str(settings.data_path), skip_bad_rows=settings.skip_bad_rows)
    digests = sorted({digest(record.text) for record in progress(records, "reading, documents")})
    if records.report.bad:
        print(f"left out {records.report.bad} bad row(s): {' | '.join(records.report.problems[:3])}")
    if len(digests) < 2:
        raise UserError(
            f"{settings.data_path}: found one document only; training needs at least two, "
            "one of them to measure on"
        )
    most = min(settings.validation_documents, round(settings.validation_share * len(digests)))
    return set(digests[: max(1, most)]), records.report.good


def own_documents(settings: PretrainSettings, chosen: set[bytes], wanted: bool) -> Iterator[Any]:
    """The reader's documents that were held out, or those that were not."""
    records = read_records(str(settings.data_path), skip_bad_rows=settings.skip_bad_rows)
    return (record for record in records if (digest(record.text) in chosen) == wanted)


def digest(text: str) -> bytes:
    """A short name of a text that is the same on every machine."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def make_tokenizer(settings: PretrainSettings, vocab_size: int, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer that settings name, or one trained on these texts."""
    if settings.tokenizer is not None:
        return Tokenizer.load(settings.tokenizer)
    try:
        return train_tokenizer(texts, vocab_size)
    except VocabularyTooLarge as error:
        if settings.vocab_size is not None:
            raise
        print(
            f"vocabulary: {error.largest} ids instead of {vocab_size}, the data have no more pairs to merge"
        )
        return train_tokenizer(texts, error.largest)
