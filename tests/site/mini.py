"""A small site for a test: our configuration and hooks, and just the pages that the test is about."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@dataclass
class Result:
    """How a build ended."""

    status: int
    log: str
    site: Path

    def page(self, name: str = "index.html") -> str:
        return (self.site / name).read_text(encoding="utf-8")


class MiniSite:
    """Write pages, build, look. The cache of blocks lives in the site's own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.docs = folder / "docs"
        self.docs.mkdir(parents=True, exist_ok=True)
        self.site = folder / "site"
        if not (self.docs / "assets").exists():
            (self.docs / "assets").symlink_to(DOCS / "assets")

    def write(self, name: str, text: str) -> MiniSite:
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return self

    def configure(
        self, paths: Path | None = None, url: str = "http://127.0.0.1:8000/", **extra: object
    ) -> Path:
        if paths is None:
            paths = self.folder / "no-paths.yml"
            paths.write_text("{}", encoding="utf-8")
        files = sorted(self.docs.rglob("*.md")) + sorted(self.docs.rglob("*.py"))
        pages = [file.relative_to(self.docs).as_posix() for file in files]
        config = {
            "INHERIT": str(ROOT / "mkdocs.yml"),
            "site_url": url,
            "docs_dir": str(self.docs),
            "hooks": [str(DOCS / "_site" / "hooks.py")],
            "watch": [],
            "nav": pages,
            "extra": {"train": False, "paths": str(paths)} | extra,
        }
        file = self.folder / "mkdocs.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    def build(
        self,
        *flags: str,
        paths: Path | None = None,
        url: str = "http://127.0.0.1:8000/",
        variables: dict[str, str] | None = None,
        **extra: object,
    ) -> Result:
        """Build with flags of `mkdocs build`, variables of the environment, and entries of `extra`."""
        config = self.configure(paths, url, **extra)
        environment = (
            os.environ
            | {
                "MINIMIND_SITE_CACHE": str(self.folder / "cache"),
                "OMP_NUM_THREADS": "1",
                "NO_COLOR": "1",
            }
            | (variables or {})
        )
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", *flags, "-f", str(config), "-d", str(self.site)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Result(done.returncode, done.stdout + done.stderr, self.site)
