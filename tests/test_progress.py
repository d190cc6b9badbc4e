"""The bar for slow things: hands on what it gets, and is seen on a terminal only when it takes long."""

import io
import time

import pytest
from rich.console import Console

from minimind import progress as module
from minimind.progress import progress
from minimind.training.log import REDRAW_SECONDS, Log
from minimind.training.tally import Tally


@pytest.mark.parametrize(
    ("patience", "terminal", "seen"), [(0.0, True, True), (60.0, True, False), (0.0, False, False)]
)
def test_a_bar_is_seen_where_it_helps(monkeypatch, patience, terminal, seen):
    monkeypatch.setattr(module, "PATIENCE", patience)
    console = Console(file=io.StringIO(), force_terminal=terminal)
    assert list(progress(range(50), "counting", 50, console=console)) == list(range(50))
    assert ("counting" in console.file.getvalue()) == seen


def test_a_loop_that_is_left_leaves_no_bar():
    console = Console(file=io.StringIO(), force_terminal=True)
    for item in progress(range(50), "counting", console=console):
        if item == 3:
            break
    with console.status("another display"):
        pass


def test_the_line_of_a_training_leaves_its_place_to_a_bar_between_two_steps():
    log = Log(None, 9, 0, 9, False, 0.0, None, {})
    log.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with log:
        log.step(1, Tally(1.0, 1, 1), 1.0, 0.1, 0.5)
        log.step(2, Tally(1.0, 1, 1), 1.0, 0.1, 0.5)  # so soon that nobody would see it
        written = log.console.file.getvalue()
        assert "step 1/9" in written
        time.sleep(2 * REDRAW_SECONDS)
        with log.aside():
            assert not log.live.is_started
            erased = log.console.file.getvalue()[len(written) :]
            assert "\x1b[2K" in erased  # The line is gone; what is drawn now begins on an empty one.
            assert "step" not in erased.rpartition("\x1b[2K")[2]
        assert log.live.is_started
        log.step(3, Tally(1.0, 1, 1), 1.0, 0.1, 0.5)
        log.step(4, Tally(1.0, 1, 1), 1.0, 0.1, 0.5)
    drawn = log.console.file.getvalue()
    assert [f"step {step}/9" in drawn for step in (1, 2, 3, 4)] == [True, True, True, True]
