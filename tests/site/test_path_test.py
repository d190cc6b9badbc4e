"""The test over a whole path: what it draws, how it grades, and where it sends one to read again."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from mini import DOCS, MiniSite

pytestmark = pytest.mark.browser
ADDRESS = "paths/systematic-study-test/"
MODULES = {  # folder -> how many graded questions; one module has few, one has none
    "foundation/normalization": 9,
    "foundation/attention": 6,
    "foundation/feed-forward": 2,
    "foundation/position-encoding": 0,
    "architecture/transformer-block": 8,
}


def question(identity: str, number: int) -> str:
    """A question of one of the four graded kinds, with a link in its answer."""
    start = f"id: {identity}\nquestion: Question {identity}?\nwhy: Because. See [the start](../).\n"
    kinds = (
        "options: [{wrong: down, note: Not so.}, {right: up}]\n",
        "kind: number\nanswer: 3\n",
        "kind: order\nlines: [one, two, three]\n",
        "kind: output\ncode: print(5)\noptions: [{option: 4, note: Not so.}, {option: 5}]\n",
    )
    return f"```quiz\n{start}{kinds[number % len(kinds)]}```\n"


NOT_GRADED = """```quiz
id: {name}-explain
kind: explain
question: Why?
answer: So.
ticks: [a, b, c]
```

```quiz
id: {name}-predict
kind: predict
question: Which way?
options: [{{option: up, note: No.}}, {{option: down, note: Yes.}}]
why: Because.
```

<!-- predict end -->
"""


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> MiniSite:
    return MiniSite(tmp_path_factory.mktemp("path-test") / "w")


@pytest.fixture(scope="module")
def served(mini: MiniSite):  # type: ignore[no-untyped-def]
    """Five modules with quizzes, and the page of the test as it is."""
    from serving import serve

    mini.write("index.md", "# Home\n")
    mini.write(f"{ADDRESS.strip('/')}.md", (DOCS / f"{ADDRESS.strip('/')}.md").read_text(encoding="utf-8"))
    for folder, count in MODULES.items():
        name = folder.split("/")[1]
        mini.write(f"{folder}/index.md", f"# {name.capitalize()}\n")
        questions = "\n".join(question(f"{name}-{number}", number) for number in range(count))
        mini.write(f"{folder}/quiz.md", f"# Quiz\n\n{questions}\n{NOT_GRADED.format(name=name)}")
    server = serve(mini.site)
    url = f"http://127.0.0.1:{server.server_port}/"
    result = mini.build("--strict", url=url)
    assert result.status == 0, result.log
    yield url
    server.shutdown()


@pytest.fixture
def page(browser, served: str):  # type: ignore[no-untyped-def]
    fresh = browser.new_context(base_url=served, viewport={"width": 360, "height": 800})
    page = fresh.new_page()
    page.problems = []
    # Where storage is refused the theme itself complains, and carries on.
    page.on("pageerror", lambda error: "assets/js/" in error.stack and page.problems.append(error.stack))
    page.goto(ADDRESS)
    yield page
    assert page.problems == []
    fresh.close()


def drawn(page) -> list[str]:  # type: ignore[no-untyped-def]
    return page.locator(".mm-quiz").evaluate_all("all => all.map((quiz) => quiz.dataset.quiz)")


def module_of(identity: str) -> str:
    return identity.removeprefix("test-").rpartition("-")[0]


def answer(quiz, right: bool) -> None:  # type: ignore[no-untyped-def]
    """Answer one question, with keys alone."""
    kind = quiz.get_attribute("data-kind")
    if kind == "number":
        quiz.locator("input").press_sequentially("3" if right else "4")
    elif kind == "order":
        if right:
            for place in range(3):
                while quiz.locator("[data-place]").nth(place).get_attribute("data-place") != str(place):
                    quiz.locator(f"[data-place='{place}'] [data-act=up]").press("Enter")
    else:
        quiz.locator(f"input{'[data-right]' if right else ':not([data-right])'}").press("Space")


def grade(page):  # type: ignore[no-untyped-def]
    page.get_by_role("button", name="Grade my answers").press("Enter")
    return page.locator(".mm-test__result").inner_text()


def test_twenty_different_questions_spread_over_the_modules(page) -> None:  # type: ignore[no-untyped-def]
    for _ in range(5):
        names = drawn(page)
        assert len(names) == len(set(names)) == 20
        counts = Counter(map(module_of, names))
        assert counts["feed-forward"] == 2, "all that a small module has"
        assert [counts[name] for name in ("normalization", "attention", "transformer-block")] == [6, 6, 6]
        page.get_by_role("button", name="New draw").click()


def test_a_reload_keeps_the_draw_and_a_new_one_changes_it(page) -> None:  # type: ignore[no-untyped-def]
    first = drawn(page)
    page.reload()
    assert drawn(page) == first
    page.get_by_role("button", name="New draw").press("Enter")
    assert drawn(page) != first
    kinds = page.locator(".mm-quiz").evaluate_all("all => all.map((quiz) => quiz.dataset.kind)")
    assert set(kinds) == {"choice", "number", "order", "output"}


def test_all_right_is_a_pass(page) -> None:  # type: ignore[no-untyped-def]
    for number in range(20):
        answer(page.locator(".mm-quiz").nth(number), right=True)
    assert grade(page) == "20 of 20 right: passed."
    assert set(page.locator(".mm-test__scores tbody td:last-child").all_inner_texts()) == {"Nothing"}
    page.reload()
    assert page.locator(".mm-test__result").inner_text() == "Last time: 20 of 20 right."
    assert page.locator(".mm-quiz input:checked").count() == 0


@pytest.mark.parametrize(("wrong", "passed"), [(4, True), (5, False)])
def test_the_score_of_each_module_and_where_to_read_again(page, wrong: int, passed: bool) -> None:  # type: ignore[no-untyped-def]
    names = drawn(page)
    missed = [number for number, name in enumerate(names) if module_of(name) == "attention"][:wrong]
    for number in range(20):
        answer(page.locator(".mm-quiz").nth(number), right=number not in missed)
    said = grade(page)
    assert said.startswith(f"{20 - wrong} of 20 right")
    assert ("passed" in said) == passed
    box = page.locator(".mm-test__result").bounding_box()
    assert 0 < box["y"] < 800, "the result is out of sight"
    rows = page.locator(".mm-test__scores tbody tr")
    assert rows.count() == 4
    row = rows.filter(has_text="Attention").first
    assert row.locator("td").first.inner_text() == f"{6 - wrong} of 6"
    targets = row.locator("a").evaluate_all(
        "all => all.map((link) => new URL(link.href).pathname + link.hash)"
    )
    expected = ["/foundation/attention/", "/foundation/attention/quiz/"]
    assert targets == [*expected, *(f"/{ADDRESS}#question-{number + 1}" for number in missed)]
    first = page.locator(f"#question-{missed[0] + 1} .mm-quiz")
    assert "Not" in first.locator("[role=status]").inner_text()
    assert first.locator("fieldset:disabled").count() == 1, "what is graded stays as it is"
    first.locator("summary").press("Enter")
    link = first.locator("details a")
    assert link.is_visible()
    assert link.evaluate("link => new URL(link.href).pathname") == "/foundation/attention/"
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide


def test_what_is_not_answered_is_said_before_it_counts(page) -> None:  # type: ignore[no-untyped-def]
    assert not page.locator(".mm-quiz details").first.is_visible(), "answers wait for the grade"
    quiz = page.locator(".mm-quiz[data-kind=choice]").first
    answer(quiz, right=True)
    page.keyboard.press("Enter")
    assert quiz.locator("[role=status]").inner_text() == "", "one question alone is not graded"
    assert grade(page).startswith("Without an answer: ")
    assert page.locator(".mm-test__scores").is_hidden()
    assert page.locator("label.is-right").count() == 0
    assert grade(page).startswith("1 of 20 right; a pass is 16.")
    page.get_by_role("button", name="New draw").click()
    assert page.locator(".mm-test__scores").is_hidden()
    assert page.get_by_role("button", name="Grade my answers").is_enabled()


def test_the_quizzes_of_the_modules_are_left_alone(page) -> None:  # type: ignore[no-untyped-def]
    for number in range(20):
        answer(page.locator(".mm-quiz").nth(number), right=True)
    grade(page)
    page.goto("foundation/attention/quiz/")
    assert page.locator(".mm-quiz[data-state=right]").count() == 0
    assert page.locator(".mm-score").inner_text().startswith("0 of 7")
    quiz = page.locator("[data-quiz=attention-0]")
    answer(quiz, right=True)
    page.keyboard.press("Enter")
    assert quiz.get_attribute("data-state") == "right"
    page.goto(ADDRESS)
    assert page.locator(".mm-quiz[data-state=right]").count() == 0, "the test starts afresh"


def test_without_storage_there_is_a_test_all_the_same(page) -> None:  # type: ignore[no-untyped-def]
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})"
    )
    page.reload()
    assert len(set(drawn(page))) == 20


def test_without_javascript_all_questions_can_be_read(browser, served: str) -> None:  # type: ignore[no-untyped-def]
    plain = browser.new_context(java_script_enabled=False, base_url=served)
    page = plain.new_page()
    page.goto(ADDRESS)
    assert page.locator(".mm-quiz").count() == sum(MODULES.values())
    assert page.locator("mm-test h2").all_inner_texts() == [
        "Transformer-block", "Attention", "Feed-forward", "Normalization",
    ]  # fmt: skip
    assert page.locator("mm-test button:visible").all_inner_texts() == []
    page.locator("summary").first.click()
    assert page.get_by_text("Because. See").first.is_visible()
    plain.close()


def test_no_answer_stands_in_the_search(mini: MiniSite, served: str) -> None:
    index = json.loads((mini.site / "search/search_index.json").read_text(encoding="utf-8"))
    found = " ".join(entry["text"] for entry in index["docs"])
    assert "Twenty" in " ".join(entry["title"] for entry in index["docs"])
    assert "Because" not in found
    assert "Show the answer" not in found


def test_modules_without_questions_make_no_test(tmp_path) -> None:  # type: ignore[no-untyped-def]
    site = MiniSite(tmp_path).write("index.md", "# Home\n\n<!-- path test -->\n")
    site.write("foundation/attention/quiz.md", "# Quiz\n").write(
        "foundation/attention/index.md", "# Attention\n"
    )
    result = site.build("--strict")
    assert result.status == 0, result.log
    assert "no questions yet" in result.page()
