"""What the result of a block or of a training rests on: code, libraries, records and shipped models, as one digest.

The results are kept under it, and computed anew when it changes. Which files of the package code rests on,
`minimind.course.digest` finds out.
"""

from __future__ import annotations

import hashlib
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from minimind.course import digest

from .state import PACKAGE, ROOT

SHIPPED = PACKAGE / "shipped"
"""The models that come with the package; a module that speaks of this folder is taken to read them all."""
VERSIONS = ("torch", "numpy", "matplotlib", "tokenizers", "safetensors")
ASKS = re.compile(r"""experiment\.recorded\(\s*["']([\w/]+)["']""")
ANY_MODULE = ("subprocess", "runpy", "import_module", "find_spec")
"""Code with one of these starts programs or finds modules by their names; it may rest on all of the package."""
NAMED = re.compile(r"""["']([\w./-]+\.(?:toml|md|yml))["']""")


class Package:
    """The package as the last build found it."""

    digest: ClassVar[str] = ""


def on_pre_build(config: Any) -> None:
    """Read the sources again. While serving: let the next block import the package as it is now."""
    forget()
    before, Package.digest = Package.digest, digest_package()
    if before not in ("", Package.digest):
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE.name]:
            del sys.modules[name]


def forget() -> None:
    """Forget what the sources said."""
    digest.forget()
    for remembered in (_digest_module, _digest_shipped, digest_code, digest_package):
        remembered.cache_clear()


@cache
def digest_code(code: str) -> str:
    """A digest of all that a code can load by its imports, and of the repository's files that it names.

    Raises:
        SyntaxError: if it is no Python code.
    """
    files = sorted(digest.files_behind(code, loaded=True))
    named = [path for name in NAMED.findall(code) if (path := ROOT / name).is_file()]
    parts = [digest_files(named), *(_digest_module(path) for path in files)]
    if any(name in code for name in ANY_MODULE):
        parts.append(digest_package())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _digest_module(path: Path) -> str:
    """A digest of one file of the package, and of the models if it speaks of them."""
    shipped = _digest_shipped() if SHIPPED.name.encode() in path.read_bytes() else ""
    return digest.digest_files([path]) + shipped


@cache
def digest_package() -> str:
    """A digest of every file of the package."""
    code = [path for path in PACKAGE.rglob("*") if path.suffix in digest.DATA | {".py"}]
    return digest_files(code + [path for path in SHIPPED.rglob("*") if path.is_file()])


@cache
def _digest_shipped() -> str:
    return digest.digest_files(path for path in SHIPPED.rglob("*") if path.is_file())


def digest_files(paths: list[Path]) -> str:
    """A digest of files, and of the libraries."""
    return hashlib.sha256((_versions() + digest.digest_files(paths)).encode()).hexdigest()


def digest_records(code: str) -> str:
    """A digest of the records that a block's code reads; "" if it asks for none."""
    total = hashlib.sha256()
    names = ASKS.findall(code)
    for name in names:
        path = ROOT / "snippets" / f"{name}.json"
        total.update(path.read_bytes() if path.is_file() else b"missing")
    return total.hexdigest() if names else ""


@cache
def _versions() -> str:
    return repr((sys.version_info[:2], [version(name) for name in VERSIONS]))
