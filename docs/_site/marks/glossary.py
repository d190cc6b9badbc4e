"""Tooltips: the first time a section uses a term of the glossary, it carries the term's explanation."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any, ClassVar

PAGE = "notes/glossary.md"
SKIPPED = {
    "a", "abbr", "annotation", "blockquote", "button", "code", "data", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6",
    "label", "legend", "math", "pre", "script", "style", "summary", "svg", "th", "textarea",
}  # fmt: skip
UNMARKED = ("mm-quiz", "mm-card", "mm-nats", "mm-sample")
"""Classes of what is not running text: questions, and samples of documents."""
TAG = re.compile(r"(<!--.*?-->|<[^>]*>)", re.S)
VOID = {"br", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Terms:
    """The glossary of this build."""

    meaning: ClassVar[dict[str, str]] = {}
    pattern: re.Pattern[str] | None = None


def on_pre_build(config: Any) -> None:
    """Read the definition list; several names may share one meaning: `BPE, byte-pair encoding`."""
    Terms.meaning, Terms.pattern = {}, None
    file = Path(config.docs_dir) / PAGE
    if not file.is_file():
        return
    for match in re.finditer(
        r"^(?![ :#<])(.+)\n(?:\n)?: {1,3}(.+(?:\n {2,4}\S.*)*)", file.read_text(encoding="utf-8"), re.M
    ):
        meaning = " ".join(_plain(match[2]).split())
        for term in _plain(match[1]).split(","):
            Terms.meaning[_key(term.strip())] = meaning
    if Terms.meaning:
        names = sorted(Terms.meaning, key=len, reverse=True)
        Terms.pattern = re.compile(rf"(?<![\w-])({'|'.join(map(_spelled, names))})(s?)(?![\w-])")


def _key(term: str) -> str:
    """A term as it stands within a sentence."""
    return term[0].lower() + term[1:]


def _spelled(key: str) -> str:
    """How a term may be written: with a capital at the start of a sentence, but RoPE never as rope."""
    first = key[0].upper() if key[1:] != key[1:].lower() else f"[{key[0].upper()}{key[0]}]"
    return first + re.escape(key[1:])


def _plain(markdown: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)|\[([^\]]+)\]\[[^\]]*\]", lambda m: m[1] or m[2], markdown)
    return re.sub(r"[`*$\\]|\{[^}]*\}", "", text)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Explain terms in running text: once a section, never in headings, code, links or quizzes."""
    if Terms.pattern is None or page.file.src_uri == PAGE or page.file.src_uri.startswith("reference/"):
        return content
    seen: set[str] = set()
    skipping: list[str] = []
    parts = TAG.split(content)
    for index, part in enumerate(parts):
        if not part.startswith("<"):
            if not skipping and part.strip():
                parts[index] = _explain(part, seen)
            continue
        name = re.match(r"</?([a-zA-Z][\w-]*)", part)
        if name is None or part.endswith("/>") or name[1].lower() in VOID:
            continue
        tag = name[1].lower()
        if tag == "h2" and not part.startswith("</"):
            seen.clear()
        if part.startswith("</"):
            if skipping and skipping[-1] == tag:
                skipping.pop()
        elif tag in SKIPPED or any(name in part for name in UNMARKED) or (skipping and skipping[-1] == tag):
            skipping.append(tag)
    return "".join(parts)


def _explain(text: str, seen: set[str]) -> str:
    assert Terms.pattern is not None

    def wrap(match: re.Match[str]) -> str:
        meaning = Terms.meaning[_key(match[1])]
        if meaning in seen:
            return match[0]
        seen.add(meaning)
        return f'<abbr class="mm-term" title="{html.escape(meaning)}" tabindex="0">{match[0]}</abbr>'

    return Terms.pattern.sub(wrap, text)
