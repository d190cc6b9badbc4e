"""Records: what a long experiment found, kept beside its script with a digest of the code that found it.

A page must not make its reader wait for a sweep of ten minutes, and must not quote one that other code made. So the
result is a data file, `minimind record` makes it, and the digest in it says whether it is still this code's.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import replace_text
from . import digest

RECORDING = "MINIMIND_RECORD"  # set for the script that is to measure anew
CONFIRMING = "MINIMIND_CONFIRM"  # set for the script whose record is to be confirmed
PACKAGE = digest.PACKAGE
# They draw, print, read flags and write files, or choose a number of threads that a recorded training has pinned: a
# change of them changes no measured number.
PRESENTATION = {
    PACKAGE / f"{name}.py"
    for name in (
        "__init__",
        "arguments",
        "course/claims",
        "course/digest",
        "course/experiment",
        "course/plots",
        "course/record",
        "errors",
        "files",
        "progress",
        "training/log",
        "training/report",
        "training/threads",
    )
}
# Sections of a script that only look at what was measured.
_READING = re.compile(r"# --8<-- \[start:(\w*figure\w*|claims)\].*?# --8<-- \[end:\1\]", re.DOTALL)


class Part(list[Any]):
    """The first entries of a result whose entries are all measured alike: enough to confirm a record."""


def confirming() -> bool:
    """Whether a part of a result is enough, for `minimind record --confirm`."""
    return CONFIRMING in os.environ


def result_of(name: str, measure: Callable[[], Any], cell: Callable[[], Any] | None = None) -> Any:
    """The recorded result of an experiment; measured now if `minimind record` runs the script.

    Args:
        name: the script without `snippets/` and `.py`, such as `normalization/exp4_pre_or_post`.
        measure: does the work; gives numbers in lists and dicts (JSON: a dict's keys become strings).
        cell: measures a part of that again, to confirm the record: some keys of its dicts, the first entries of its
            lists.

    Raises:
        UserError: if there is no record.
    """
    script = find_script(name)
    if os.environ.get(RECORDING) == name:
        _write(script, measure)
    if os.environ.get(CONFIRMING) == name:
        _confirm(script, measure, cell)
    path = script.with_suffix(".json")
    if not path.is_file():
        raise UserError(f"{_shown(path)} is missing; `minimind record {name}` measures it")
    return read(path)["result"]


def read(path: Path) -> dict[str, Any]:
    """A record whole: `digest`, `result`, `seconds`, `machine`, `threads`, `torch`.

    Raises:
        UserError: if the file is not one.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{_shown(path)} cannot be read ({error}); `minimind record` makes it anew"
        ) from error
    missing = {"digest", "result", "seconds", "machine", "threads", "torch"} - set(record)
    if missing:
        raise UserError(f"{_shown(path)} lacks {', '.join(sorted(missing))}; `minimind record` makes it anew")
    return dict(record)


def is_stale(name: str) -> bool:
    """Whether a record is missing, or was made by other code than today's."""
    script = find_script(name)
    path = script.with_suffix(".json")
    return not path.is_file() or read(path)["digest"] != digest_of(script)


def scripts_with_records() -> list[str]:
    """The names of all scripts that ask for a record."""
    return [
        f"{path.parent.name}/{path.stem}"
        for path in sorted(snippets_folder().glob("*/exp*.py"))
        if "experiment.recorded(" in path.read_text(encoding="utf-8")
    ]


def record(names: Sequence[str], check: bool, confirm: bool = False) -> int:
    """Measure experiments at their full setting and keep what they find.

    Args:
        names: scripts such as `normalization/exp4_pre_or_post`; none stands for all that are stale.
        check: only say which are stale.
        confirm: measure a part of each again, and keep the rest where that part is the same to the bit.

    Returns:
        0, or 1 if a record is stale (`check`), or the exit status of a script that failed.
    """
    known = scripts_with_records()
    for name in names:
        if name not in known:
            raise UserError(f"no script {name!r} keeps a record; there are {', '.join(known) or 'none'}")
    chosen = names if names else [name for name in known if is_stale(name)]
    if check:
        stale = [name for name in names or known if is_stale(name)]
        for name in stale:
            print(f"stale: {name}; `minimind record {name}` measures it again")
        if not stale:
            print(f"all {len(names or known)} records are of today's code")
        return 1 if stale else 0
    for number, name in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        script = find_script(name)
        kept = script.with_suffix(".json")
        if confirm and kept.is_file():
            status = _run(script, CONFIRMING, name)
            if status == 0 and not is_stale(name):
                print(f"{_shown(kept)} is confirmed")
                continue
            print(f"{_shown(kept)} is not confirmed; measuring it anew", flush=True)
        status = _run(script, RECORDING, name)
        if status != 0:
            print(f"error: {_shown(script)} failed (exit status {status})", file=sys.stderr)
            return status if status > 0 else 128 - status
        print(f"{_shown(kept)} written after {read(kept)['seconds']:.0f} s")
    if not chosen:
        print(f"all {len(known)} records are of today's code; name one to measure it again")
    return 0


def _run(script: Path, mode: str, name: str) -> int:
    """Run a script so that it measures (`mode` RECORDING or CONFIRMING); gives its exit status."""
    return subprocess.run([sys.executable, str(script)], env={**os.environ, mode: name}).returncode


def _confirm(script: Path, measure: Callable[[], Any], cell: Callable[[], Any] | None) -> None:
    """Measure a part again; where it is the same to the bit, the whole record counts as made by today's code.

    A script that cannot measure a part measures everything, and that is kept.
    """
    path = script.with_suffix(".json")
    started = time.perf_counter()
    again = cell() if cell else measure()
    if cell is None and not isinstance(again, Part):
        _keep(script, again, time.perf_counter() - started)
        return
    stored = read(path)
    if not again or not is_part(json.loads(json.dumps(again)), stored["result"]):
        raise SystemExit(f"{_shown(path)}: what was measured again differs")
    _save(path, {**stored, "digest": digest_of(script)})


def is_part(part: Any, whole: Any) -> bool:
    """Whether one result is a part of another: some keys of its dicts, the first entries of its lists, all equal.

    Examples:
        >>> whole = {"pre": [[1.5, 2.5], [3.5]], "post": [[4.5]]}
        >>> is_part({"pre": [[1.5]]}, whole), is_part({"pre": [[1.5], [3.6]]}, whole), is_part({"pre": []}, whole)
        (True, False, False)
    """
    if isinstance(part, dict) and isinstance(whole, dict):
        return bool(part) and all(name in whole and is_part(part[name], whole[name]) for name in part)
    if isinstance(part, list) and isinstance(whole, list):
        return 0 < len(part) <= len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


def _write(script: Path, measure: Callable[[], Any]) -> None:
    started = time.perf_counter()
    result = measure()
    _keep(script, result, time.perf_counter() - started)


def _keep(script: Path, result: Any, seconds: float) -> None:
    import torch

    kept = {
        "digest": digest_of(script),
        "seconds": round(seconds, 1),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        "result": result,
    }
    _save(script.with_suffix(".json"), kept)


def _save(path: Path, kept: dict[str, Any]) -> None:
    replace_text(path, json.dumps(kept, indent=1, allow_nan=False) + "\n")


def digest_of(script: Path) -> str:
    """A digest of the script's and the imported files' code, without comments, docstrings and empty lines.

    Sections that only read the result (figures and claims) do not count, nor does what draws and prints. Of the
    package count the files that the imported names come from, and what those import.
    """
    text = _READING.sub("", script.read_text(encoding="utf-8"))
    return hashlib.sha256(f"{digest.bare(text)}\n{digest_of_code(text)}".encode()).hexdigest()[:32]


def digest_of_code(source: str) -> str:
    """A digest of the package's files behind the imports of a source text."""
    return digest.digest_files(measuring_files(source), digest.read_bare)


def measuring_files(source: str) -> set[Path]:
    """The package's files that a measured number can depend on."""
    return digest.files_behind(source, without=PRESENTATION)


def find_script(name: str) -> Path:
    """The script of a record's name.

    Raises:
        UserError: if there is none.
    """
    path = snippets_folder() / f"{name}.py"
    if not path.is_file():
        raise UserError(f"no script {_shown(path)}; a record is named as snippets/ names its script")
    return path


def snippets_folder() -> Path:
    """The folder snippets/: in the working directory, or beside the package."""
    homes = [home for home in (Path("snippets"), PACKAGE.parent / "snippets") if home.is_dir()]
    if not homes:
        raise UserError(
            "no folder snippets/ here or beside the package; run this in a clone of the repository"
        )
    return homes[0]


def _shown(path: Path) -> str:
    return f"snippets/{path.parent.name}/{path.name}"
