"""`minimind run MODULE`: the experiments of a module, one after the other."""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

TIER = re.compile(r"Tier:\s*(?P<tier>\w+)\s*·\s*(?P<part>\w+)\s*·\s*(?P<time>.+?)\.?$")


@dataclass
class Script:
    """One experiment: a script of snippets/."""

    path: Path
    tier: str
    """visualization, training or full: how much work it is."""
    part: str
    """core or extra."""
    time: str
    """How long it takes, in words."""


def run_module(name: str, everything: bool) -> int:
    """Run a module's core scripts in order, each in a process of its own.

    Args:
        name: a folder of snippets/.
        everything: run the long and the extra ones too.

    Returns:
        0, or the exit status of the script that failed; those after it are not run.

    Raises:
        UserError: if there is no such module.
    """
    scripts = [read_script(path) for path in sorted(find_module(name).glob("exp*.py"))]
    chosen = [script for script in scripts if everything or is_core(script)]
    if not chosen:
        raise UserError(f"module {name!r} has no core experiment; --all runs the others")
    for number, script in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {script.path.name} · {script.tier} · {script.time}", flush=True)
        status = subprocess.run([sys.executable, str(script.path)]).returncode
        if status != 0:
            print(f"error: {script.path} failed (exit status {status})", file=sys.stderr)
            return status if status > 0 else 128 - status
    left = len(scripts) - len(chosen)
    print(f"{len(chosen)} experiments done" + (f"; --all runs {left} more" if left else ""))
    return 0


def is_core(script: Script) -> bool:
    """Whether a script belongs to the path that everyone walks: core, and no long training."""
    return script.part == "core" and script.tier == "visualization"


def find_module(name: str) -> Path:
    """A module's folder, in the working directory's snippets/ or in the one beside the package.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    homes = [home for home in (Path("snippets"), Path(__file__).parents[2] / "snippets") if home.is_dir()]
    if not homes:
        raise UserError(
            "no folder snippets/ here or beside the package; run this in a clone of the repository"
        )
    modules = sorted({path.parent.name for home in homes for path in home.glob("*/exp*.py")})
    wanted = name.replace("-", "_")
    for home in homes:
        if wanted in modules and (home / wanted).is_dir():
            return home / wanted
    near = difflib.get_close_matches(wanted, modules, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(modules)}"
    raise UserError(f"no module {name!r} in snippets/; {advice}")


def read_script(path: Path) -> Script:
    """Read the last line of a script's docstring, `Tier: visualization · core · about 10 s`.

    Raises:
        UserError: if it has none.
    """
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = TIER.search(words)
    if found is None:
        raise UserError(
            f"{path}: the docstring must end with a line such as 'Tier: visualization · core · about 10 s'"
        )
    return Script(path, found["tier"], found["part"], found["time"])
