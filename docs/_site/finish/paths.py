"""Learning paths from `paths.yml`: the list of steps with progress, the cards, the tick at a page's end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import material
import yaml
from mkdocs.exceptions import PluginError

from ..marks.markup import check_keys, escape
from .lessons import minutes_of

FILE = Path(__file__).with_name("paths.yml")
PATHS: dict[str, Any] = {}
KNOWN: dict[str, Any] = {}  # source uri of each page -> its file


def on_files(files: Any, config: Any) -> None:
    """Read the paths and hold their steps against the pages that exist."""
    PATHS.clear()
    KNOWN.clear()
    KNOWN.update({file.src_uri: file for file in files.documentation_pages()})
    file = Path(config.extra.get("paths", FILE))
    for name, path in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
        check_keys(
            path,
            {"title", "icon", "time", "goal", "best_for"},
            {"page", "steps", "modules"},
            f"{file.name}: {name}",
        )
        for step in path.get("steps", []):
            check_keys(step, {"title", "page", "minutes"}, {"tick"}, f"{file.name}: {name}: a step")
        for module in path.get("modules", []):
            check_keys(module, {"name", "title", "hours", "pages"}, set(), f"{file.name}: {name}: a module")
            module["steps"] = [_step(page, module["title"], file.name) for page in module["pages"]]
            path.setdefault("steps", []).extend(module["steps"])
        for page in [path.get("page"), *(step["page"] for step in path.get("steps", []))]:
            if page is not None and page.partition("#")[0] not in KNOWN:
                raise PluginError(f"{file.name}: {name}: there is no page {page}")
        PATHS[name] = path


def titles() -> dict[str, str]:
    """The title of every page, by its source path: its first heading."""
    return {uri: _title(Path(file.abs_src_path)) for uri, file in KNOWN.items()}


def _title(source: Path) -> str:
    # In a lab, the heading stands behind a comment sign.
    sign = "# # " if source.suffix == ".py" else "# "
    heading = re.search(rf"^{sign}(.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else source.stem


def _step(page: str, module: str, file: str) -> dict[str, Any]:
    """A step of a module: its title is the page's, its minutes are counted."""
    if page not in KNOWN:
        raise PluginError(f"{file}: there is no page {page}")
    source = Path(KNOWN[page].abs_src_path)
    title = _title(source)
    minutes = minutes_of(source)
    if page.endswith("index.md"):
        title = f"{module}: where to start"
    core, extra = round(minutes.core), round(minutes.extra)
    words = f"{core} min" if core else ""
    words += f"{' + ' if core else ''}{extra} min extra" if extra else ""
    return {"title": title, "page": page, "minutes": words or "1 min", "extra": not core and extra > 0}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in `<!-- path: name -->` and `<!-- cards -->`."""
    here = page.file.src_uri
    for name, path in PATHS.items():
        markdown = markdown.replace(f"<!-- path: {name} -->", _steps(name, path, here))
        markdown = markdown.replace(f"<!-- progress: {name} -->", _overview(name, path, here))
        for module in path.get("modules", []):
            markdown = markdown.replace(
                f"<!-- module: {module['name']} -->", _steps(module["name"], module, here)
            )
    return markdown.replace("<!-- cards -->", _cards(here))


def _link(target: str, here: str) -> str:
    """The address of a page, or of a place on it, relative to another page's."""
    page, sign, anchor = target.partition("#")
    return KNOWN[page].url_relative_to(KNOWN[here]) + sign + anchor


def _steps(name: str, path: Any, here: str) -> str:
    rows = "".join(
        f"<li>{_step_link(step, here)}"
        f' <span class="mm-minutes">{step["minutes"]}{"" if isinstance(step["minutes"], str) else " min"}</span></li>'
        for step in path.get("steps", [])
    )
    return (
        f'<div class="mm-path" data-path="{name}">{_progress(path)}<ol>{rows}</ol>'
        '<p class="mm-continue" hidden><a class="mm-button" href="#">Continue where you left off</a></p>'
        "</div>"
    )


def _overview(name: str, path: Any, here: str) -> str:
    """A path's progress and the way on, without the list of its steps."""
    return (
        f'<div class="mm-path" data-path="{name}">{_progress(path)}{_hidden_steps(path, here)}'
        '<p class="mm-continue" hidden><a class="mm-button" href="#">Continue where you left off</a></p>'
        "</div>"
    )


def _step_link(step: Any, here: str, hidden: str = "") -> str:
    # An extra page has its tick, and does not count towards the path.
    kind = "data-extra" if step.get("extra") else "data-step"
    # Most steps are pages, with one tick at their end. Some are a box of a checklist.
    kept = ' data-kept="check"' if "tick" in step else ""
    name = step.get("tick", step["page"])
    return f'<a href="{_link(step["page"], here)}" {kind}="{escape(name)}"{kept}{hidden}>{escape(step["title"])}</a>'


def _hidden_steps(path: Any, here: str) -> str:
    return "".join(
        _step_link(step, here, " hidden") for step in path.get("steps", []) if not step.get("extra")
    )


def _progress(path: Any) -> str:
    count = sum(not step.get("extra") for step in path.get("steps", []))
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
        foot = (
            f'{_progress(path)}<p class="mm-continue" hidden><a href="#">Continue where you left off</a></p>'
            f"{_hidden_steps(path, here)}"
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


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """The tick at the end of every page that is a step."""
    uri = page.file.src_uri
    steps = {step["page"] for path in PATHS.values() for step in path.get("steps", []) if "tick" not in step}
    if uri not in steps:
        return content
    return content + (
        f'<p class="mm-done" data-search-exclude><label><input type="checkbox" data-done="{escape(uri)}">'
        "<span>I have finished this page</span></label></p>"
    )
