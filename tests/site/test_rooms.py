"""The site's machinery keeps to its rooms: imports run downwards, no module needs one that needs it in turn."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace

import grimp
import pytest
from _site import hooks
from _site.fences import sources
from _site.run.state import build

HOUSE = Path(hooks.__file__).parent
ROOMS = ("finish", "fences", "marks", "run")  # from top to bottom; the hooks above them see all


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """For each module those that it imports."""
    graph = grimp.build_graph("_site", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def height(module: str) -> int:
    """How far down a module's room lies; hooks.py stands above them all."""
    room = module.partition(".")[2].partition(".")[0]
    return ROOMS.index(room) if room in ROOMS else -1


def test_rooms_import_only_from_rooms_below(imports: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in others
        if height(module) > height(other)
    ]
    assert wrong == []
    assert "_site.run.state" in imports["_site.finish.claims"], "the graph is not empty"


def test_no_module_needs_one_that_needs_it(imports: dict[str, set[str]]) -> None:
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, which names the circle
    assert order.index("_site.run.state") < order.index("_site.hooks")


def test_every_module_that_serves_an_event_is_a_component() -> None:
    """And every event that a component serves is one that MkDocs is told of."""
    names = {component.__name__ for component in hooks.COMPONENTS if hasattr(component, "__name__")}
    serving = {
        ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts)
        for path in HOUSE.glob("*/*.py")
        if "\ndef on_" in path.read_text(encoding="utf-8")
    }
    assert serving == names
    served = {name for component in hooks.COMPONENTS for name in dir(component) if name.startswith("on_")}
    assert served == {name for name in dir(hooks) if name.startswith("on_")}


def test_marks_in_an_included_source_are_not_filled_in() -> None:
    acting = [component for component in hooks.COMPONENTS if hasattr(component, "on_page_markdown")]
    assert acting[-1] is sources


def test_a_source_that_is_missing_is_told_with_its_line_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    fence = "```source minimind.nowhere\n```\n"
    monkeypatch.setattr(build, "source", f"---\nlive: true\n---\n# Title\n\n<!-- cards -->\n\n{fence}")
    monkeypatch.setattr(build, "config", SimpleNamespace(docs_dir="docs"))
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    monkeypatch.setattr(build, "page", page)
    monkeypatch.setattr(build, "failures", [])
    made = f"# Title\n\nwhat\nthe\nother\ncomponents\nhave\nmade\n\n{fence}"
    assert "mm-failure" in sources.on_page_markdown(made, page, None, None)
    assert build.failures[0].where == "docs/page.md:8"
