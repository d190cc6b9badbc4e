"""Numbers in prose: `[[= expression | format ]]` becomes what the page's own code computed."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..run.execute import Blocks, cached_value, last_words
from ..run.parse import find_fences
from ..run.session import Session, explain
from ..run.state import BlockError, build

VALUE = re.compile(r"(?<!\\)\[\[([=~])\s*(.+?)\s*\]\](?!\])")
ESCAPED = re.compile(r"\\(\[\[[=~])")
PLACEHOLDER = re.compile(r"mmvalue(\d+)x")
TEXT_FENCES = {"quiz", "checklist"}
NOTE = "measured on the machine that built this page"
FAILED = '<strong class="mm-failed" id="{}">failed</strong>'


@dataclass
class Value:
    """One value on the page."""

    line: int
    measured: bool
    expression: str
    form: str


VALUES: list[Value] = []


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Swap each value for a word that Markdown leaves alone, and remember what stands behind it."""
    VALUES.clear()
    lines = markdown.split("\n")
    plain = [True] * (len(lines) + 1)
    for fence in find_fences(markdown):
        if fence.executes:
            plain[fence.first - 1] = True  # its caption may hold values
            start = fence.first
        else:
            start = fence.first - 1
        if fence.language not in TEXT_FENCES:
            plain[start : fence.last] = [False] * (fence.last - start)
    for index, line in enumerate(lines):
        if plain[index]:
            store = partial(_store, line=index + 1 + build.skipped)
            lines[index] = ESCAPED.sub(r"\1", VALUE.sub(store, line))
    return "\n".join(lines)


def _store(match: re.Match[str], line: int) -> str:
    expression, bar, form = match[2].rpartition(" | ")
    if not bar:
        expression, form = match[2], ""
    VALUES.append(Value(line, match[1] == "~", expression.strip(), form.strip()))
    return f"mmvalue{len(VALUES) - 1}x"


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Put the values into the rendered page. A value that cannot be computed fails the build."""
    texts: dict[int, str] = {}

    def text(match: re.Match[str]) -> str:
        number = int(match[1])
        if number not in texts:
            texts[number] = _compute(VALUES[number])
        # Inside a tag only the bare text fits.
        inside_tag = content.rfind("<", 0, match.start()) > content.rfind(">", 0, match.start())
        if VALUES[number].measured and not inside_tag:
            return f'<span class="mm-measured" title="{NOTE}">{texts[number]}</span>'
        return re.sub("<.*?>", "", texts[number]) if inside_tag else texts[number]

    return PLACEHOLDER.sub(text, content)


def _compute(value: Value) -> str:
    where = build.where(value.line)
    try:
        state, expression = _session_for(value.expression)
        return html.escape(cached_value(state, expression, value.form))
    except Exception as error:
        detail = str(error) if isinstance(error, BlockError) else last_words(error)
        build.fail(where, f"the value {value.expression!r} failed: {detail}", place=explain(error)[1])
        return FAILED.format(build.failures[-1].identity)


def _session_for(expression: str) -> tuple[Session, str]:
    """The session that an expression is about, and the expression without its name."""
    named = {name: state for name, state in Blocks.sessions.items() if name}
    match = re.match(r"([A-Za-z][\w-]*):(?!=)\s*(.+)", expression)
    if match:
        if match[1] not in named:
            known = f"it has {', '.join(named)}" if named else "it has none"
            raise BlockError(f"no block of the page has run in a session {match[1]}; {known}")
        return named[match[1]], match[2]
    if len(named) == 1:
        return next(iter(named.values())), expression
    if not named:
        raise BlockError('the page has no session; give one block session="name"')
    raise BlockError(f"the page has several sessions ({', '.join(named)}): write [[= name:expression ]]")
