"""The bar for slow things: hands on what it gets, and is seen on a terminal only when it takes long."""

import io

import pytest
from rich.console import Console

from minimind import progress as module
from minimind.progress import progress


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
