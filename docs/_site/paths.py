"""Learning paths from `paths.yml`: the list of steps with progress, the cards, the tick at a page's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import material
import yaml
from mkdocs.exceptions import PluginError

from .markup import check_keys, escape

FILE = Path(__file__).with_name("paths.yml")
PATHS: dict[str, Any] = {}
KNOWN: dict[str, Any] = {}  # source uri of each page -> its file


def load(config: Any, files: Any) -> None:
    """Read the paths and hold their steps against the pages that exist."""
    PATHS.clear()
    KNOWN.clear()
    KNOWN.update({file.src_uri: file for file in files.documentation_pages()})
    file = Path(config.extra.get("paths", FILE))
    for name, path in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
        check_keys(
            path, {"title", "icon", "time", "goal", "best_for"}, {"page", "steps"}, f"{file.name}: {name}"
        )
        for step in path.get("steps", []):
            check_keys(step, {"title", "page", "minutes"}, set(), f"{file.name}: {name}: a step")
        for page in [path.get("page"), *(step["page"] for step in path.get("steps", []))]:
            if page is not None and page not in KNOWN:
                raise PluginError(f"{file.name}: {name}: there is no page {page}")
        PATHS[name] = path


def place(markdown: str, page: Any) -> str:
    """Fill in `<!-- path: name -->` and `<!-- cards -->`."""
    here = page.file.src_uri
    for name, path in PATHS.items():
        markdown = markdown.replace(f"<!-- path: {name} -->", _steps(name, path, here))
    return markdown.replace("<!-- cards -->", _cards(here))


def _link(target: str, here: str) -> str:
    """The address of a page, relative to another page's."""
    return KNOWN[target].url_relative_to(KNOWN[here])


def _steps(name: str, path: Any, here: str) -> str:
    rows = "".join(
        f'<li><a href="{_link(step["page"], here)}" data-step="{escape(step["page"])}">'
        f"{escape(step['title'])}</a>"
        f' <span class="mm-minutes">{step["minutes"]} min</span></li>'
        for step in path.get("steps", [])
    )
    return (
        f'<div class="mm-path" data-path="{name}">{_progress(path)}<ol>{rows}</ol>'
        '<p class="mm-continue" hidden><a class="mm-button" href="#">Continue where you left off</a></p>'
        "</div>"
    )


def _progress(path: Any) -> str:
    count = len(path.get("steps", []))
    label = f"Progress on {path['title']}"
    return (
        f'<p class="mm-progress"><progress max="{count}" value="0" aria-label="{escape(label)}"></progress> '
        f"<output>0 of {count} done</output></p>"
    )


def _cards(here: str) -> str:
    cards = []
    for name, path in PATHS.items():
        title = escape(path["title"])
        page = path.get("page")
        heading = f'<a href="{_link(page, here)}">{title}</a>' if page else title
        rows = "".join(
            f"<div><dt>{label}</dt><dd>{escape(str(path[key]))}</dd></div>"
            for label, key in (("Time", "time"), ("Goal", "goal"), ("Best for", "best_for"))
        )
        hidden = "".join(
            f'<a href="{_link(step["page"], here)}" data-step="{escape(step["page"])}" hidden>'
            f"{escape(step['title'])}</a>"
            for step in path.get("steps", [])
        )
        foot = (
            f'{_progress(path)}<p class="mm-continue" hidden><a href="#">Continue where you left off</a></p>'
            f"{hidden}"
            if page
            else '<p class="mm-later">Not on this site yet.</p>'
        )
        cards.append(
            f'<li class="mm-card{"" if page else " mm-card--later"}" data-path="{name}">'
            f'<p class="mm-card__title">{_icon(path["icon"])} {heading}</p>'
            f"<dl>{rows}</dl>{foot}</li>"
        )
    return f'<ul class="mm-cards">{"".join(cards)}</ul>'


def _icon(name: str) -> str:
    """One of the icons that come with the theme, drawn into the page."""
    file = Path(material.__file__).parent / "templates" / ".icons" / f"{name}.svg"
    if not file.is_file():
        raise PluginError(f"paths.yml: there is no icon {name}")
    return f'<span class="mm-icon" aria-hidden="true">{file.read_text(encoding="utf-8")}</span>'


def finish(content: str, page: Any) -> str:
    """The tick at the end of every page that is a step."""
    uri = page.file.src_uri
    steps = {step["page"] for path in PATHS.values() for step in path.get("steps", [])}
    if uri not in steps:
        return content
    return content + (
        f'<p class="mm-done" data-search-exclude><label><input type="checkbox" data-done="{escape(uri)}">'
        "<span>I have finished this page</span></label></p>"
    )
