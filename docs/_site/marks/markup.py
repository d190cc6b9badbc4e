"""Markdown inside of components, and the keys of what is written in YAML."""

from __future__ import annotations

import html
import posixpath
import re
from typing import Any

from markdown_exec import MarkdownConverter

from ..run.state import BlockError, build

escape = html.escape


LINK = re.compile(r'\b(href|src)="([^"]+)"')


def block(md: Any, text: Any) -> str:
    """Markdown to HTML, whole paragraphs, with links as pages have them: to source files, checked."""
    out = str(MarkdownConverter(md, update_toc=False).convert(str(text).strip()))
    return LINK.sub(_lead, out)


def _lead(match: re.Match[str]) -> str:
    """A link to a source file, as the built page needs it; one that ends in a slash is a built page's already."""
    attribute, address = match.groups()
    if build.page is None or build.files is None or re.match(r"[#/]|[a-z]+:|.*/$", address):
        return match[0]
    path, hash_sign, anchor = address.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(build.page.file.src_uri), path))
    file = build.files.get_file_from_path(wanted)
    if file is None:
        raise BlockError(f"the link {address!r} leads to no file of docs/")
    return f'{attribute}="{file.url_relative_to(build.page.file)}{hash_sign}{anchor}"'


def inline(md: Any, text: Any) -> str:
    """Markdown to HTML without the paragraph around it."""
    out = block(md, text)
    return out[3:-4] if out.startswith("<p>") and out.endswith("</p>") and out.count("<p>") == 1 else out


def check_keys(data: Any, needed: set[str], allowed: set[str], what: str) -> None:
    """Fail unless `data` is a mapping with these keys and no others."""
    if not isinstance(data, dict):
        raise BlockError(f"{what} must be a mapping, got {data!r}")
    if missing := needed - set(data):
        raise BlockError(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := set(data) - needed - allowed:
        raise BlockError(f"{what} has unknown keys {', '.join(sorted(map(str, unknown)))}")
