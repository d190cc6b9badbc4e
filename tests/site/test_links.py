"""Links, pictures and anchors of the built pages, those in raw HTML too."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The anchors of a page, and all that it points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        for name in ("href", "src"):
            if values.get(name) and tag != "use":
                self.links.add(str(values[name]))
                if tag in {"script", "img", "source", "iframe"} or (
                    tag == "link" and values.get("rel") in {"stylesheet", "icon", "preload"}
                ):
                    self.loaded.add(str(values[name]))


def read(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_link_leads_somewhere(base: str, site: Path) -> None:
    pages = read(site)
    problems = []
    for path, page in pages.items():
        here = base + path.relative_to(site).as_posix().removesuffix("index.html")
        for link in page.links:
            url, fragment = urldefrag(urljoin(here, link))
            if not url.startswith(base):
                if urlsplit(url).scheme not in ("http", "https", "data", "mailto"):
                    problems.append((path.relative_to(site), link))
                continue
            target = site / unquote(url.removeprefix(base))
            target = target / "index.html" if target.is_dir() else target
            missing = fragment and target in pages and unquote(fragment) not in [*pages[target].ids, "__skip"]
            if not target.exists() or missing:
                problems.append((path.relative_to(site), link))
    assert problems == []


def test_nothing_is_loaded_from_elsewhere(base: str, site: Path) -> None:
    elsewhere = {
        (path.relative_to(site), link)
        for path, page in read(site).items()
        for link in page.loaded
        if urlsplit(link).netloc and not link.startswith(base)
    }
    assert elsewhere == set()
    for sheet in (site / "assets").rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet


def test_no_page_names_two_things_alike(base: str, site: Path) -> None:
    twice = {
        (path.relative_to(site), name)
        for path, page in read(site).items()
        for name in page.ids
        if page.ids.count(name) > 1
    }
    assert twice == set()


def test_nothing_is_left_unfilled(base: str, site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "mmvalue" not in text, path
        assert "<!-- claims -->" not in text, path
        assert "@@" not in text, path
