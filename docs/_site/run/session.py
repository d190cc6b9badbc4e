"""Run code as a reader would run it: as `__main__`, in the private folder, with figures and output caught."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import random
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from . import models
from .figures import figure_to_svg
from .machine import THREADS
from .state import ROOT, BlockError

Piece = tuple[str, str]  # ("text", output) or ("svg", figure)
ORIGINS: dict[
    str, list[tuple[str, int]]
] = {}  # the name a block is compiled under -> where its lines come from


class Session:
    """The variables that the blocks of one page share by naming the same session."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.chain = ""  # a digest of everything that ran or was skipped so far
        self.code = ""  # the text of it, for what it imports
        self.skipped: list[
            tuple[str, str, list[str], str]
        ] = []  # cached blocks, run once a later one needs them
        self.rc: Any = None
        self.claims: list[list[Any]] = []  # of the last block: name, holds, values, line in the block

    def catch_up(self) -> None:
        """Run the blocks that the cache spared, because the next one may use their variables."""
        skipped, self.skipped = self.skipped, []
        for code, name, argv, expect in skipped:
            try:
                self.execute(code, name, argv, expect)
            except Exception as error:
                # A block that is meant to fail fails again; what it did before that counts.
                if not any(kind.__name__ == expect for kind in type(error).__mro__):
                    raise

    def execute(self, code: str, name: str, argv: list[str], expect: str = "") -> list[Piece]:
        """Run one block and return what it printed and drew, in order; `claims` has what it claimed.

        A claim that does not hold stops a block which is there to show an error, and no other.
        """
        pieces: list[Piece] = []
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        with self.surroundings(pieces, argv) as leftover, self.listen(name, stops=bool(expect)):
            try:
                exec(compile(code, name, "exec", dont_inherit=True), self.module.__dict__)
            except SystemExit as stop:
                if stop.code not in (None, 0):
                    raise BlockError(f"the block exits with status {stop.code}") from stop
            if leftover():
                raise BlockError("the block draws a figure and never shows it: call plt.show()")
        return pieces

    @contextlib.contextmanager
    def listen(self, name: str, stops: bool) -> Iterator[None]:
        """Keep the claims of the block that was compiled under a name."""
        from minimind.course import claims

        self.claims = []
        lines: list[int] = []
        before, saved = len(claims.CLAIMS), claims.when_false
        if not stops:
            claims.when_false = lambda claim: lines.append(_line_in(name))
        try:
            yield
        finally:
            claims.when_false = saved
            found = iter(lines)
            self.claims = [
                [claim.name, claim.holds, claim.values, 0 if claim.holds else next(found, 0)]
                for claim in claims.CLAIMS[before:]
            ]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression after all blocks so far."""
        self.catch_up()
        with self.surroundings([], ["page"]):
            return eval(compile(expression.strip(), "<value>", "eval"), self.module.__dict__)

    @contextlib.contextmanager
    def surroundings(self, pieces: list[Piece], argv: list[str]) -> Iterator[Callable[[], list[int]]]:
        """The world a block sees. Gives a function that lists figures not yet shown."""
        import matplotlib as mpl

        mpl.use(
            "Agg"
        )  # the variable MPLBACKEND would reach the labs' kernels, and they would lose their figures
        import matplotlib.pyplot as plt

        from minimind.course import plots

        class Output(io.TextIOBase):
            def write(self, text: str) -> int:
                if pieces and pieces[-1][0] == "text":
                    pieces[-1] = ("text", pieces[-1][1] + text)
                else:
                    pieces.append(("text", text))
                return len(text)

        def show(*_args: Any, **_options: Any) -> None:
            pieces.extend(("svg", figure_to_svg(plt.figure(number))) for number in plt.get_fignums())
            plt.close("all")

        if self.rc is None:
            seed_everything()
        folder = models.work_folder()
        saved = sys.modules["__main__"], sys.argv, plt.show, os.getcwd()
        sys.modules["__main__"], sys.argv, plt.show = self.module, argv, show
        os.chdir(folder)
        try:
            style: Any = self.rc or plots.STYLE
            with mpl.rc_context(style), contextlib.redirect_stdout(Output()):
                with warnings.catch_warnings():
                    strict_warnings()
                    yield plt.get_fignums
                self.rc = mpl.rcParams.copy()
        finally:
            plt.close("all")
            sys.modules["__main__"], sys.argv, plt.show = saved[:3]
            os.chdir(saved[3])


def _line_in(name: str) -> int:
    """The line that is being executed of the block compiled under a name; 0 outside of it."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code.co_filename != name:
        frame = frame.f_back
    return frame.f_lineno if frame else 0


def strict_warnings() -> None:
    """A warning is an error; a deprecation only where our own code causes it, as Python itself has it."""
    warnings.simplefilter("error")
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("error", category=DeprecationWarning, module=r"__main__|minimind")


def seed_everything() -> None:
    """Every session starts from the same random state and from PyTorch's defaults, whatever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_num_threads(THREADS)


def explain(error: BaseException) -> tuple[str, str]:
    """The traceback as its reader would see it, and the snippet line that failed ("" if none).

    Frames of this machinery are left out, and a line that was included is named by its own file.
    """
    trace = traceback.TracebackException.from_exception(error)
    inside = [index for index, frame in enumerate(trace.stack) if frame.filename in ORIGINS]
    place = ""
    if inside:
        trace.stack[:] = trace.stack[inside[0] :]
    frames = []
    for frame in trace.stack:
        known = ORIGINS.get(frame.filename, [])
        line = frame.lineno or 0
        if 0 < line <= len(known) and known[line - 1][0]:
            place = "{}:{}".format(*known[line - 1])
            frame = _moved(frame, *known[line - 1])
        elif 0 < line <= len(known):
            frame = _moved(frame, frame.filename.rpartition(":")[0], known[line - 1][1])
        frames.append(frame)
    trace.stack[:] = frames
    return "".join(trace.format()).rstrip().replace(f"{ROOT}{os.sep}", ""), place


def _moved(frame: traceback.FrameSummary, filename: str, line: int) -> traceback.FrameSummary:
    return traceback.FrameSummary(filename, line, frame.name, line=frame.line)
