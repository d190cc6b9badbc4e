"""Digests of source code: what a block or a training run rests on, and runs again for when it changes."""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from .state import PACKAGE, ROOT

NAME = PACKAGE.name
DATA = {".toml", ".html", ".json"}
SHIPPED = PACKAGE / "shipped"
"""The models that come with the package; a module that speaks of this folder is taken to read them all."""
VERSIONS = ("torch", "numpy", "matplotlib", "tokenizers", "safetensors")


@cache
def _module_file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def imports(source: str, inside: str = "") -> set[str]:
    """The package's modules that a source text names, in imports or as a string such as "minimind.model".

    Args:
        source: Python source code.
        inside: the name of the module or package that relative imports start from.
    """
    return {module for module in _names(source, inside) if _module_file(module)}


@cache
def _names(source: str, inside: str) -> frozenset[str]:
    """Every dotted name in a source text that may be a module of the package; it depends on nothing but the text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = inside.split(".")[: len(inside.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(f"{NAME}.")
        ):
            # `minimind/__init__.py` looks its public names up by such strings.
            found.add(node.value)
    modules: set[str] = set()
    for name in found:
        parts = name.split(".")
        if parts[0] == NAME:
            # Importing a.b.c runs the __init__ of a and of a.b too.
            modules |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    return frozenset(modules)


def modules_behind(start: set[str]) -> set[str]:
    """All modules of the package that importing these ones can load, themselves included."""
    return set().union(*(_behind(module) for module in start))


@cache
def _behind(start: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = {start}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= _imports_of(module) - seen
    return frozenset(seen)


@cache
def _imports_of(module: str) -> frozenset[str]:
    path = _module_file(module)
    if path is None:
        return frozenset()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imports(path.read_text(encoding="utf-8"), package))


def digest_modules(start: set[str]) -> str:
    """A digest of the source of these modules, of all they import from the package, and of the libraries."""
    parts = [_versions(), *(_digest_module(module) for module in sorted(modules_behind(start)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _digest_module(module: str) -> str:
    """A digest of one module, and of the data that it can read."""
    path = _module_file(module)
    assert path is not None
    source = path.read_bytes()
    total = hashlib.sha256(module.encode() + b"\0" + source)
    if SHIPPED.name.encode() in source:
        total.update(_digest_shipped().encode())
    # A module reads the data files that lie beside it.
    for data in sorted(file for file in path.parent.iterdir() if file.suffix in DATA):
        total.update(data.name.encode() + b"\0" + data.read_bytes())
    return total.hexdigest()


@cache
def digest_code(code: str) -> str:
    """The same for a block's code. One that starts other programs may use any part of the package."""
    if any(name in code for name in ("subprocess", "runpy", "import_module")):
        return digest_package()
    return digest_modules(imports(code))


def forget() -> None:
    """Read the sources again: called when a build begins."""
    for remembered in (
        _module_file, _behind, _imports_of, _digest_module, _digest_shipped, digest_code, digest_package,
    ):  # fmt: skip
        remembered.cache_clear()


@cache
def digest_package() -> str:
    """A digest of every file of the package."""
    return digest_files(
        sorted(path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".toml", ".html"})
        + sorted(path for path in SHIPPED.rglob("*") if path.is_file())
    )


@cache
def _digest_shipped() -> str:
    return digest_files(sorted(path for path in SHIPPED.rglob("*") if path.is_file()))


def digest_files(paths: list[Path]) -> str:
    """A digest of the names and contents of files."""
    total = hashlib.sha256(_versions().encode())
    for path in paths:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def _versions() -> str:
    return repr((sys.version_info[:2], [version(name) for name in VERSIONS]))
