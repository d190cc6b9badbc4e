"""The paths keep their hours, and the roadmap leads where it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from _site.finish import paths, roadmap
from _site.finish.lessons import Minutes, minutes_of, told

from minimind import arguments, cli
from minimind.course.exercises.catalog import NAMES
from minimind.course.snippets import find_module

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATHS = yaml.safe_load(paths.FILE.read_text(encoding="utf-8"))
MODULES = PATHS["systematic-study"]["modules"]
TICKED = [step for path in PATHS.values() for step in path.get("steps", []) if "tick" in step]
COMMANDED = (
    "README.md",
    "docs/paths/quick-start.md",
    "docs/paths/systematic-study.md",
    "docs/paths/deep-mastery.md",
)
ITEMS = [item for part in roadmap.read() for item in part["items"]]
PAGES = "\n".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "snippets").rglob("*.py"))
QUICK_START_MINUTES = 10


def core_minutes(page: str) -> float:
    return QUICK_START_MINUTES if page.startswith("quick-start/") else minutes_of(DOCS / page).core


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module["name"])
def test_the_core_of_a_module_takes_the_hours_of_the_roadmap(module):
    minutes = sum(core_minutes(page) for page in module["pages"])
    assert minutes == pytest.approx(60 * module["hours"], rel=0.12), f"{minutes:.0f} minutes"


def test_the_modules_add_up_to_the_roadmaps_six_hours():
    assert sum(module["hours"] for module in MODULES) == pytest.approx(6)
    assert sum(core_minutes(page) for module in MODULES for page in module["pages"]) == pytest.approx(
        360, rel=0.05
    )


def test_one_minute_is_told_as_one():
    assert told(Minutes(core=11.6, extra=1.2)) == "Core 12 minutes · extra 1 minute"
    assert told(Minutes(core=0.3, extra=2.0)) == "Extra 2 minutes"


def test_every_page_of_a_module_is_a_step_of_the_path():
    steps = {page for module in MODULES for page in module["pages"]}
    written = {
        path.relative_to(DOCS).as_posix()
        for part in ("foundation", "architecture")
        for path in (DOCS / part).rglob("*.md")
    }
    assert written == {page for page in steps if not page.startswith("quick-start/")}


@pytest.mark.parametrize("page", sorted({item["page"] for item in [*ITEMS, *TICKED] if "page" in item}))
def test_a_page_that_the_roadmap_or_a_path_leads_to_exists(page):
    name, _, anchor = page.partition("#")
    text = (DOCS / name).read_text(encoding="utf-8")
    headings = [
        re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    assert not anchor or anchor in {re.sub(r"[\s-]+", "-", heading) for heading in headings}


@pytest.mark.parametrize("step", TICKED, ids=lambda step: step["tick"])
def test_a_step_that_is_a_box_is_on_its_page(step):
    assert f"- {{id: {step['tick']}, " in (DOCS / step["page"].partition("#")[0]).read_text(encoding="utf-8")


def test_the_first_week_of_deep_mastery_is_ticked_on_both_pages():
    week = [step["tick"] for step in TICKED if step["page"].startswith("paths/systematic-study.md")]
    page = (DOCS / "paths" / "deep-mastery.md").read_text(encoding="utf-8")
    assert len(week) == 3
    assert all(f"- {{id: {tick}, " in page for tick in week)


def test_every_criterion_is_checked_by_something():
    unchecked = [
        item["says"]
        for item in ITEMS
        if item["kind"] == "criterion" and not item.get("later") and "check" not in item
    ]
    # Those that sum up a path: ticks on its page, whose modules have checks of their own.
    assert all("done:" in says or says.startswith("Understand all core") for says in unchecked), unchecked


@pytest.mark.parametrize(
    "item", [item for item in ITEMS if "check" in item], ids=lambda item: item["says"][:40]
)
def test_what_checks_an_item_is_there(item):
    ((kind, name),) = item["check"].items()
    if kind == "exercise":
        assert name in NAMES
    elif kind == "claim":
        assert re.search(re.escape(name).replace(r"\ ", r"\s+"), SCRIPTS)
    elif kind == "quiz":
        assert re.search(rf"^id: {name}$", PAGES, re.MULTILINE)
    else:
        assert kind == "command"
        is_understood(name)


@pytest.mark.parametrize("line", sorted({item["run"] for item in ITEMS if "run" in item}))
def test_a_command_of_the_roadmap_is_understood(line):
    is_understood(line)


def commands_of(text: str) -> set[str]:
    """The commands of a page: lines of its terminal blocks, and those that a sentence or a box gives with arguments."""
    fence = re.compile(r"^ *```(\w*)(.*?)^ *```", re.MULTILINE | re.DOTALL)
    blocks = {
        kind: "\n".join(body for name, body in fence.findall(text) if name == kind)
        for kind in ("bash", "checklist")
    }
    lines = [line.strip() for line in blocks["bash"].replace("\\\n", " ").splitlines()]
    named = re.findall(r"`(minimind \w+ [^`\n]+)`", fence.sub("", text) + blocks["checklist"])
    return {line for line in [*lines, *named] if line.startswith("minimind ")}


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (page, line)
        for page in COMMANDED
        for line in sorted(commands_of((ROOT / page).read_text(encoding="utf-8")))
    ],
)
def test_a_command_of_a_path_is_understood(page, line):
    is_understood(line)


def test_the_commands_of_a_page_are_found():
    page = """
Look with `minimind evaluate pretrain`, or with `minimind doctor`.

    ```bash
    minimind pipeline --quick \\
        --output all  # all of it
    ```

```checklist
- {id: done, text: "Done: `minimind chat runs/mine`"}
```

```text
minimind: no such run
```
"""
    chat, evaluate, pipeline = sorted(commands_of(page))
    assert (chat, evaluate) == ("minimind chat runs/mine", "minimind evaluate pretrain")
    assert pipeline.split() == ["minimind", "pipeline", "--quick", "--output", "all", "#", "all", "of", "it"]


def is_understood(line: str) -> None:
    """The words of a command are read without complaint, and what they name is there."""
    program, *words = shlex.split(line, comments=True)
    if program == "python":
        assert (ROOT / words[0]).is_file()
    elif program == "minimind":
        settings, _ = cli.VERBS[words[0]]
        read = arguments.parse(settings, words[1:], f"minimind {words[0]}")
        if words[0] == "run":
            assert find_module(read.module).is_dir()
    else:
        assert line == "pip install -e ."


def test_a_typo_in_the_roadmap_would_be_seen():
    with pytest.raises(ValueError, match="nonsense"):
        is_understood("minimind pretrain --nonsense 1")
    with pytest.raises(ValueError, match="normalisation"):
        is_understood("minimind run normalisation")
