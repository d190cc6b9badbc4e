"""Digests of code: what a record, a block of a page or a training rests on, and is made again for when it changes.

Python says by its imports which files a piece of code can rest on, so we follow them from file to file. Nothing is
imported for it, only read.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DATA = {".toml", ".html", ".json"}
"""Data files; one counts where a module beside it names it."""

Import = tuple[str, str]
"""A module, and the name that is taken from it: "" for the module as a whole."""
_DOTTED = re.compile(r"\w+(\.\w+)+")


def files_behind(source: str, *, loaded: bool = False, without: Collection[Path] = ()) -> set[Path]:
    """The package's files that a source text rests on.

    Args:
        source: Python source code.
        loaded: count all that Python loads on the way: the `__init__` of each package too, and what that imports.
            Else only the files count in which the imported names are made, and what these import.
        without: files that do not count, and are not followed.
    """
    waiting = set(imports(source))
    seen: set[Import] = set()
    files: set[Path] = set()
    while waiting:
        asked = waiting.pop()
        seen.add(asked)
        for path in _files_of(*asked, loaded) - files:
            if path not in without:
                files |= {path, *_data_of(path)}
                waiting |= _imports_of(path) - seen
    return files


def imports(source: str, package: str = "") -> frozenset[Import]:
    """What a source text takes from the package, in imports or as a string such as "minimind.model".

    What only a type checker reads is left out.

    Args:
        source: Python source code.
        package: the name of the package that relative imports start from.
    """
    found: set[Import] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parents, module] if module else parents)
            found |= {(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            # Modules that are loaded on first use are spelled out in strings.
            found.add((node.value, ""))
    return frozenset(pair for pair in found if pair[0].split(".")[0] == PACKAGE.name)


@cache
def _imports_of(path: Path) -> frozenset[Import]:
    return imports(path.read_text(encoding="utf-8"), _package_of(path))


@cache
def _files_of(module: str, name: str, loaded: bool) -> frozenset[Path]:
    """The files that one import stands for; none if there is no such module."""
    made_in = _file_with(module, name)
    if made_in is None:
        return frozenset()
    if not loaded:
        return frozenset({made_in})
    parts = module.split(".")
    ways = [_file_of(".".join(parts[:end])) for end in range(1, len(parts) + 1)]
    return frozenset({made_in, *(path for path in ways if path)})


def _file_with(module: str, name: str) -> Path | None:
    """The file that a name comes from, through the `__init__` of a package that hands it on."""
    submodule = _file_of(f"{module}.{name}") if name else None
    path = submodule or _file_of(module)
    if submodule or path is None or path.name != "__init__.py" or not name:
        return path
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):  # `{"ModelConfig": "minimind.config"}`: looked up on first use
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name and isinstance(value, ast.Constant):
                    return _file_with(str(value.value), name)
    for home, given in _imports_of(path):
        if given == name:
            return _file_with(home, name)
    return path


@cache
def _file_of(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _data_of(path: Path) -> frozenset[Path]:
    """The data files that a module reads: those beside it that it names."""
    text = path.read_text(encoding="utf-8")
    return frozenset(file for file in path.parent.iterdir() if file.suffix in DATA and file.name in text)


def _package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(PACKAGE.parent).parts)


def forget() -> None:
    """Read the sources again: called where they may have changed since."""
    for remembered in (_imports_of, _files_of, _file_of, _data_of):
        remembered.cache_clear()


def digest_files(paths: Iterable[Path], read: Callable[[Path], bytes] = Path.read_bytes) -> str:
    """A digest of the names and contents of files, in any order.

    Args:
        paths: the files; one of the package counts with its place in it.
        read: what of a file counts; all of it, unless another is given.
    """
    total = hashlib.sha256()
    for name, path in sorted((_name(path), path) for path in paths):
        total.update(name.encode() + b"\0" + hashlib.sha256(read(path)).digest())
    return total.hexdigest()


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


def read_bare(path: Path) -> bytes:
    """What Python computes with: a module without its comments and docstrings; any other file whole."""
    text = path.read_text(encoding="utf-8")
    return (bare(text) if path.suffix == ".py" else text).encode()


def bare(source: str) -> str:
    """Source without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
