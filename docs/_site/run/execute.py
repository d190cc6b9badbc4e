"""The fence ```python exec="1"```: run the block or replay it from the cache; put its output on the page."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import html
import json
import shlex
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from markdown_exec import MarkdownConverter, base_format, formatters
from markdown_exec._internal import rendering
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from . import digest, models
from .figures import place_svg
from .machine import arithmetic
from .parse import Fence, find_fences, origins
from .session import ORIGINS, Session, explain
from .state import CACHE, KEEP_DAYS, PACKAGE, BlockError, build

OPTIONS = {"title", "hl_lines", "linenums", "alt", "caption", "args", "expect", "fold", "measured"}
SOURCES = {"none", "above", "below", "fold", "tabbed-left", "tabbed-right"}
CLAIM = "claim holds: "
FALSE = "claim does not hold: "
MEASURED = "    measured: "
STORE = CACHE / "blocks"


class Blocks:
    """The blocks of the page that is being rendered."""

    fences: ClassVar[list[Fence]] = []
    sessions: ClassVar[dict[str, Session]] = {}
    ran = 0
    hits = misses = 0
    times: ClassVar[list[tuple[float, str]]] = []


def on_config(config: Any) -> None:
    formatters["python"] = formatters["py"] = format_python


def on_pre_build(config: Any) -> None:
    """Start counting afresh, and forget cached blocks that nobody asked for in a month."""
    Blocks.hits = Blocks.misses = 0
    Blocks.times = []
    oldest = time.time() - KEEP_DAYS * 86400
    for path in [*STORE.glob("*.json"), *STORE.glob("pages/*")]:
        with contextlib.suppress(FileNotFoundError):  # another build may be tidying up as well
            if path.stat().st_mtime < oldest:
                path.unlink()


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> None:
    """Find the page's blocks; its sessions start empty, in a folder with or without the live model."""
    Blocks.fences = [fence for fence in find_fences(build.source) if fence.executes]
    Blocks.sessions, Blocks.ran = {}, 0
    ORIGINS.clear()
    models.begin_page(live=bool(page.meta.get("live")))


def on_page_content(content: str, page: Any, config: Any, files: Any) -> None:
    """Fail if a block was taken for plain text, which is what happens to a mistyped fence."""
    for fence in Blocks.fences[Blocks.ran :]:
        build.fail(build.where(fence.first), "this block did not run: check the options on its first line")
    Blocks.fences, Blocks.sessions = [], {}


def on_post_build(config: Any) -> None:
    _drop_parsers()


def on_build_error(error: Exception) -> None:
    _drop_parsers()


def _drop_parsers() -> None:
    """markdown-exec keeps every page's parser, and with it the page, in this cache: 12 MiB more each rebuild."""
    rendering._register_headings_processors.cache_clear()


def format_python(code: str, md: Any, **options: Any) -> str:
    """Render one block. Any failure becomes a line `docs/page.md:12: ...` and fails the build."""
    fence = Blocks.fences[Blocks.ran] if Blocks.ran < len(Blocks.fences) else None
    Blocks.ran += 1
    where = build.where(fence.first if fence else 0)
    started = time.perf_counter()
    try:
        return _format(code, md, where, fence, **options)
    except Exception as error:  # Superfences would swallow it and show the block as plain text.
        if isinstance(error, BlockError):
            return build.fail(where, str(error))
        trace, place = explain(error)
        return build.fail(where, last_words(error), place=place, trace=trace)
    finally:
        Blocks.times.append((time.perf_counter() - started, where))


def _format(
    code: str, md: Any, where: str, fence: Fence | None, *, extra: dict[str, str], session: str,
    html: bool = False, source: str = "", result: str = "", **options: Any,
) -> str:  # fmt: skip
    unknown = sorted(set(extra) - OPTIONS)
    if unknown:
        raise BlockError(f"unknown option {', '.join(unknown)}; known: {', '.join(sorted(OPTIONS))}")
    if source and source not in SOURCES:
        raise BlockError(f'unknown source="{source}"; known: {", ".join(sorted(SOURCES))}')
    for name in ("workdir", "width", "returncode"):
        if options.pop(name, None):
            raise BlockError(f"the option {name} is not used here")
    extra = dict(extra)
    alt, caption, fold = extra.pop("alt", ""), extra.pop("caption", ""), extra.pop("fold", "")
    argv = [extra.get("title", "block.py"), *shlex.split(extra.pop("args", ""))]
    expect, measured = extra.pop("expect", ""), extra.pop("measured", "")

    state = Blocks.sessions.setdefault(session, Session()) if session else Session()
    lines = origins(fence) if fence else []
    ORIGINS[where] = lines if len(lines) == code.count("\n") + 1 else []
    pieces, claims = run_block(state, code, where, argv, expect)
    body = render(pieces, md, "html" if html else result or "text", alt, caption)
    body += "".join(_state(made, where) for made in claims)
    if measured:
        body = f'<div class="mm-measured" title="measured on the machine that built this page">{body}</div>'
    if fold:
        body = f'<details class="mm-fold"><summary>{_escape(fold)}</summary>{body}</details>'
    shown = "" if source == "none" else "above" if source in ("", "fold") else source
    if source == "fold":
        block = base_format(
            language="python",
            run=lambda *_, **__: "<!-- -->",
            code=code,
            md=md,
            html=True,
            source="above",
            extra=extra,
        )
        label = "Show the code"
        return f'<details class="mm-fold mm-code"><summary>{label}</summary>{block}</details>{body}'
    return base_format(
        language="python", run=lambda *_, **__: body or "<!-- -->", code=code, md=md, html=True, source=shown,
        extra=extra, **options,
    )  # fmt: skip


def _state(made: list[Any], where: str) -> str:
    """Note a claim; the box that says so if it does not hold."""
    name, holds, values, line = made
    failed = ""
    if not holds:
        file, number = ORIGINS[where][line - 1] if 0 < line <= len(ORIGINS[where]) else ("", 0)
        here = build.where(number) if number and not file else where
        failed = build.fail(here, name, place=f"{file}:{number}" if file else "", values=values, claim=True)
    build.state(name, holds)
    return failed


def last_words(error: BaseException) -> str:
    """The last line of a traceback: the error's own words."""
    return traceback.format_exception_only(error)[-1].strip()


def run_block(
    state: Session, code: str, where: str, argv: list[str], expect: str = ""
) -> tuple[list[list[str]], list[list[Any]]]:
    """What a block prints and draws, and its claims; from the cache if nothing it rests on has changed.

    Returns:
        Pieces of output, and for each claim its name, whether it holds, the compared values, and its line in the block.
    """
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise BlockError(
            f"SyntaxError in line {error.lineno} of the block: {error.msg}: {error.text}"
        ) from error
    state.code += "\n" + code
    key = _key(state, [code, argv, expect])
    state.chain = key
    stored = _read(key)
    if stored is not None:
        Blocks.hits += 1
        state.skipped.append((code, where, argv, expect))
        return stored["pieces"], stored["claims"]
    Blocks.misses += 1
    state.catch_up()
    pieces: list[Any]
    try:
        pieces = state.execute(code, where, argv, expect)
    except Exception as error:
        if not is_a(error, expect):
            for made in state.claims:
                _state(made, where)
            raise
        pieces = [("text", "".join(traceback.format_exception_only(error)))]
        # What fails on purpose is no finding of the page.
        state.claims = [made for made in state.claims if made[1]]
    else:
        if expect:
            raise BlockError(f"expected {expect}, but the block raised nothing")
    _write(key, {"pieces": pieces, "claims": state.claims})
    return [list(piece) for piece in pieces], state.claims


def cached_value(state: Session, expression: str, form: str) -> str:
    """The text of `expression` in `form` at the session's end."""
    key = _key(state, ["value", expression, form])
    stored = _read(key)
    if stored is None:
        value = state.evaluate(expression)
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        stored = {"value": format(value, form) if form else str(value)}
        _write(key, stored)
    return str(stored["value"])


def is_a(error: BaseException, name: str) -> bool:
    """Whether an error is of the class with this name, or of one below it."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _key(state: Session, parts: list[Any]) -> str:
    """All that a result rests on: the session so far, the package, libraries, the model, this machinery."""
    rests_on = [state.chain, digest.digest_code(state.code), machinery_digest(), arithmetic(), *parts]
    if models.Folder.live:
        rests_on.append(models.model_digest())
    if read := digest.digest_records(state.code):
        rests_on.append(read)
    return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()


@cache
def machinery_digest() -> str:
    """A digest of the files here that decide what a block's result looks like."""
    here = Path(__file__).parent
    names = ("execute.py", "session.py", "figures.py")
    return digest.digest_files([*(here / name for name in names), PACKAGE / "course" / "plots.py"])


def _read(key: str) -> dict[str, Any] | None:
    path = STORE / f"{key}.json"
    if not path.is_file():
        return None
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if time.time() - path.stat().st_mtime > 86400:
        path.touch()  # still in use
    return stored


def _write(key: str, value: dict[str, Any]) -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    aside = STORE / f"{key}.{time.monotonic_ns()}.part"
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.replace(STORE / f"{key}.json")


def render(pieces: list[list[str]], md: Any, mode: str, alt: str, caption: str) -> str:
    """A block's output as HTML."""
    figures = [number for number, (kind, _) in enumerate(pieces) if kind == "svg"]
    alts = [text.strip() for text in alt.split("|")]
    if figures and not (alt and all(alts) and len(alts) in (1, len(figures))):
        raise BlockError(
            f'the block draws {len(figures)} figure(s): say what is to be seen, alt="first|second"'
        )
    if caption and not figures and mode != "html":
        raise BlockError("the block has a caption and draws no figure")
    parts = []
    for number, (kind, text) in enumerate(pieces):
        if kind == "svg":
            label = alts[figures.index(number) % len(alts)]
            note = ""
            if caption and number == figures[-1]:
                note = f"<figcaption>{_inline(md, caption)}</figcaption>"
            identity = f"mm{Blocks.ran}-{number}"
            parts.append(f'<figure class="mm-figure">{place_svg(text, identity, label)}{note}</figure>')
        elif text.strip():
            parts.append(_printed(text, md, mode))
    body = "\n".join(parts)
    if caption and not figures:  # what is printed is a drawing or a table in HTML
        return f'<figure class="mm-figure">{body}<figcaption>{_inline(md, caption)}</figcaption></figure>'
    return body


def _printed(text: str, md: Any, mode: str) -> str:
    if mode == "html":
        return f"<div>{text}</div>"
    if mode == "markdown":
        return str(MarkdownConverter(md, update_toc=False).convert(text))
    return output_html(text, mode)[0]


def output_html(text: str, mode: str) -> tuple[str, list[tuple[str, bool, str]]]:
    """Printed text as HTML, with the claims in it that hold as a list of ticks.

    Returns:
        The HTML, and all claims in the text: name, whether it holds, the compared values.
    """
    claims: list[tuple[str, bool, str]] = []
    rest: list[str] = []
    for line in text.splitlines():
        if line.startswith(CLAIM):
            claims.append((line.removeprefix(CLAIM), True, ""))
        elif line.startswith(FALSE):
            claims.append((line.removeprefix(FALSE), False, ""))
        elif line.startswith(MEASURED) and claims and not claims[-1][1]:
            claims[-1] = (claims[-1][0], False, line.removeprefix(MEASURED))
        else:
            rest.append(line)
    parts = []
    printed = "\n".join(rest).rstrip()
    if printed.strip():
        lexer = get_lexer_by_name(mode, stripnl=False)
        formatter = HtmlFormatter(cssclass="highlight mm-output", wrapcode=True)
        parts.append(highlight(f"{printed}\n", lexer, formatter))
    rows = "".join(f"<li>{_escape(name)}</li>" for name, holds, _ in claims if holds)
    if rows:
        parts.append(f'<ul class="mm-claims" aria-label="Checked by this build">{rows}</ul>')
    return "\n".join(parts), claims


def _inline(md: Any, text: str) -> str:
    out = str(MarkdownConverter(md, update_toc=False).convert(text.strip()))
    return out.removeprefix("<p>").removesuffix("</p>")


def _escape(text: str) -> str:
    return html.escape(text)
