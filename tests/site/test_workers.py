"""Processes that fill the cache: the build finds all there, says the same, and reports what failed in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mini import MiniSite
from test_deterministic import LAB, PAGE, blanked
from test_exec import FALSE_CLAIMS, block, counts


@pytest.mark.slow
def test_workers_and_the_build_alone_give_the_same(tmp_path: Path) -> None:
    trees, logs = [], []
    for name, extra in (("alone", {}), ("workers", {"workers": 2})):
        site = MiniSite(tmp_path / name).write("index.md", PAGE).write("labs/lab.py", LAB)
        site.write(
            "other.md", "# Other\n\n" + block("import torch\nx = torch.rand(1)\nprint(x)") + "\n[[= x ]]\n"
        )
        result = site.build("--strict", **extra)
        assert result.status == 0, result.log
        files = sorted(path for path in site.site.rglob("*") if path.is_file() and path.suffix != ".gz")
        trees.append({path.relative_to(site.site): blanked(path) for path in files})
        logs.append(result.log)
    assert trees[0] == trees[1]
    assert counts(logs[0]) == (0, 3)
    assert counts(logs[1]) == (3, 0)
    assert re.search(r"waiting for 2 processes with 3 pages", logs[1])
    assert "waiting for 0 processes with 0 pages" in site.build(workers=2).log, "all is cached"
    site.write("other.md", "# Other\n\n" + block("print('edited')"))
    again = site.build(workers=2).log
    assert "waiting for 0 processes" in again, "one page is not worth a process"
    assert counts(again) == (2, 1)


DIES_IN_A_WORKER = """import os
from _site.run.state import build
if build.command == 'worker':
    os._exit(3)
print('alive')"""


@pytest.mark.slow
def test_what_fails_in_a_worker_is_reported_by_the_build(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", "# Claims\n\n" + block(FALSE_CLAIMS))
    site.write("error.md", "# Error\n\n" + block("raise ValueError('deep water')"))
    site.write("death.md", "# Death\n\n" + block(DIES_IN_A_WORKER))
    result = site.build(workers=3)
    assert result.status != 0
    assert "docs/index.md:6: claim does not hold: pigs fly" in result.log
    assert "docs/error.md:3: ValueError: deep water" in result.log
    assert "3 failure(s)" in result.log
    assert "docs/death.md" not in result.log
