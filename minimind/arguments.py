"""The edge between a person and the package: arguments become settings, and a user's mistake becomes one
line."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import UserError, is_out_of_memory
from .settings.training import Output

Settings = TypeVar("Settings")

MEMORY_SETTINGS = ("batch_size", "max_seq_len", "hidden_size", "max_new_tokens")
"""Settings that memory grows with."""
LARGEST = 10**9
"""Steps, documents and the like at most: more is a slip of the finger."""
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

    return run_guarded(act, [field.name for field in fields(settings)])  # type: ignore[arg-type]


def parse(settings: type[Settings], arguments: Sequence[str], prog: str) -> Settings:
    """Read a settings dataclass from command-line arguments; `--hidden-size` and `--hidden_size` are the
    same.

    With `--resume` the settings that a run was started with stand for those that are not given again.

    Raises:
        UserError: naming the argument that cannot be read. Help is printed, and leaves by SystemExit.
    """
    parsed = _read(settings, arguments, prog)
    stored = stored_settings(parsed)
    return parsed if stored is None else _read(settings, arguments, prog, stored)


def _read(
    settings: type[Settings], arguments: Sequence[str], prog: str, default: Settings | None = None
) -> Settings:
    """Let tyro read the arguments; of its explanation keep one line."""
    import tyro

    # A flag has one form, --resume. Over a stored run's settings, where it may be on, it needs --no-resume too.
    how = (tyro.conf.OmitArgPrefixes, *((tyro.conf.FlagCreatePairsOff,) if default is None else ()))
    form = _in_groups(settings, default)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            read: Any = tyro.cli(form, prog=prog, args=arguments, return_unknown_args=True, config=how)
    except SystemExit as leaving:
        if not leaving.code:
            raise
        if refusal := _refusal(leaving):
            raise refusal from None
        raise UserError(f"{_explain(said.getvalue())}; see `{prog} --help`") from None
    filled, unknown = read
    if unknown:
        name = unknown[0].split("=")[0]
        flags = ["--" + field.name.replace("_", "-") for field in fields(settings)]  # type: ignore[arg-type]
        near = difflib.get_close_matches(name.replace("_", "-"), flags, n=1)
        advice = f"did you mean {near[0]}?" if near else f"see `{prog} --help`"
        raise UserError(f"no argument {name!r} here; {advice}")
    groups = vars(filled).values() if form is not settings else [filled]
    parsed = settings(**{name: value for group in groups for name, value in vars(group).items()})
    for name, value in vars(parsed).items():
        if type(value) is int and name != "seed" and value > LARGEST:
            raise UserError(f"--{name.replace('_', '-')} must be at most {LARGEST:,}, got {value}")
    return parsed


def command_line(verb: str, settings: Any) -> str:
    """The command that gives these settings: what must be named, and what differs from the defaults.

    Examples:
        >>> from minimind.settings import PretrainSettings, TokenizerSettings
        >>> command_line("pretrain", PretrainSettings(steps=300, overwrite=True))
        'minimind pretrain --steps 300 --overwrite'
        >>> command_line("tokenizer", TokenizerSettings("train", output="my words"))
        "minimind tokenizer train --output 'my words'"
    """
    words = ["minimind", verb]
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.default is MISSING:
            words.append(str(value))  # It stands by its place, without a flag.
        elif value != one.default:
            flag = "--" + one.name.replace("_", "-")
            several = value if isinstance(value, list | tuple) else [value]
            words += [flag] if value is True else [flag, *map(str, several)]
    return shlex.join(words)


def groups_of(settings: type[Any]) -> list[type[Any]]:
    """The groups of flags that a settings class is made of: the classes that it inherits fields from, in order.

    Examples:
        >>> from minimind.settings import PretrainSettings
        >>> [group.__name__ for group in groups_of(PretrainSettings)][:3]
        ['Model', 'Vocabulary', 'Data']
    """
    return [base for base in settings.__mro__[1:] if is_dataclass(base) and base.__bases__ == (object,)]


def _in_groups(settings: type[Any], default: Any) -> type[Any]:
    """A form with one part a group, under whose name `--help` lists its flags; a class without groups as it is."""
    groups = groups_of(settings)
    if not groups:
        return settings
    usual = settings() if default is None else default

    def part(group: type[Any]) -> Any:
        return group(**{field.name: getattr(usual, field.name) for field in fields(group)})

    parts = [(group.__name__.lower(), group, field(default_factory=partial(part, group))) for group in groups]
    form = make_dataclass(settings.__name__, parts)
    form.__doc__ = settings.__doc__
    return form


def _refusal(error: BaseException | None) -> UserError | None:
    """The sentence of a dataclass that has refused its values, which tyro breaks into the lines of a box."""
    while error is not None and not isinstance(error, UserError):
        error = error.__context__
    return error


def _explain(said: str) -> str:
    """The sentence in tyro's box: what stands below the title, to the first empty line or rule."""
    lines = [line.strip("│╭╮╰╯─- ") for line in said.splitlines()]
    words = " ".join(itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines[1:])))
    wrong = re.match(r"Error parsing (--[\w-]+): .*\b(INT|FLOAT)\b.* from \[(.*)\]", words)
    if wrong:
        kind = "a whole number" if wrong[2] == "INT" else "a number"
        return f"{wrong[1]} must be {kind}, got {wrong[3]}"
    return words.rstrip(".")


def stored_settings(parsed: Settings) -> Settings | None:
    """The settings that a run was started with, if these ask to resume it."""
    from .runs import read_run

    if not isinstance(parsed, Output) or not parsed.resume or parsed.overwrite:
        return None
    folder = Path(parsed.output)
    run = read_run(folder)
    if run is None:
        return None
    before = {
        **run["settings"],
        "resume": False,
        "overwrite": False,
        "max_seconds": None,
        "tensorboard": False,
    }
    if any((folder / "checkpoints").glob("step-*")):
        before["threads"] = None  # The checkpoint knows better: the number may have been pinned anew.
    hints = get_type_hints(type(parsed))
    for name, value in before.items():
        if name in hints and not _is_of(value, hints[name]):
            raise UserError(
                f"{folder / 'run.json'}: damaged, the setting {name} is {value!r}; "
                "put it right, or start over with --overwrite"
            )
    return type(parsed)(**{name: value for name, value in before.items() if name in hints})


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value from JSON fits the type of a setting."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):  # int | None
        return any(_is_of(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def run_guarded(action: Callable[[], int | None], settings: Sequence[str] = ()) -> int:
    """Run an action; what a user can mend becomes one line on stderr and a status, without a traceback.

    Args:
        action: gives the exit status, None for 0.
        settings: names of what can be changed, for the advice when memory runs out.
    """
    forgiving_output()
    try:
        status = action() or 0
        sys.stdout.flush()  # A full disk is met here, while it can still be said in one line.
        return status
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
        sizes = [name for name in MEMORY_SETTINGS if name in settings]
        flags = " or ".join("--" + name.replace("_", "-") for name in sizes)
        return complain(f"out of memory; {f'lower {flags}' if flags else 'close other programs'}")


def forgiving_output() -> None:
    """Let a terminal or file that has no "·" get a "?" in its place; it must not end an hour of training."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
