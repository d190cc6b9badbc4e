"""The fence ```source minimind.model.norm.RMSNorm: the package's own text, found by name, never retyped."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

from ..run.parse import Fence, find_fences
from ..run.state import ROOT, BlockError, build


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Swap each source fence for a Python block with the text it names."""
    lines: list[str | None] = list(markdown.split("\n"))
    # Other components have added lines; a failure is told with the line of the page's file.
    written = [fence.first for fence in find_fences(build.source) if fence.language == "source"]
    fences = [fence for fence in find_fences(markdown) if fence.language == "source"]
    for fence, line in zip(fences, written, strict=True):
        try:
            text = _block(fence)
        except BlockError as error:
            text = [build.fail(build.where(line), f"source: {error}").replace("\n", " ")]
        indent = fence.indent
        lines[fence.first - 1] = "\n".join(indent + words for words in text)
        lines[fence.first : fence.last] = [None] * (fence.last - fence.first)
    return "\n".join(line for line in lines if line is not None)


def _block(fence: Fence) -> list[str]:
    words = shlex.split(fence.info)
    options = dict(word.partition("=")[::2] for word in words[2:])
    if len(words) < 2 or "=" in words[1]:
        raise BlockError("name what to include: ```source minimind.model.norm.RMSNorm")
    if unknown := set(options) - {"docstrings", "hl_lines"}:
        raise BlockError(f"unknown option {', '.join(sorted(unknown))}")
    if any(line.strip() for line in fence.body):
        raise BlockError("the body must be empty: the text comes from the package")
    file, first, last, text = excerpt(words[1], docstrings=options.get("docstrings", "1") != "0")
    title = f"{file.relative_to(ROOT).as_posix()}, lines {first} to {last}"
    marks = "`" * (3 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    extra = f' hl_lines="{options["hl_lines"]}"' if "hl_lines" in options else ""
    return [f'{marks}python title="{title}"{extra}', *text.splitlines(), marks]


def excerpt(name: str, docstrings: bool = True) -> tuple[Path, int, int, str]:
    """The file, first line, last line and dedented text of a module, class, function, method or constant."""
    file, rest = _find_file(name)
    source = file.read_text(encoding="utf-8")
    tree: ast.AST = ast.parse(source)
    node = tree
    for part in rest:
        found = [child for child in ast.iter_child_nodes(node) if part in _names(child)]
        if not found:
            raise BlockError(f"{name}: {file.relative_to(ROOT)} has no {part}")
        node = found[-1]
    lines = source.splitlines()
    first, last = 1, len(lines)
    if node is not tree:
        decorators = getattr(node, "decorator_list", [])
        assert isinstance(node, ast.stmt)
        assert node.end_lineno is not None
        first, last = min([node.lineno, *(decorator.lineno for decorator in decorators)]), node.end_lineno
    dropped = set() if docstrings else _docstring_lines(node)
    kept = [
        line
        for number, line in enumerate(lines, start=1)
        if first <= number <= last and number not in dropped
    ]
    return file, first, last, textwrap.dedent("\n".join(kept)).strip("\n")


def _find_file(name: str) -> tuple[Path, list[str]]:
    """The longest part of a dotted name that is a module, and what is left of the name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:end])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file, parts[end:]
    raise BlockError(f"{name}: there is no such module")


def _names(node: ast.AST) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _docstring_lines(node: ast.AST) -> set[int]:
    """The lines of every docstring inside, with the empty line after each."""
    dropped: set[int] = set()
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and len(body) > 1:
            dropped |= set(range(body[0].lineno, body[1].lineno))
    return dropped
