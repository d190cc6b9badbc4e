"""The reader's own notes: a box on each lesson page, and `<!-- my notes -->`, from where they are exported.

Both live in the browser alone (docs/assets/js/notes.js). They are left out of the search, in tags that hold no second
of their own kind: the search takes the first end of a tag for the end of what it leaves out.
"""

from __future__ import annotations

import re
from typing import Any

from ..marks.markup import escape
from ..run.state import build
from . import paths

PARTS = ("quick-start/", "foundation/", "architecture/")
LOG = "notes/learning_log.md"
MARK = "<!-- my notes -->"
TICK = re.compile(r'data-check="([^"]+)"><span>(.*?)</span></label></li>', re.S)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """The box at the end of every experiment of Quick Start and every page of a module but its index and its quiz."""
    uri = page.file.src_uri
    if not uri.startswith(PARTS) or uri.endswith(("/index.md", "/quiz.md")):
        return content
    log = ""
    if LOG in paths.KNOWN:
        address = paths.KNOWN[LOG].url_relative_to(page.file)
        log = f'<p>The <a href="{address}">learning log</a> gathers and exports all your notes.</p>'
    return content + (
        f'<mm-notes data-search-exclude data-note="{escape(uri)}" data-title="{escape(_title(page))}">'
        '<details class="mm-fold"><summary id="my-notes">My notes on this page</summary>'
        '<textarea rows="6" aria-labelledby="my-notes" aria-describedby="my-notes-state"></textarea>'
        f'<p role="status" id="my-notes-state"></p>{log}</details></mm-notes>'
    )


def _title(page: Any) -> str:
    """A title that says the module too: six pages are called "Write it yourself"."""
    return f"{page.parent.title}: {page.title}" if page.parent else str(page.title)


def on_env(env: Any, config: Any, files: Any) -> None:
    """Fill in the mark, once it is known which ticks there are on which page."""
    for file in files.documentation_pages():
        if file.page and file.page.content and MARK in file.page.content:
            file.page.content = file.page.content.replace(MARK, _log(file, files))


def _log(here: Any, files: Any) -> str:
    """Buttons, the list of notes, and, hidden, the names of all that can be ticked."""
    pages = []
    for uri in build.order:
        file = files.get_file_from_path(uri)
        ticks = "".join(
            f'<li data-tick="{identity}">{" ".join(re.sub("<[^>]*>", "", text).split())}</li>'
            for identity, text in TICK.findall(file.page.content or "")
        )
        pages.append(f'<li data-page="{escape(uri)}">{escape(_title(file.page))}<ul>{ticks}</ul></li>')
    return (
        '<mm-log data-search-exclude><p role="status"></p><ul data-list></ul><p>'
        '<button type="button" class="mm-button" data-log="export">Export my notes as Markdown</button> '
        '<button type="button" class="mm-button mm-button--quiet" data-log="delete">Delete all my notes</button>'
        f"</p><ul hidden data-ticks>{''.join(pages)}</ul></mm-log>"
        '<p class="mm-needs-script">The notes boxes and this export need JavaScript; the template below does not.</p>'
    )
