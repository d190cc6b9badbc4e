"""The fences that are written in YAML: ```quiz, ```checklist and ```diagram. A mistake in one is told with its line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import yaml

from ..run.parse import Fence, find_fences
from ..run.state import BlockError, build
from .checklist import checklist
from .diagram import diagram
from .quiz import quiz

FENCES = {"quiz": quiz, "checklist": checklist, "diagram": diagram}


class PageFences:
    """The fences of the page, in order, so that a failure can name its line."""

    waiting: ClassVar[dict[str, list[Fence]]] = {}


def on_config(config: Any) -> None:
    """Hand the fences to the extension that finds them in the Markdown."""
    custom = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    custom[:] = [fence for fence in custom if fence["name"] not in FENCES]
    for name, function in FENCES.items():
        custom.append({"name": name, "class": name, "format": guarded(name, function)})


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> None:
    """Note where they stand."""
    PageFences.waiting = {name: [] for name in FENCES}
    for fence in find_fences(build.source):
        if fence.language in FENCES:
            PageFences.waiting[fence.language].append(fence)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> None:
    """Fail if one was taken for plain text."""
    for fences in PageFences.waiting.values():
        for fence in fences:
            build.fail(build.where(fence.first), f"this {fence.language} was taken for plain text")
    PageFences.waiting = {}


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
