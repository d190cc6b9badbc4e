"""The first stage: a tokenizer learns its merges from a sample of the data."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from ..data import read_records, tokenizer_sample
from ..progress import progress
from ..runs import refuse_to_replace, versions, write_run
from ..settings import TokenizerSettings
from ..tokenizer import train_tokenizer

MEASURED = 1000
"""Texts of the sample that the bytes of a token are counted on."""


def tokenizer(settings: TokenizerSettings) -> None:
    """Train a tokenizer and leave it in a folder.

    Args:
        settings: what `minimind tokenizer --help` lists.

    Raises:
        UserError: for a mistake in the settings or the data, before anything is written.
    """
    folder = Path(settings.output)
    refuse_to_replace(folder / "tokenizer.json", settings.overwrite)
    began = time.monotonic()
    if settings.data_path is not None:
        records = read_records(settings.data_path, skip_bad_rows=settings.skip_bad_rows)
        for _ in progress(records, "checking, bytes", records.size, lambda record: record.size):
            pass  # A mistake anywhere in the data is told before anything is made of them.
        if records.report.bad:
            print(f"left out {records.report.bad} bad row(s): {' | '.join(records.report.problems[:3])}")
    texts = tokenizer_sample(settings.data_path, settings.seed)
    trained = train_tokenizer(progress(texts, "counting, documents", len(texts)), settings.vocab_size)
    ids = sum(len(row) for row in trained.encode_batch(texts[:MEASURED]))
    bytes_a_token = sum(len(text.encode()) for text in texts[:MEASURED]) / max(1, ids)
    run = {
        "data": {
            "vocab_size": trained.vocab_size,
            "bytes_a_token": round(bytes_a_token, 3),
            "tokenizer_digest": trained.digest,
        },
        "settings": asdict(settings),
        "versions": versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    # Whoever is stopped between two files leaves a folder that says so itself.
    write_run(folder, {"status": "unfinished", **run})
    trained.save(folder)
    write_run(folder, {"status": "finished", **run, "seconds": round(time.monotonic() - began, 3)})
    print(f"{settings.output}: {trained.vocab_size} ids, {bytes_a_token:.2f} bytes a token")
