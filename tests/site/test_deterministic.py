"""Two cold builds give the same bytes, but for what is marked as measured on the machine that built it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mini import MiniSite

FENCE = "```"
PAGE = f"""# Page

{FENCE}python exec="1" session="s" alt="A line|A map" caption="Ends at [[= y[-1] | .3f ]]."
import matplotlib.pyplot as plt
import torch
from minimind.course import plots
from minimind.course.experiment import claim

y = torch.randn(20).cumsum(0).tolist()
fig, ax = plt.subplots()
ax.plot(y, label="walk")
plots.label_lines(ax)
plt.show()
fig, ax = plt.subplots()
plots.heatmap(ax, torch.rand(4, 4))
plt.show()
claim("twenty steps", len(y) == 20)
{FENCE}

{FENCE}python exec="1" session="s" measured="1"
import time

print(time.time_ns())
{FENCE}

It took [[~ time.time_ns() ]] and $x^2$. <!-- claims -->

{FENCE}quiz
id: q
kind: order
question: Sort.
lines: [a, b, c, d]
why: So.
{FENCE}
"""
LAB = """# %% [markdown]
# # Lab

# %%
# alt: a line
import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.show()
"""
MEASURED = re.compile(
    r'(<div class="mm-measured"[^>]*>.*?</pre></div>)|(<span class="mm-measured"[^>]*>.*?</span>)', re.S
)
BUILD_DATE = re.compile(rb"<lastmod>[^<]*</lastmod>")


def blanked(path: Path) -> bytes:
    if path.suffix == ".html":
        return MEASURED.sub("", path.read_text(encoding="utf-8")).encode()
    if path.name == "search_index.json":
        return re.sub(rb"\d{19}", b"", path.read_bytes())
    return BUILD_DATE.sub(b"", path.read_bytes())


@pytest.mark.slow
def test_two_cold_builds_are_alike(tmp_path: Path) -> None:
    trees = []
    for name in ("first", "second"):
        site = MiniSite(tmp_path / name).write("index.md", PAGE).write("labs/lab.py", LAB)
        result = site.build("--strict")
        assert result.status == 0, result.log
        files = sorted(path for path in site.site.rglob("*") if path.is_file() and path.suffix != ".gz")
        trees.append({path.relative_to(site.site): blanked(path) for path in files})
    first, second = trees
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []
    assert Path("labs/lab/lab.ipynb") in first
