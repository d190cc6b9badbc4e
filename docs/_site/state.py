"""What the hooks know about the build that is under way, and how they report a failure."""

from __future__ import annotations

import html
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "minimind"
CACHE = Path(os.environ.get("MINIMIND_SITE_CACHE", ROOT / ".cache" / "site"))
"""Everything that a build keeps for the next one; safe to delete."""
WORK = CACHE / "work" / str(os.getpid())
"""The working directory of this build's blocks and labs; `runs/pretrain` in it is the site's model."""

KEEP_DAYS = 30
"""How long an entry of the cache outlives its last use, so that undoing an edit is free."""

log = logging.getLogger("mkdocs.plugins.minimind")


class BlockError(Exception):
    """Something on a page is not what the page says; the message is for its author."""


@dataclass
class Build:
    """The state of one build. `build` below is the only instance; each build starts it afresh."""

    command: str = "build"
    config: Any = None
    page: Any = None
    files: Any = None  # all files of the site, as MkDocs knows them
    order: list[str] = field(default_factory=list)  # source uris of the pages, as the navigation has them
    failures: list[str] = field(default_factory=list)
    claims: dict[str, list[str]] = field(default_factory=dict)  # page -> names of claims that hold
    failed_claims: int = 0
    quiz_ids: dict[str, str] = field(default_factory=dict)  # quiz -> its page

    def begin(self, config: Any) -> None:
        """Forget the build before this one."""
        self.config, self.page, self.files = config, None, None
        self.failures, self.claims, self.failed_claims, self.quiz_ids = [], {}, 0, {}

    def where(self, line: int = 0, uri: str = "") -> str:
        """The place as an editor understands it: `docs/page.md:12`."""
        uri = uri or (self.page.file.src_uri if self.page else "?")
        name = f"{Path(self.config.docs_dir).name}/{uri}"
        return f"{name}:{line}" if line else name

    def fail(self, where: str, message: str) -> str:
        """Log a failure, fail the build at its end, and return HTML that shows the failure in its place."""
        self.failures.append(where)
        log.error("%s: %s", where, message)
        title = f'<p class="admonition-title">{html.escape(where)}</p>'
        return f'<div class="admonition failure">{title}<pre>{html.escape(message)}</pre></div>'


build = Build()
