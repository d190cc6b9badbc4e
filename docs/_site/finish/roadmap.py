"""`<!-- roadmap -->`: the roadmap, line by line, from one data file: what it asks, our page and command, its check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..marks.markup import check_keys
from . import paths

FILE = Path(__file__).with_name("roadmap.yml")
MARK = "<!-- roadmap -->"
PAGE = "paths/roadmap.md"
KINDS = {"question", "command", "you will see", "insight", "criterion", "task", "tip"}


def read() -> list[dict[str, Any]]:
    """The parts of the roadmap, each with its items."""
    parts: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for part in parts:
        check_keys(part, {"part", "items"}, set(), FILE.name)
        for item in part["items"]:
            where = f"{FILE.name}: {item.get('says')}"
            needed = {"says", "kind", "later" if item.get("later") else "page"}
            check_keys(item, needed, {"run", "check", "note"}, where)
            if item["kind"] not in KINDS:
                raise ValueError(f"{where}: unknown kind {item['kind']!r}; known: {', '.join(sorted(KINDS))}")
    return parts


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the mark."""
    if MARK not in markdown:
        return markdown
    parts, titles = read(), paths.titles()
    sections = [f"## {part['part']}\n\n{_table(part['items'], titles)}" for part in parts]
    tables = '<div class="mm-roadmap" markdown="1">\n\n' + "\n\n".join(sections) + "\n\n</div>"
    return markdown.replace(MARK, tables)


def _table(items: list[dict[str, Any]], titles: dict[str, str]) -> str:
    rows = ["| | The roadmap, in our words | Here | Run, and what checks it |", "|---|---|---|---|"]
    for item in items:
        if item.get("later"):
            here = "*not here yet*"
        else:
            here = f"[{titles[item['page'].partition('#')[0]]}](../{item['page']})"
        if item.get("note"):
            here += f": {item['note']}"
        run = f"`{item['run']}`" if "run" in item else ""
        proof = "; ".join(part for part in (run, _check(item.get("check"))) if part)
        rows.append(f"| {item['kind'].capitalize()} | {item['says']} | {here} | {proof} |")
    return "\n".join(rows)


def _check(check: dict[str, str] | None) -> str:
    if check is None:
        return ""
    ((kind, name),) = check.items()
    if kind == "exercise":
        return f"`minimind exercise check {name}`"
    if kind == "quiz":
        # As HTML: MkDocs does not see the questions' anchors (tests/site/test_links.py does).
        page, here = paths.KNOWN[_page_of(name)], paths.KNOWN[PAGE]
        return f'<a href="{page.url_relative_to(here)}#{name}">a question</a>'
    return {"claim": f"the claim “{name}”", "command": f"`{name}`"}[kind]


def _page_of(quiz: str) -> str:
    """The source path of the page with this question."""
    docs = FILE.parents[2]
    for path in sorted(docs.rglob("*.md")):
        if f"\nid: {quiz}\n" in path.read_text(encoding="utf-8"):
            return path.relative_to(docs).as_posix()
    raise ValueError(f"{FILE.name}: no quiz question {quiz!r}")
