"""Typeset LaTeX while building: pages carry no maths script, and a mistake in a formula fails the build."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import quickjs

from ..run.state import build

KATEX = Path(__file__).with_name("katex") / "katex.min.js"
MACROS = {
    "\\R": "\\mathbb{R}",
    "\\softmax": "\\operatorname{softmax}",
    "\\argmax": "\\operatorname*{argmax}",
    "\\RMS": "\\operatorname{RMS}",
}
SPAN = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


class Engine:
    """KaTeX inside QuickJS, started when the first formula comes, and what it has typeset so far."""

    context: Any = None
    done: ClassVar[dict[tuple[str, bool], str]] = {}


def typeset(latex: str, display: bool) -> str:
    """HTML for a formula; raises `quickjs.JSException` on bad LaTeX."""
    key = latex, display
    if key not in Engine.done:
        if Engine.context is None:
            Engine.context = quickjs.Context()
            Engine.context.eval(KATEX.read_text(encoding="utf-8") + "\n;0")
        options = {"displayMode": display, "macros": MACROS, "strict": "error", "throwOnError": True}
        # A string that JavaScript built by joining cannot be handed over as it is; JSON text can.
        call = f"JSON.stringify(katex.renderToString({json.dumps(latex)}, {json.dumps(options)}))"
        rendered = json.loads(Engine.context.eval(call))
        # A formula is there twice, to be read aloud and to be seen. The search keeps neither the visible copy
        # nor the LaTeX source. It would end an excluded <span> at the first nested one, hence a tag that
        # KaTeX does not use.
        tail = "</span>" * (2 if display else 1)
        head, visible = rendered.removesuffix("</span>" + tail).split('<span class="katex-html"')
        head = head.replace("<annotation", "<annotation data-search-exclude")
        Engine.done[key] = f'{head}<data data-search-exclude class="katex-html"{visible}</data>{tail}'
    return Engine.done[key]


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Typeset every formula of a rendered page."""

    def replace(match: re.Match[str]) -> str:
        tag, kind, latex = match.groups()
        latex = html.unescape(latex).strip()
        try:
            return f'<{tag} class="arithmatex">{typeset(latex, kind == "[")}</{tag}>'
        except quickjs.JSException as error:
            reason = str(error).splitlines()[0]
            return build.fail(build.where(_line(latex, page)), f"LaTeX: {reason}")

    return SPAN.sub(replace, content)


def _line(latex: str, page: Any) -> int:
    """The line of the page's file on which a formula starts, 0 if it came from elsewhere."""
    text = Path(page.file.abs_src_path).read_text(encoding="utf-8")
    first = latex.splitlines()[0].strip() if latex else ""
    found = text.find(latex) if latex in text else text.find(first)
    return text.count("\n", 0, found) + 1 if first and found >= 0 else 0
