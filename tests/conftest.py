"""How the tests run: side by side, on one thread each, and what takes long only where it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

# As many tests as cores run at once, and their threads would only wait for each other. torch and what a test starts
# read this when they are loaded. A test that needs two threads sets them itself.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"

MOST_PROCESSES = 8
"""Each holds torch, and some a browser: about a gigabyte."""

# Tests of a file share what is dear to make, so a file stays in one process; the files that look at the built site
# stay together. In these files each test stands for itself.
EACH_ALONE = ("tests/test_exercises.py", "tests/snippets/test_scripts.py")
BUILT_SITE = ("tests/site/test_axe.py", "tests/site/test_links.py", "tests/site/test_site.py")

LEFT_OUT = pytest.StashKey[int]()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let no test hand on the number of threads that it has set."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Use all cores where a whole folder is tested; `-n 0` takes one process, as `--pdb` does."""
    asked = getattr(config.option, "numprocesses", 0)  # 0: without pytest-xdist, or switched off
    processes = min(cores(), MOST_PROCESSES)
    folders = any(Path(name).is_dir() for name in config.args)
    if asked is None and folders and processes > 1 and not is_worker(config) and not config.option.usepdb:
        config.option.numprocesses = processes


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that another one has started."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out the tests in the order of `pytest_collection_modifyitems`, in units that stay together."""
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Units(config, log)


def unit_of(nodeid: str) -> str:
    """The name of what is handed out to one process together."""
    file = nodeid.partition("::")[0]
    if file in EACH_ALONE:
        return nodeid
    return "the built site" if file in BUILT_SITE else file


@pytest.hookimpl(trylast=True)  # after `-k` and `-m`: what they leave out is not counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, unless it is asked for by name or by mark; put the rest in line."""
    if "slow" not in config.option.markexpr and not any("::" in name for name in config.args):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        config.stash[LEFT_OUT] = len(slow)
    if is_worker(config):
        config.workeroutput["left out"] = config.stash.get(LEFT_OUT, 0)  # type: ignore[attr-defined]
        items.sort(key=place_in_line)


def place_in_line(item: pytest.Item) -> int:
    """What needs the built site first, which takes longest; last what is handed out alone, so that all end together."""
    file = item.nodeid.partition("::")[0]
    return 0 if file in BUILT_SITE else 2 if file in EACH_ALONE else 1


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Take over from a process how many tests it left out; they all leave out the same."""
    if left_out := getattr(node, "workeroutput", {}).get("left out"):  # nothing from a process that died
        node.config.stash[LEFT_OUT] = left_out  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what did not run. Why others were skipped, `-rs` in pyproject.toml says."""
    if count := config.stash.get(LEFT_OUT, 0):
        verb = "tests were" if count > 1 else "test was"
        terminalreporter.write_line(f"{count} slow {verb} left out; to run them: pytest -m slow", yellow=True)
