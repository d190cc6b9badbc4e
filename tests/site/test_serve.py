"""`mkdocs serve` shows a failure in its place, lives on, and sees a change of the package at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from mini import ROOT, MiniSite
from test_exec import FALSE_CLAIMS

FENCE = "```"


def wait_for(what: Callable[[], bool], log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.2)
    pytest.fail(log.read_text())


def page_with(code: str) -> str:
    return f'# Page\n\n{FENCE}python exec="1" session="s"\n{code}\n{FENCE}\n'


@pytest.mark.slow
def test_a_failure_is_shown_and_the_next_edit_heals_it(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", page_with("print('all' + ' well')"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"

    def shows(words: str) -> bool:
        try:
            return words in urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            return False

    config = site.configure(url=url)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "mkdocs", "serve", "-f", str(config), "-a", f"127.0.0.1:{port}"]
    environment = os.environ | {"MINIMIND_SITE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT) as server,
    ):
        try:
            wait_for(lambda: shows("all well"), log)
            site.write("index.md", page_with("raise ValueError('deep' + ' water')"))
            wait_for(lambda: shows("deep water") and shows("docs/index.md:3"), log)
            assert server.poll() is None, "serving ended with the failure"
            assert not shows("Traceback"), "the stack of frames belongs in the log"
            assert shows("1 part of this page failed")
            assert "Traceback" in log.read_text()
            site.write("index.md", page_with(FALSE_CLAIMS) + "\n<!-- claims -->\n")
            wait_for(lambda: shows("pigs fly"), log)
            for words in (
                "2 statements of this page do not hold",
                '<a href="#failure-1">pigs fly</a>',
                'class="mm-failure" id="failure-1"',
                "x = 0.25, expected &gt; 0.5",
                'href="#failure-2">fire is cold',
                "<code>docs/index.md:8</code>",
                "<li>water is wet</li>",
                "3 claims; in this build 1 holds and 2 do not.",
                "fire is cold: <a",
            ):
                assert shows(words), words
            assert server.poll() is None
            site.write("index.md", page_with("print('well' + ' again')"))
            wait_for(lambda: shows("well again"), log)
        finally:
            server.terminate()
