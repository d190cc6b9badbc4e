"""The site's live model: trained by the build in a process of its own, and kept until what it rests on changes.

Labs see it as `runs/pretrain` in their folder, and so does a page with `live: true` in its front matter. All other
pages look into a model that comes with the package. A build that trains none (`train: false`) and finds none shows
that one in its place, so that the tests need not wait for a training.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

from . import digest
from .machine import unlimited
from .state import CACHE, PACKAGE, ROOT, WORK, WORKER, build, log

MODULE = "minimind.training.pretrain"
SETTINGS: list[str] = []  # flags beyond the defaults: none, so the pages show what the reader's own run gives
RUN = CACHE / "model" / "pretrain"
STAND_IN = PACKAGE / "shipped" / "pretrain"
MARK = CACHE / "pretrain.key"


class Training:
    """The training of this build."""

    seconds = 0.0


class Folder:
    """The folder of the page being rendered."""

    live = False  # whether the live model is in it


def on_pre_build(config: Any) -> None:
    """Train the site's model, unless the build does without; a worker finds it trained."""
    if config.extra.get("train", True) and build.command != WORKER:
        ensure_model()


def ensure_model() -> None:
    """Train the site's model unless the one at hand was made by this very code and these settings."""
    key = _key()
    Training.seconds = 0.0
    if _kept(key):
        return
    with _lock():
        if not _kept(key):  # another build may have made it while this one waited
            _train(key)
    model_digest.cache_clear()


def _key() -> str:
    rests_on = digest.digest_code(f"import {MODULE}") + repr(SETTINGS)
    return hashlib.sha256(rests_on.encode()).hexdigest()


def _kept(key: str) -> bool:
    return RUN.is_dir() and MARK.is_file() and MARK.read_text(encoding="utf-8") == key


def _train(key: str) -> None:
    aside = CACHE / "training"
    shutil.rmtree(aside, ignore_errors=True)  # what a killed build left behind
    aside.mkdir(parents=True)
    output = aside / "runs" / "pretrain"
    command = [sys.executable, "-m", MODULE, "--output", str(output), *SETTINGS]
    log.info("training the site's model, about a minute: python -m %s", MODULE)
    started = time.monotonic()
    try:
        with subprocess.Popen(command, cwd=ROOT, env=unlimited(), stdout=sys.stderr.fileno()) as process:
            try:
                status = process.wait()
            except BaseException:  # Ctrl-C: the trainer got it too; do not leave it running
                process.terminate()
                raise
        if status or not output.is_dir():
            raise PluginError(
                f"training the site's model failed with status {status}; its output stands above"
            )
        MARK.unlink(missing_ok=True)
        shutil.rmtree(RUN, ignore_errors=True)
        shutil.rmtree(WORK, ignore_errors=True)  # its copy is of the old model
        RUN.parent.mkdir(parents=True, exist_ok=True)
        output.replace(RUN)
        MARK.write_text(key, encoding="utf-8")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    Training.seconds = time.monotonic() - started
    log.info("the site's model is trained (%.0f s)", Training.seconds)


@cache
def model_digest() -> str:
    """A digest of what a page can read from the model's folder: its weights, vocabulary and curves."""
    return digest.digest_files(sorted(path for path in live_model().rglob("*") if path.is_file()))


def live_model() -> Path:
    """The folder of the model that live pages see."""
    return RUN if RUN.is_dir() else STAND_IN


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Let one build train at a time; where the system has no file locks, two would just do the work twice."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "pretrain.lock", "w") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def work_folder() -> Path:
    """The private folder of the page being rendered. Two builds at once have one each."""
    if not WORK.is_dir():
        WORK.mkdir(parents=True)
        atexit.register(shutil.rmtree, WORK, ignore_errors=True)
    folder = WORK / ("live" if Folder.live else "plain")
    folder.mkdir(exist_ok=True)
    model = folder / "runs" / "pretrain"
    if Folder.live and not model.is_dir():
        shutil.copytree(live_model(), model)
    return folder


def begin_page(live: bool) -> None:
    """Take away what the page before wrote, so that this one finds what a reader of it alone would find."""
    Folder.live = live
    for folder in WORK.glob("*"):
        for path in [*folder.iterdir(), *folder.glob("runs/*")]:
            if folder.name == "plain" or path.name not in ("runs", "pretrain"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
