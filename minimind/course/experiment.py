"""What every script in `snippets/` shares: its flags, the model it looks into, its claims, and how it shows a figure.

A script says what it found as named claims (claims.py). Run alone, a claim that does not hold stops the script. On
the site the same script runs in the build, which lists every claim that does not hold, and fails. What is claimed of
a trained model holds for the one that comes with the package; a reader's own may differ, and is told so.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import forgiving_output
from ..errors import UserError
from ..runs import describe_run, find_run, is_shipped, read_run
from ..seeding import seed_everything as seed_everything
from . import record
from .claims import CLAIMS as CLAIMS
from .claims import Claim as Claim
from .claims import ClaimError as ClaimError
from .claims import claim as claim

if TYPE_CHECKING:
    from ..data import World
    from ..model import MiniMind
    from ..tokenizer import Tokenizer

_save_folder: Path | None = None
_own_model = False
"""Whether the script looks into a model of the reader's own."""


def flags(description: str | None, **defaults: Any) -> argparse.Namespace:
    """Read a script's command line, and seed every random generator.

    Each keyword becomes a flag of the same name and type: `steps=100` gives `--steps`, `deep=False` gives
    `--deep` and `--no-deep`, a list takes one or more values. `--seed` and `--save FOLDER` are always there.

    Args:
        description: the script's docstring, shown by `--help`.
        **defaults: the flags and their default values.

    Returns:
        The values, one attribute a flag.
    """
    global _save_folder
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for name, default in ({"seed": 0} | defaults).items():
        # Both spellings work, as they do in the command `minimind`.
        spellings = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
        if isinstance(default, bool):
            parser.add_argument(*spellings, default=default, action=argparse.BooleanOptionalAction)
        elif isinstance(default, list | tuple):
            kind = type(default[0])
            help_text = f"{kind.__name__}, one or more (default: {' '.join(map(str, default))})"
            parser.add_argument(*spellings, default=default, type=kind, nargs="+", help=help_text)
        else:
            help_text = f"{type(default).__name__} (default: {default})"
            parser.add_argument(*spellings, default=default, type=type(default), help=help_text)
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the figures there as SVG files")
    values = parser.parse_args()
    if not 0 <= values.seed < 2**32:
        parser.error(f"--seed must be between 0 and {2**32 - 1}, got {values.seed}")
    forgiving_output()
    _save_folder = values.save
    seed_everything(values.seed)
    return values


def load_model(name: str = "pretrain") -> tuple["MiniMind", "Tokenizer", "World"]:
    """The trained model that a script looks into; says which one it is.

    Args:
        name: a run's folder or its name: `pretrain` is the reader's own `runs/pretrain`, else the model that comes
            with the package. `shipped/pretrain` is the latter in any case.

    Returns:
        The model in fp32, its tokenizer, and the world whose documents it was trained on (of seed 0 if the run does
        not say which).
    """
    global _own_model
    from ..data import World
    from ..model import load

    try:
        folder = find_run(name)
        model, tokenizer = load(folder)
        run = read_run(folder) or {}
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    _own_model = not is_shipped(folder)
    print(f"model: {describe_run(folder)}")
    if _own_model:
        print("  (the pages look into the one that comes along: --model shipped/pretrain)")
    return model, tokenizer, World(run.get("settings", {}).get("seed", 0))


def claim_of_model(name: str, holds: Any) -> None:
    """State a finding about the trained model that the script looks into.

    Of the model that comes with the package it is a claim. A model of the reader's own was trained otherwise; where it
    differs, that is said, and the script goes on.

    Args:
        name: the finding in words, as the page says it.
        holds: the condition on measured values.

    Raises:
        ClaimError: the condition is false, of the model that comes with the package.
    """
    if _own_model and not holds:
        print(f"not in your model: {name}")
    else:
        claim(name, holds)


def recorded(name: str, measure: Callable[[], Any], cell: Callable[[], Any] | None = None) -> Any:
    """The result of a measurement that takes minutes: from its record, unless `minimind record` is making it.

    Args:
        name: the script without `snippets/` and `.py`, such as `normalization/exp4_pre_or_post`; one record a script.
        measure: does the work at its full setting; gives numbers and strings in lists and dicts, as JSON keeps them
            (a dict's keys become strings).
        cell: measures a part of that: some keys of its dicts, the first entries of its lists. `minimind record
            --confirm` calls it, and where the part is the same to the bit the rest is taken to be so too. Without it
            everything is measured.

    Returns:
        What `measure` gave when the record was made.

    Raises:
        UserError: if there is no record.
    """
    result = record.result_of(name, measure, cell)
    if record.is_stale(name):
        warnings.warn(
            f"snippets/{name}.json is of other code than this; run `minimind record {name}`", stacklevel=2
        )
    return result


def show(name: str) -> None:
    """Show the current figure: on the page, in a window, or as `NAME.svg` in the folder given by `--save`."""
    import matplotlib.pyplot as plt

    if _save_folder is not None:
        _save_folder.mkdir(parents=True, exist_ok=True)
        path = _save_folder / f"{name}.svg"
        plt.savefig(path, metadata={"Date": None})
        print(f"figure: {path}")
    elif plt.get_backend().lower() == "agg" and plt.show.__module__ == plt.__name__:
        print(f"figure {name}: no display here; --save FOLDER writes it to a file")
    else:
        plt.show()  # a window; in a notebook and on a page its own function stands there
    plt.close("all")
