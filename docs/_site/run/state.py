"""What the hooks know about the build that is under way, and how they report a failure."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .failure import Failure, Statement, box

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "minimind"
CACHE = Path(os.environ.get("MINIMIND_SITE_CACHE", ROOT / ".cache" / "site"))
"""Everything that a build keeps for the next one; safe to delete."""
WORK = CACHE / "work" / str(os.getpid())
"""The working directories of this build's blocks and labs, with the live model (models.py) and without."""

WORKER = "worker"
"""The name of the build of a process that fills the cache (worker.py), where `mkdocs` has "build" and "serve"."""
KEEP_DAYS = 30
"""How long an entry of the cache outlives its last use, so that undoing an edit is free."""

log = logging.getLogger("mkdocs.plugins.minimind")


class BlockError(Exception):
    """Something on a page is not what the page says; the message is for its author."""


@dataclass
class Build:
    """The state of one build. `build` below is the only instance; each build starts it afresh."""

    command: str = "build"
    started: float = 0.0
    config: Any = None
    page: Any = None
    source: str = ""  # the text of the page's file
    skipped: int = 0  # how many of its lines stand before the Markdown that MkDocs hands on: the front matter
    files: Any = None  # all files of the site, as MkDocs knows them
    order: list[str] = field(default_factory=list)  # source uris of the pages, as the navigation has them
    failures: list[Failure] = field(default_factory=list)
    claims: dict[str, list[Statement]] = field(default_factory=dict)  # page -> its claims
    quiz_ids: dict[str, str] = field(default_factory=dict)  # quiz -> its page

    def on_startup(self, command: str, dirty: bool) -> None:
        self.command = command

    def on_pre_build(self, config: Any) -> None:
        """Forget the build before this one."""
        self.config, self.page, self.files = config, None, None
        self.failures, self.claims, self.quiz_ids = [], {}, {}
        self.started = time.monotonic()

    def on_files(self, files: Any, config: Any) -> None:
        self.files = files

    def on_nav(self, nav: Any, config: Any, files: Any) -> None:
        self.order = [page.file.src_uri for page in nav.pages]

    def on_pre_page(self, page: Any, config: Any, files: Any) -> None:
        self.page = page

    def on_page_markdown(self, markdown: str, page: Any, config: Any, files: Any) -> None:
        self.source = Path(page.file.abs_src_path).read_text(encoding="utf-8-sig")
        known = bool(markdown) and markdown in self.source
        self.skipped = self.source[: self.source.index(markdown)].count("\n") if known else 0

    def on_env(self, env: Any, config: Any, files: Any) -> None:
        """Every page is rendered; what fails from here on is no page's."""
        self.page = None

    def where(self, line: int = 0, uri: str = "") -> str:
        """The place as an editor understands it: `docs/page.md:12`."""
        uri = uri or (self.page.file.src_uri if self.page else "?")
        name = f"{Path(self.config.docs_dir).name}/{uri}"
        return f"{name}:{line}" if line else name

    def fail(
        self,
        where: str,
        message: str,
        *,
        place: str = "",
        values: str = "",
        claim: bool = False,
        trace: str = "",
    ) -> str:
        """Log a failure, fail the build at its end, and return HTML that shows the failure in its place.

        Args:
            where: the line of the page.
            message: the claim's name, or the error's own words.
            place: the line of the snippet, if the code came from one.
            values: what a claim compared.
            claim: whether it is a claim that does not hold.
            trace: more for the log, which no page shows.
        """
        failure = Failure(self.uri, where, message, place, values, claim, f"failure-{len(self.failures) + 1}")
        self.failures.append(failure)
        log.error("%s%s", failure.line(), f"\n{trace}" if trace else "")
        return box(failure)

    def state(self, name: str, holds: bool) -> None:
        """Note a claim of the page; one that does not hold is the failure before it."""
        failure = "" if holds else self.failures[-1].identity
        self.claims.setdefault(self.uri, []).append(Statement(name, holds, failure))

    @property
    def uri(self) -> str:
        """The source of the page being rendered, "" between pages."""
        return str(self.page.file.src_uri) if self.page else ""

    def failed(self, uri: str) -> list[Failure]:
        """What failed on a page so far."""
        return [failure for failure in self.failures if failure.uri == uri]


build = Build()
