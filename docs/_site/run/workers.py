"""Processes, one a core, that run the blocks which the cache lacks, before the pages are rendered.

Each renders whole pages as the build does, and leaves what their blocks print and draw in the cache. The build then
renders every page by itself and finds the results there. So nothing rests on a worker: what fails in one runs again in
the build, which reports it.
"""

from __future__ import annotations

import hashlib
import queue
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from . import digest, models
from .execute import STORE, machinery_digest
from .machine import arithmetic, cores
from .parse import INCLUDE, dedent, find_fences
from .state import ROOT, WORKER, build, log

WORTH = 10.0
"""Seconds that must be saved, by the times that scripts state, for starting processes to pay."""
MOST = 8
"""Processes at most: each holds PyTorch in memory, and the longest page takes its time anyway."""
LAB_SECONDS = 30.0
MARKS = STORE / "pages"


class Times:
    """What the workers of this build did."""

    processes = 0
    seconds = 0.0
    pages: ClassVar[dict[str, float]] = {}


def on_pre_build(config: Any) -> None:
    """Start counting afresh."""
    Times.processes, Times.seconds, Times.pages = 0, 0.0, {}


def on_nav(nav: Any, config: Any, files: Any) -> None:
    """Let workers fill the cache, if it lacks enough that this is faster than going without."""
    if build.command == WORKER or config.config_file_path is None:
        return
    missing = {
        file.src_uri: seconds_of(file)
        for file in files.documentation_pages()
        if _runs_code(file) and not _mark(file).is_file()
    }
    forced = config.extra.get("workers")
    count = min(forced or cores(), MOST, len(missing))
    if count < 2 or not (forced or _saved(list(missing.values()), count) >= WORTH):
        return
    log.info("running the blocks of %d pages in %d processes", len(missing), count)
    started = time.monotonic()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for uri in sorted(missing, key=lambda uri: (-missing[uri], uri)):
        waiting.put(uri)
    with ThreadPoolExecutor(count) as threads:
        for _ in range(count):
            threads.submit(_feed, waiting, str(config.config_file_path))
    Times.processes, Times.seconds = count, time.monotonic() - started


def _feed(waiting: queue.SimpleQueue[str], config_file: str) -> None:
    """Start a worker and hand it one page after the other, until there are none or it dies."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), config_file]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            while True:
                uri = waiting.get_nowait()
                process.stdin.write(f"{uri}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    return  # It died, and took nothing with it but time.
                Times.pages[uri] = float(answer)
        except (queue.Empty, OSError):
            return


def _saved(seconds: list[float], count: int) -> float:
    """How much sooner several processes are done: no sooner than the longest page."""
    return sum(seconds) - max(*seconds, sum(seconds) / count)


def _runs_code(file: Any) -> bool:
    text = Path(file.abs_src_path).read_text(encoding="utf-8-sig")
    return file.src_uri.endswith(".py") or any(fence.executes for fence in find_fences(text))


def seconds_of(file: Any) -> float:
    """How long a page's blocks may take: what the scripts that it includes state, and a little for each block."""
    if file.src_uri.endswith(".py"):
        return LAB_SECONDS
    fences = [fence for fence in find_fences(_text(file)) if fence.executes]
    stated = 0.0
    for path in {path for fence in fences for path in _included(fence.body)}:
        tier = re.search(r"^Tier: .* about (\d+) s$", path.read_text(encoding="utf-8"), re.M)
        stated += float(tier[1]) if tier else 0.0
    return stated + 0.1 * len(fences)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> None:
    """Note that everything of a page is in the cache: it need not be handed to a worker again."""
    if _runs_code(page.file) and all(failure.claim for failure in build.failed(page.file.src_uri)):
        mark = _mark(page.file)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark(file: Any) -> Path:
    """The file that says so. Its name is a digest of all that the page's blocks rest on."""
    text = _text(file)
    code = text
    imported: set[str] = set()
    whole = file.src_uri.endswith(".py")
    for fence in find_fences(text):
        if not fence.executes:
            continue
        included = [path.read_text(encoding="utf-8") for path in _included(fence.body)]
        own = dedent("\n".join(line for line in fence.body if not INCLUDE.match(line)))
        code += "\n".join(included)
        try:
            imported |= {digest.digest_code(source) for source in (*included, own)}
        except SyntaxError:
            whole = True  # A block that is cut up between includes; it may rest on anything.
    rests_on = [
        file.src_uri,
        code,
        machinery_digest(),
        arithmetic(),
        digest.digest_package() if whole else sorted(imported),
        models.model_digest(),  # whether or not the page shows it: it seldom changes
        digest.digest_records(code),
    ]
    return MARKS / hashlib.sha256(repr(rests_on).encode()).hexdigest()


def _included(lines: list[str]) -> list[Path]:
    """The snippets that a block includes."""
    paths = [ROOT / found["path"] for found in map(INCLUDE.match, lines) if found]
    return sorted({path for path in paths if path.is_file()})


def _text(file: Any) -> str:
    return Path(file.abs_src_path).read_text(encoding="utf-8-sig")
