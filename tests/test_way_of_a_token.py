"""How many files a reader enters who follows a token from the reader's own file to the loss.

Followed are the two stretches in which something happens to tokens: documents become rows on the disk, and a batch of
rows becomes a loss. Not counted is what arranges them and never sees a token: settings, the run's folder, the log.
"""

import sys
from pathlib import Path

from tiny_runs import tiny_settings

import minimind
from minimind.training import RowBatches, corpus, pretrain
from minimind.training import pretrain as stage

PACKAGE = Path(minimind.__file__).parent
BESIDE = {"progress.py", "files.py"}
"""A progress bar, and the renaming of a finished file: the token passes by, nothing happens to it."""


def followed(function, entered: set[str]):
    """The same function; the package's files that are entered while it runs are noted."""

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            entered.add(path.relative_to(PACKAGE).as_posix())

    def call(*args, **names):
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            return function(*args, **names)
        finally:
            sys.setprofile(before)

    return call


def test_a_token_enters_at_most_sixteen_files(tmp_path, monkeypatch):
    entered = {"training/loop.py"}  # hands the batch to the objective, and goes backward from the loss
    module = sys.modules[stage.__module__]
    # Reading, splitting off the held-out documents, encoding, packing and storing are one stream, which this empties.
    monkeypatch.setattr(corpus, "write_rows", followed(corpus.write_rows, entered))
    real = RowBatches.of_step
    monkeypatch.setattr(
        RowBatches, "of_step", lambda self, step: iter(followed(lambda: list(real(self, step)), entered)())
    )
    monkeypatch.setattr(module, "causal_language_model", followed(module.causal_language_model, entered))
    assert pretrain(tiny_settings(tmp_path, steps=1, sample_tokens=0, precision="bf16")).finished
    assert {"data/records.py", "data/rows.py", "model/causal_lm.py", "model/cross_entropy.py"} <= entered
    assert len(entered - BESIDE) <= 16, sorted(entered - BESIDE)
