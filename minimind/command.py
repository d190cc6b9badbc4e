"""The edge between a person and the package: arguments become settings, and a user's mistake becomes one
line."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from .errors import UserError

Settings = TypeVar("Settings")

SIGNAL_STATUS = {"SIGINT": 130, "SIGTERM": 143}
"""Exit status of a program that left because of a signal, as shells have it: 128 + its number."""


def main_of(
    name: str,
    settings: type[Settings],
    action: Callable[[Settings], Any],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the arguments of one command, call it, and give the exit status.

    Args:
        name: the command, for the help.
        settings: its settings dataclass.
        action: the function that does the work. A result with a `reason` that names a signal becomes the
            status that shells expect of a program that the signal ended.
        arguments: what stands after the command's name; default: those of this process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)

    def act() -> int:
        result = action(parse(settings, given, f"minimind {name}"))
        return SIGNAL_STATUS.get(getattr(result, "reason", ""), 0) if not isinstance(result, int) else result

    return run_guarded(act)


def parse(settings: type[Settings], arguments: Sequence[str], prog: str) -> Settings:
    """Read a settings dataclass from command-line arguments; `--hidden-size` and `--hidden_size` are the
    same.

    With `--resume` the settings that a run was started with stand for those that are not given again.
    """
    import tyro

    parsed = tyro.cli(settings, prog=prog, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    stored = stored_settings(parsed)
    if stored is None:
        return parsed
    # Flags that were on are off by default here, so both forms of each must be known.
    return tyro.cli(settings, prog=prog, args=arguments, default=stored)


def stored_settings(parsed: Settings) -> Settings | None:
    """The settings that a run was started with, if these ask to resume it."""
    if not getattr(parsed, "resume", False):
        return None
    try:
        run = json.loads((Path(parsed.output) / "run.json").read_text(encoding="utf-8"))  # type: ignore[attr-defined]
        before = {
            **run["settings"],
            "resume": False,
            "overwrite": False,
            "max_seconds": None,
            "tensorboard": False,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None  # There is no run, or a damaged one: the stage itself says so.
    names = {field.name for field in fields(parsed)}  # type: ignore[arg-type]
    return type(parsed)(**{name: value for name, value in before.items() if name in names})


def run_guarded(action: Callable[[], int | None]) -> int:
    """Run an action; what a user can mend becomes one line on stderr and a status, without a traceback."""
    try:
        return action() or 0
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return SIGNAL_STATUS["SIGINT"]
    except BrokenPipeError:
        # The reader of our output has left (`minimind generate | head`). Python would complain again at exit.
        sys.stderr.close()
        return 1
    except OSError as error:
        return complain(explain_os_error(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return complain("out of memory; lower --batch-size, --max-seq-len or --hidden-size")


def complain(message: str) -> int:
    """Print an error as one line on stderr; gives the exit status for a user's mistake."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def explain_os_error(error: OSError) -> str:
    """What the operating system refused, and what to do, in one line."""
    where = f"{error.filename}: " if error.filename else ""
    advice = {
        errno.ENOSPC: "the disk is full; free some space, or choose another --output",
        errno.EDQUOT: "the disk quota is used up; free some space, or choose another --output",
        errno.EACCES: "no permission; choose another folder, or change its permissions",
        errno.EPERM: "no permission; choose another folder, or change its permissions",
        errno.EROFS: "this file system is read-only; choose another folder",
        errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
        errno.EEXIST: "a file stands where a folder is needed; choose another folder",
        errno.ENOENT: "not found; check the path",
        errno.EISDIR: "this is a folder, a file is needed",
    }
    return where + advice.get(error.errno or 0, str(error.strerror or error))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python or torch says that memory ran out (torch on a CPU raises a
    RuntimeError)."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(word in str(error).lower() for word in words)
    )
