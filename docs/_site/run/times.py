"""Where the seconds of a build went, said before it writes its pages or fails."""

from __future__ import annotations

import time
from typing import Any

from . import execute, models, workers
from .state import build, log


def on_env(env: Any, config: Any, files: Any) -> None:
    """Say them."""
    log.info("blocks: %d from the cache, %d run", execute.Blocks.hits, execute.Blocks.misses)
    pages = dict(workers.Times.pages)
    for seconds, where in execute.Blocks.times:
        page = where.split(":")[0].partition("/")[2]
        pages[page] = pages.get(page, 0.0) + seconds
    log.info(
        "seconds so far: %.0f, %.0f of them training, %.0f of them waiting for %d processes with %d pages",
        time.monotonic() - build.started, models.Training.seconds, workers.Times.seconds, workers.Times.processes,
        len(workers.Times.pages),
    )  # fmt: skip
    log.info("  %.0f s in blocks of %d pages; the slowest pages:", sum(pages.values()), len(pages))
    for page, seconds in sorted(pages.items(), key=lambda item: -item[1])[:5]:
        if seconds > 1:
            log.info("  %.1f s %s", seconds, page)
