"""Small helpers that the components share."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml
from markdown_exec import MarkdownConverter

from .fences import Fence, find_fences
from .state import BlockError, build

escape = html.escape


class PageFences:
    """The component fences of the page, in order, so that a failure can name its line."""

    waiting: ClassVar[dict[str, list[Fence]]] = {}


LINK = re.compile(r'\b(href|src)="([^"]+)"')


def begin_page(source: str, names: set[str]) -> None:
    """Note where the page's component fences stand."""
    PageFences.waiting = {name: [] for name in names}
    for fence in find_fences(source):
        if fence.language in names:
            PageFences.waiting[fence.language].append(fence)


def end_page() -> None:
    """Fail if a component was taken for plain text."""
    for fences in PageFences.waiting.values():
        for fence in fences:
            build.fail(build.where(fence.first), f"this {fence.language} was taken for plain text")
    PageFences.waiting = {}


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


def guarded(name: str, function: Callable[[Any, Any], str]) -> Callable[..., str]:
    """A superfences formatter that reads YAML, and turns a mistake into a failure with page and line."""

    def formatter(source: str, language: str, css_class: str, options: Any, md: Any, **kwargs: Any) -> str:
        waiting = PageFences.waiting.get(name, [])
        line = waiting.pop(0).first if waiting else 0
        try:
            return function(yaml.safe_load(source), md)
        except (BlockError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            return build.fail(build.where(line), f"{name}: {error}")

    return formatter


def check_keys(data: Any, needed: set[str], allowed: set[str], what: str) -> None:
    """Fail unless `data` is a mapping with these keys and no others."""
    if not isinstance(data, dict):
        raise BlockError(f"{what} must be a mapping, got {data!r}")
    if missing := needed - set(data):
        raise BlockError(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := set(data) - needed - allowed:
        raise BlockError(f"{what} has unknown keys {', '.join(sorted(map(str, unknown)))}")
