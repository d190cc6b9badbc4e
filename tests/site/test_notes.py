"""The notes box keeps what one writes, in this browser alone, and the learning log exports and deletes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mini import DOCS, MiniSite

pytestmark = pytest.mark.browser
LESSON = "foundation/normalization/why/"
NOTE = 'x < y & <b>bold</b> <img src=x onerror="document.title=1">\n\n# mine\n"quoted" ü'
CHECKLIST = (
    "```checklist\n- {id: ticked, text: 'I can say *why* `x < y`'}\n- {id: left, text: Not yet}\n```\n"
)
PATHS = """study:
  {title: Study, icon: material/school, time: t, goal: g, best_for: b, page: index.md,
   steps: [{title: Why, page: foundation/normalization/why.md, minutes: 5}]}
"""
REFUSING = {
    "reading": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})",
    "writing": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }",
}


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> MiniSite:
    return MiniSite(tmp_path_factory.mktemp("notes") / "w")


@pytest.fixture(scope="module")
def notes(mini: MiniSite):  # type: ignore[no-untyped-def]
    """Two lessons, the pages of a module that get no box, and the learning log as it is."""
    from serving import serve

    paths = mini.folder / "paths.yml"
    paths.write_text(PATHS, encoding="utf-8")
    mini.write("index.md", "# Home\n")
    mini.write("foundation/normalization/index.md", "# Normalization\n")
    mini.write("foundation/normalization/why.md", f"# Why [a] norm?\n\n{CHECKLIST}")
    mini.write("foundation/normalization/quiz.md", "# Quiz\n")
    mini.write("architecture/block/parts.md", "# Parts\n")
    log = (DOCS / "notes/learning_log.md").read_text(encoding="utf-8")
    mini.write("notes/learning_log.md", log.replace("](knowledge_base.md)", "](../index.md)"))
    server = serve(mini.site)
    url = f"http://127.0.0.1:{server.server_port}/"
    result = mini.build("--strict", paths=paths, url=url)
    assert result.status == 0, result.log
    yield url
    server.shutdown()


@pytest.fixture
def page(browser, notes: str):  # type: ignore[no-untyped-def]
    fresh = browser.new_context(base_url=notes)
    yield fresh.new_page()
    fresh.close()


def write(page, address: str, text: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address)
    page.locator("mm-notes summary").press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.insert_text(text)


def exported(page) -> str:  # type: ignore[no-untyped-def]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export my notes as Markdown").press("Enter")
    assert waiting.value.suggested_filename == "learning_log.md"
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_a_note_is_written_with_the_keyboard_and_is_there_again(page) -> None:  # type: ignore[no-untyped-def]
    write(page, LESSON, NOTE)
    assert "Kept in this browser" in page.locator("mm-notes [role=status]").inner_text()
    page.reload()
    field = page.get_by_role("textbox", name="My notes on this page")
    assert field.is_visible(), "a fold with a note in it is open"
    assert field.input_value() == NOTE
    page.goto("architecture/block/parts/")
    assert page.locator("mm-notes textarea").input_value() == "", "each page has notes of its own"


def test_the_export_holds_notes_and_ticks_as_they_are(page) -> None:  # type: ignore[no-untyped-def]
    write(page, "architecture/block/parts/", "second")
    write(page, LESSON, NOTE)
    page.locator("[data-check=ticked]").check()
    page.locator("[data-done]").check()
    page.goto("notes/learning_log/")
    assert "2 notes and 2 ticks" in page.locator("mm-log [role=status]").inner_text()
    assert page.locator("mm-log [data-list] a").all_inner_texts() == ["Parts", "Why [a] norm?"]
    text = exported(page)
    first = text[text.index("### Why [a] norm?") :]
    today = page.evaluate("new Intl.DateTimeFormat('sv').format(new Date())")
    assert first.startswith(
        f"### Why [a] norm?\n\n<{page.url.split('notes/')[0]}{LESSON}> · last changed on {today}\n\n{NOTE}\n"
    )
    assert text.count("### Parts") == 1
    assert "\n\nsecond\n" in text
    assert "- [x] Finished this page\n- [x] I can say why x < y\n" in text
    assert "Not yet" not in text
    assert page.title() != "1", "a note was taken for HTML"
    assert page.locator("mm-log b, mm-log img").count() == 0


def test_deleting_asks_first_and_leaves_the_ticks(page) -> None:  # type: ignore[no-untyped-def]
    write(page, LESSON, "mine")
    page.locator("[data-check=ticked]").check()
    page.goto("notes/learning_log/")
    delete = page.get_by_role("button", name="Delete all my notes")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    delete.click()
    assert "Delete 1 note for good?" in asked[0]
    assert "1 note and 1 tick " in page.locator("mm-log [role=status]").inner_text()
    page.once("dialog", lambda dialog: dialog.accept())
    delete.click()
    assert "0 notes and 1 tick " in page.locator("mm-log [role=status]").inner_text()
    assert delete.is_disabled()
    assert "None yet." in exported(page)
    page.goto(LESSON)
    assert page.locator("mm-notes textarea").input_value() == ""
    assert page.locator("[data-check=ticked]").is_checked()


def test_an_emptied_box_leaves_no_note(page) -> None:  # type: ignore[no-untyped-def]
    write(page, LESSON, "mine")
    page.locator("mm-notes textarea").fill(" ")
    page.goto("notes/learning_log/")
    assert "0 notes" in page.locator("mm-log [role=status]").inner_text()


def test_a_second_window_sees_the_note(page) -> None:  # type: ignore[no-untyped-def]
    other = page.context.new_page()
    other.goto(LESSON)
    write(page, LESSON, "from the first")
    other.wait_for_function("document.querySelector('mm-notes textarea').value === 'from the first'")


def test_two_windows_come_to_rest(page) -> None:  # type: ignore[no-untyped-def]
    other = page.context.new_page()
    for one in (page, other):
        one.goto(LESSON)
    other.wait_for_timeout(500)
    for one in (page, other):
        one.evaluate("window.heard = 0; addEventListener('storage', () => { window.heard += 1; })")
    other.wait_for_timeout(500)
    assert [one.evaluate("window.heard") for one in (page, other)] == [0, 0]


@pytest.mark.parametrize("what", REFUSING)
def test_without_storage_the_page_works_and_says_so(page, what: str) -> None:  # type: ignore[no-untyped-def]
    problems: list[str] = []
    # The theme itself complains, and carries on.
    page.on("pageerror", lambda error: problems.append(error.stack) if "assets/js/" in error.stack else None)
    page.add_init_script(REFUSING[what])
    write(page, LESSON, "lost")
    assert "keeps nothing" in page.locator("mm-notes [role=status]").inner_text()
    assert page.locator("mm-notes textarea").input_value() == "lost"
    page.goto("notes/learning_log/")
    assert "keeps nothing" in page.locator("mm-log [role=status]").inner_text()
    assert problems == []


def test_instant_navigation_brings_the_box_of_the_new_page(page) -> None:  # type: ignore[no-untyped-def]
    write(page, LESSON, "mine")
    page.evaluate("window.marker = 1")
    page.locator("mm-notes a").click()
    page.locator("mm-log [data-list] a").click()
    page.locator("mm-notes textarea").wait_for()
    assert page.evaluate("window.marker") == 1, "navigation was not instant"
    assert page.locator("mm-notes textarea").input_value() == "mine"


def test_without_javascript_there_is_no_dead_box(browser, notes: str) -> None:  # type: ignore[no-untyped-def]
    plain = browser.new_context(java_script_enabled=False, base_url=notes)
    page = plain.new_page()
    page.goto(LESSON)
    assert not page.locator("mm-notes").is_visible()
    page.goto("notes/learning_log/")
    assert not page.locator("mm-log").is_visible()
    assert page.get_by_text("need JavaScript").is_visible()
    plain.close()


def test_lessons_alone_have_a_box_and_the_search_has_none(mini: MiniSite, notes: str) -> None:
    with_box = {
        path.parent.name for path in mini.site.rglob("index.html") if "<mm-notes" in path.read_text("utf-8")
    }
    assert with_box == {"why", "parts"}
    index = json.loads((mini.site / "search/search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].split("#")[0]: "" for entry in index["docs"]}
    for entry in index["docs"]:
        found[entry["location"].split("#")[0]] += entry["text"]
    assert "I can say" in found[LESSON]
    assert "gathers" not in found[LESSON]
    assert "I can say" not in found["notes/learning_log/"]
    assert "Export my notes" not in found["notes/learning_log/"]
