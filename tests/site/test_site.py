"""The built site in a real browser: quiet, offline, usable by keyboard, and it remembers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _site.finish import paths as learning_paths
from mini import MiniSite

pytestmark = pytest.mark.browser
FENCE = "```"


def addresses(site: Path) -> list[str]:
    """The address of every page, below the site's."""
    return [
        path.parent.relative_to(site).as_posix().removeprefix(".") + "/" if path.parent != site else ""
        for path in sorted(site.rglob("index.html"))
    ]


FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"


@pytest.mark.slow
def test_every_page_is_quiet_and_fits(context, base: str, site: Path) -> None:  # type: ignore[no-untyped-def]
    from playwright.sync_api import TimeoutError

    problems: list[str] = []

    def new_page():  # type: ignore[no-untyped-def]
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on(
            "console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
        return page

    pages = [new_page() for _ in range(4)]  # each is idle most of the time, so they wait together
    for some in batched(addresses(site), len(pages)):
        for page, address in zip(pages, some, strict=False):
            page.goto(base + address, wait_until="commit")
        for page, address in zip(pages, some, strict=False):
            page.wait_for_load_state("networkidle", timeout=120_000)
            for width in (390, 1280):  # a phone; and back to a desktop, for the next page
                page.set_viewport_size({"width": width, "height": 844})
                try:
                    page.wait_for_function(FITS, timeout=10_000)  # what moves has come to rest by then
                except TimeoutError:
                    problems.append(f"{address} is wider than {width} pixels")
    assert problems == []


def batched(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


QUIZ = f"""{FENCE}quiz
id: first
question: What depends?
options:
  - wrong: Only m
    note: The key is rotated too.
  - right: The difference
why: Because absolute positions cancel.
{FENCE}
"""
PREDICT = f"""{FENCE}quiz
id: guess
kind: predict
question: What happens?
options:
  - option: It grows
    note: You said it grows.
  - right: It falls
    note: It does.
why: We measured 3.
{FENCE}

## The result

It fell to three.

<!-- predict end -->

After.
"""
OTHERS = f"""{FENCE}quiz
id: number
kind: number
question: How many?
answer: 0.016
tolerance: 0.1
hints: [{{value: 1, note: That is the start.}}]
why: Count.
{FENCE}

{FENCE}quiz
id: order
kind: order
question: Sort.
lines: [one, two, three]
why: As numbers go.
{FENCE}

{FENCE}quiz
id: explain
kind: explain
question: Why?
answer: The model answer.
ticks: [first, second, third]
{FENCE}

{FENCE}checklist
- {{id: tick, text: I can}}
{FENCE}

<div>
<mm-frames label="Position"><div data-label="zero">A</div><div data-label="one">B</div></mm-frames>
</div>
"""
PATHS = """quick:
  title: Quick
  icon: material/school
  time: t
  goal: g
  best_for: b
  page: index.md
  steps:
    - {title: Widgets, page: widgets.md, minutes: 5}
    - {title: Others, page: others.md, minutes: 5}
deep:
  title: Deep
  icon: material/school
  time: t
  goal: g
  best_for: b
  page: index.md
  steps:
    - {title: A box, page: others.md#boxes, minutes: 5, tick: tick}
"""


@pytest.fixture(scope="module")
def widgets(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A small site with one of each widget, served from where it says it is."""
    from serving import serve

    folder = tmp_path_factory.mktemp("widgets")
    (folder / "paths.yml").write_text(PATHS)
    mini = MiniSite(folder / "w")
    mini.write("index.md", "# Home\n\n<!-- cards -->\n\n<!-- path: quick -->\n")
    mini.write("widgets.md", f"# Widgets\n\n{QUIZ}\n{PREDICT}")
    mini.write("notes/glossary.md", "# Glossary\n\nStream\n:   What is *carried* along.\n")
    mini.write(
        "others.md",
        f"# Others\n\n<!-- progress: deep -->\n\nStreams and the stream and `stream`.\n\n{OTHERS}",
    )
    server = serve(mini.site)
    url = f"http://127.0.0.1:{server.server_port}/"
    result = mini.build("--strict", paths=folder / "paths.yml", url=url)
    assert result.status == 0, result.log
    yield url
    server.shutdown()


@pytest.fixture
def page(browser, widgets: str):  # type: ignore[no-untyped-def]
    fresh = browser.new_context(base_url=widgets)
    yield fresh.new_page()
    fresh.close()


def test_a_question_is_answered_with_the_keyboard(page) -> None:  # type: ignore[no-untyped-def]
    page.goto("widgets/")
    quiz = page.locator("[data-quiz=first]")
    quiz.locator("input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    status = quiz.locator("[role=status]")
    assert "Not quite" in status.inner_text()
    assert "The key is rotated too." in status.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert status.inner_text().startswith("Right.")
    assert quiz.get_by_text("absolute positions cancel").is_visible()


def test_the_result_waits_for_a_prediction_and_answers_it(page) -> None:  # type: ignore[no-untyped-def]
    page.goto("widgets/")
    result = page.get_by_text("It fell to three.")
    quiz = page.locator("[data-quiz=guess]")
    page.locator(".mm-gate summary").click()
    assert not result.is_visible()
    assert "Commit to a prediction first" in quiz.locator("[role=status]").inner_text()
    quiz.locator("input").first.check()
    quiz.locator("[data-act=check]").click()
    assert result.is_visible()
    assert "You said it grows." in quiz.locator("[role=status]").inner_text()
    assert "We measured 3." in quiz.locator("[role=status]").inner_text()
    page.reload()
    assert result.is_visible(), "the choice is remembered"


def test_number_order_and_explanation(page) -> None:  # type: ignore[no-untyped-def]
    page.goto("others/")
    number = page.locator("[data-quiz=number]")
    for typed, said in (("1", "That is the start."), ("0,0165", "Right."), ("x", "Write a number")):
        number.locator("input").fill(typed)
        number.locator("input").press("Enter")
        assert said in number.locator("[role=status]").inner_text()
    order = page.locator("[data-quiz=order]")
    order.locator("[data-act=check]").click()
    assert "Not yet" in order.locator("[role=status]").inner_text()
    for place in (0, 1, 2):  # bring each line up to its place, with the keyboard
        button = order.locator(f"[data-place='{place}'] [data-act=up]")
        while (
            order.locator(f"li[data-place='{place}']").evaluate("e => [...e.parentNode.children].indexOf(e)")
            > place
        ):
            button.press("Enter")
    order.locator("[data-act=check]").click()
    assert order.locator("[role=status]").inner_text().startswith("Right.")
    explain = page.locator("[data-quiz=explain]")
    assert not explain.get_by_text("The model answer.").is_visible()
    explain.locator("textarea").fill("Because.")
    explain.locator("[data-act=check]").click()
    assert explain.get_by_text("The model answer.").is_visible()
    assert page.locator(".mm-score").inner_text().startswith("3 of 3")


def test_without_javascript_everything_can_be_read(browser, widgets: str) -> None:  # type: ignore[no-untyped-def]
    plain = browser.new_context(java_script_enabled=False, base_url=widgets)
    page = plain.new_page()
    page.goto("widgets/")
    page.locator("[data-quiz=first] summary").click()
    assert page.get_by_text("absolute positions cancel").is_visible()
    page.locator(".mm-gate summary").click()
    assert page.get_by_text("It fell to three.").is_visible()
    assert not page.locator("[data-act=check]").first.is_visible()
    plain.close()


def test_progress_survives_instant_navigation_and_reload(page) -> None:  # type: ignore[no-untyped-def]
    page.goto("others/")
    page.evaluate("window.marker = 1")
    page.locator("[data-check=tick]").check()
    assert page.locator("[data-path=deep] output").inner_text() == "1 of 1 done", "a box can be a step"
    page.locator("[data-done]").check()
    page.locator(".md-tabs__link, .md-nav__link", has_text="Home").first.evaluate("e => e.click()")
    page.get_by_text("1 of 2 done").first.wait_for()
    assert page.evaluate("window.marker") == 1, "navigation was not instant"
    assert page.locator(".mm-card[data-path=deep] output").inner_text() == "1 of 1 done", (
        "a box can be a step"
    )
    link = page.locator(".mm-path .mm-continue a")
    assert link.inner_text() == "Continue: Widgets"
    page.locator(".mm-path [data-step]", has_text="Others").click()
    page.locator("mm-frames input").wait_for()
    assert page.evaluate("window.marker") == 1
    assert page.locator("[data-check=tick]").is_checked()
    slider = page.locator("mm-frames input")
    slider.press("ArrowRight")
    assert page.locator("mm-frames output").inner_text() == "one"
    page.reload()
    assert page.locator("[data-done]").is_checked()


def test_a_term_explains_itself_to_the_keyboard(page) -> None:  # type: ignore[no-untyped-def]
    page.goto("others/")
    terms = page.locator(".md-content abbr")
    assert terms.all_inner_texts() == ["Streams"], "once a section, and not in code"
    terms.first.focus()
    page.locator(".md-tooltip2--active, .md-tooltip--active").get_by_text("What is carried along.").wait_for()


@pytest.mark.slow
def test_paths_lead_to_pages_of_the_site(base: str, site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(r'class="mm-cards"', home) or not learning_paths.FILE.is_file()
