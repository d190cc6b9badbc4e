"""The reference of the command line, from the settings dataclasses that the command itself is built from."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any

from .markup import escape

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the table of every command."""
    return markdown.replace(MARK, _commands()) if MARK in markdown else markdown


def _commands() -> str:
    from minimind import cli

    parts = []
    for verb, (settings, _) in cli.VERBS.items():
        parts += [
            f"## minimind {verb} {{ #{verb} }}",
            inspect.cleandoc(settings.__doc__ or ""),
            _table(settings),
        ]
    return "\n\n".join(parts)


def _table(settings: type) -> str:
    from minimind.arguments import groups_of

    groups = groups_of(settings)
    if groups:
        return "\n\n".join(
            f"**{inspect.cleandoc(group.__doc__ or '')}**\n\n{_rows(settings, group)}" for group in groups
        )
    return _rows(settings, settings)


def _rows(settings: type, group: type) -> str:
    """The flags of a group, with the defaults that they have in these settings."""
    defaults = {field.name: field for field in dataclasses.fields(settings)}
    rows = []
    for field in dataclasses.fields(group):
        help_text = escape(_help_texts(settings).get(field.name, "")).replace("|", "\\|")
        flag = f"--{field.name.replace('_', '-')}"
        if "Positional" in str(field.type):
            flag = field.name.upper()
        rows.append(f"| `{flag}` | {_default(defaults[field.name])} | {help_text} |")
    if not rows:
        return "It takes no flags."
    return "\n".join(["| Flag | Default | What it does |", "|---|---|---|", *rows])


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else f"`{field.default_factory()}`"
    return {None: "", False: "off", True: "on"}.get(field.default, f"`{field.default}`")


@cache
def _help_texts(settings: type) -> dict[str, str]:
    """The text below each field, from the dataclass and those it extends."""
    texts: dict[str, str] = {}
    for kind in reversed(settings.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
        for statement, following in pairwise(body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(following, ast.Expr):
                continue
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                texts[statement.target.id] = " ".join(value.value.split())  # type: ignore[union-attr]
    return texts
