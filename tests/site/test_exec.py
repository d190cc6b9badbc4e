"""Every way in which a page can be wrong fails the build, with page and line, also without --strict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mini import MiniSite, Result

FENCE = "```"


def block(code: str, options: str = 'session="s"') -> str:
    return f'{FENCE}python exec="1" {options}\n{code}\n{FENCE}\n'


def yaml_block(kind: str, text: str) -> str:
    return f"{FENCE}{kind}\n{text}\n{FENCE}\n"


CHOICE = """id: one
question: Which?
options:
  - right: this
  - wrong: that
    note: No.
why: Because."""
PREDICTION = """id: p
kind: predict
question: Which way?
options: [{option: up, note: No.}, {option: down, note: Yes.}]
why: Because."""
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"

# name -> (page below a two-line head, the line that must be named, words that must be in the message)
MISTAKES = {
    "raising": (block("x = 1\nraise ValueError('deep water')"), 3, "deep water"),
    "exit": (block("import sys\nsys.exit(3)"), 3, "exits with status 3"),
    "option": (block("x = 1", 'session="s" captoin="x"'), 3, "unknown option captoin"),
    "source": (block("x = 1", 'session="s" source="abvoe"'), 3, "unknown source"),
    "not-a-fence": ('```python exec="1" session="s" {.x}}\nx = 1\n```\n', 3, "did not run"),
    "warning": (block("import warnings\nwarnings.warn('careful')"), 3, "careful"),
    "alt": (block(PLOT), 3, "what is to be seen"),
    "figure-never-shown": (
        block("import matplotlib.pyplot as plt\nplt.plot([1])", 'alt="a"'),
        3,
        "never shows",
    ),
    "claim": (block("from minimind.course.experiment import claim\nclaim('pigs fly', 1 > 2)"), 5, "pigs fly"),
    "expected": (block("x = 1", 'expect="ValueError"'), 3, "raised nothing"),
    "other-error": (block("1 / 0", 'expect="ValueError"'), 3, "ZeroDivisionError"),
    "value": (block("x = 1") + "\nHere is [[= missing | .2f ]].\n", 7, "missing"),
    "value-without-session": ("Here is [[= 1 + 1 ]].\n", 3, "no session"),
    "latex": ("A formula: $\\frac{1$.\n", 3, "LaTeX"),
    "quiz-keys": (yaml_block("quiz", CHOICE.replace("why", "because")), 3, "lacks why"),
    "quiz-note": (yaml_block("quiz", CHOICE.replace("    note: No.\n", "")), 3, "lacks a note"),
    "quiz-link": (
        yaml_block("quiz", CHOICE.replace("id: one", "id: two").replace("Because", "Look [there](gone.md)")),
        3,
        "no file of docs/",
    ),
    "quiz-yaml": (yaml_block("quiz", "id: [one"), 3, "quiz:"),
    "quiz-twice": (yaml_block("quiz", CHOICE) + yaml_block("quiz", CHOICE), 12, "is taken"),
    "quiz-output": (
        yaml_block(
            "quiz",
            "id: o\nkind: output\nquestion: q\nwhy: w\ncode: print(3)\noptions: [{option: 4}]",
        ),
        3,
        "prints '3'",
    ),
    "prediction-without-end": (
        yaml_block("quiz", PREDICTION),
        0,
        "predict end",
    ),
    "checklist": (yaml_block("checklist", "text: not a list"), 3, "YAML list"),
    "source-name": (f"{FENCE}source minimind.config.NoSuchThing\n{FENCE}\n", 3, "has no NoSuchThing"),
    "diagram": (yaml_block("diagram", "here: engine-room"), 3, "unknown part engine-room"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """One build, without --strict, of a site in which each page has one mistake."""
    site = MiniSite(tmp_path_factory.mktemp("broken"))
    site.write("index.md", "# Fine\n\n" + block("print(1)"))
    for name, (text, _, _) in MISTAKES.items():
        site.write(f"{name}.md", f"# {name}\n\n{text}")
    result = site.build()
    return result.status, result.log


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_page_and_line(broken: tuple[int, str], name: str) -> None:
    _, line, words = MISTAKES[name]
    where = f"docs/{name}.md:{line}: " if line else f"docs/{name}.md: "
    found = [row for row in broken[1].splitlines() if where in row]
    assert found, broken[1]
    after = broken[1][broken[1].index(where) :][:700]
    assert words in after


def test_mistakes_fail_the_build_without_strict(broken: tuple[int, str]) -> None:
    assert broken[0] != 0
    assert "docs/index.md" not in broken[1], "the page without a mistake is accused"
    assert re.search(r"claims: 0 of 1 hold", broken[1])


@pytest.mark.parametrize(
    "name", ["claim", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latex", "not-a-fence"))]
)
def test_one_mistake_is_enough(tmp_path: Path, name: str) -> None:
    site = MiniSite(tmp_path).write("index.md", f"# Page\n\n{MISTAKES[name][0]}")
    result = site.build()
    assert result.status != 0, result.log
    assert not (site.site / "index.html").exists()


def test_a_path_whose_page_is_missing_fails(tmp_path: Path) -> None:
    paths = tmp_path / "paths.yml"
    paths.write_text(
        "quick: {title: Quick, icon: material/school, time: t, goal: g, best_for: b,"
        " steps: [{title: Gone, page: gone.md, minutes: 5}]}"
    )
    result = MiniSite(tmp_path / "w").write("index.md", "# Home\n").build(paths=paths)
    assert result.status != 0
    assert "there is no page gone.md" in result.log


def test_an_error_in_a_snippet_names_the_snippet_too(tmp_path: Path) -> None:
    page = block('--8<-- "tests/site/snippet_that_fails.py:work"\nz = 1')
    result = MiniSite(tmp_path).write("index.md", f"# Page\n\n{page}").build()
    assert "docs/index.md:3: (tests/site/snippet_that_fails.py:8)" in result.log, result.log


FALSE_CLAIMS = """from minimind.course.experiment import claim
x = 0.25
claim('pigs fly', x > 0.5)
claim('water is wet', x < 0.5)
claim('fire is cold',
      x < 0.125)"""


def test_every_false_claim_is_listed_with_its_values(tmp_path: Path) -> None:
    """Also the one after the first, and those of a block that ends with an error or is replayed from the cache."""
    site = MiniSite(tmp_path).write("index.md", f"# Page\n\n{block(FALSE_CLAIMS)}\n<!-- claims -->\n")
    site.write("error.md", "# Error\n\n" + block(FALSE_CLAIMS.replace("pigs", "cows") + "\nx / 0"))
    site.write("included.md", "# Included\n\n" + block('--8<-- "tests/site/snippet_that_fails.py:claim"'))
    for _ in range(2):
        result = site.build()
        assert result.status != 0
        for line in (
            "docs/index.md:6: claim does not hold: pigs fly\n    measured: x = 0.25, expected > 0.5",
            "docs/index.md:8: claim does not hold: fire is cold\n    measured: x = 0.25, expected < 0.125",
            "docs/error.md:6: claim does not hold: cows fly",
            "docs/error.md:3: ZeroDivisionError: float division by zero",
            "docs/included.md:3: (tests/site/snippet_that_fails.py:14) claim does not hold: two is three\n"
            "    measured: two = 2, expected == 3",
        ):
            assert line in result.log, result.log
        assert "claims: 2 of 7 hold" in result.log


def test_a_lab_that_raises_fails(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", "# Home\n")
    site.write("labs/lab.py", "# %% [markdown]\n# # Lab\n\n# %%\nraise ValueError('deep water')\n")
    claims = FALSE_CLAIMS.replace("\n", "\n\n# %%\n", 2)
    site.write("labs/second.py", f"# %% [markdown]\n# # Lab\n\n# %%\n{claims}\nprint('the end')\n")
    result = site.build()
    assert result.status != 0
    assert "docs/labs/lab.py: ValueError: deep water" in result.log
    for line in (
        "docs/labs/second.py:11: claim does not hold: pigs fly\n    measured: x = 0.25, expected > 0.5",
        "docs/labs/second.py:13: claim does not hold: fire is cold\n    measured: x = 0.25, expected < 0.125",
        "claims: 1 of 3 hold",
    ):
        assert line in result.log, result.log


# --- What blocks do ----------------------------------------------------------------------


SCRIPT = """import sys
if __name__ == '__main__':
    print('args', sys.argv[1:])
def f():
    return y
y = 5
print(f())
sys.exit(0)"""
NUMBER_QUIZ = "id: n\nkind: number\nquestion: q\nanswer: '[[= x ]]'\nwhy: It is [[= x ]]."
PROSE = r"""
| a | b |
|---|---|
| [[= x | .3f ]] | [[~ x ]] |

??? note
    Folded [[= x + 1 ]].

`\[[= x ]]`

"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A site without a mistake."""
    site = MiniSite(tmp_path_factory.mktemp("good"))
    script = block(SCRIPT, 'session="s" args="--depth 50"')
    site.write("script.md", f"# Script\n\n{script}\nThen [[= y | .1f ]] and [[= '<b>' ]].\n")
    plot = block(PLOT + "\nx = 2", 'session="s" alt="A rising line" caption="It ends at [[= x ]]."')
    site.write("values.md", f"# Values\n\n{plot}{PROSE}{yaml_block('quiz', NUMBER_QUIZ)}")
    site.write(
        "one.md", "# 1\n\n" + block("import torch\ntorch.set_grad_enabled(False)\nsecret = torch.rand(1)")
    )
    seen = "import torch\nprint('secret' in globals(), torch.is_grad_enabled(), torch.rand(1))"
    site.write("two.md", "# 2\n\n" + block(seen))
    result = site.build("--strict")
    assert result.status == 0, result.log
    return result


def test_a_block_runs_as_a_script_does(good: Result) -> None:
    html = good.page("script/index.html")
    assert "args ['--depth', '50']" in html.replace("&#39;", "'")
    assert "Then 5.0 and &lt;b&gt;." in html


def test_values_stand_wherever_prose_does(good: Result) -> None:
    html = good.page("values/index.html")
    for expected in (
        "It ends at 2.",
        "<td>2.000</td>",
        "Folded 3.",
        "[[= x ]]",
        'data-answer="2"',
        "It is 2.",
    ):
        assert expected in html
    assert 'class="mm-measured" title="measured on the machine that built this page">2<' in html
    assert "mmvalue" not in html


def test_a_link_in_a_question_leads_to_the_built_page(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", "# Home\n").write("sub/other.md", "# Other\n\n## Part\n")
    linked = CHOICE.replace("Because", "See [there](other.md#part) and [home](../index.md)")
    result = site.write("sub/page.md", f"# Page\n\n{yaml_block('quiz', linked)}").build()
    assert result.status == 0, result.log
    page = result.page("sub/page/index.html")
    assert 'href="../other/#part"' in page
    assert '<a href="../..">home</a>' in page or '<a href="../../">home</a>' in page


def test_figures_follow_the_scheme(good: Result) -> None:
    html = good.page("values/index.html")
    svg = html[html.index('<figure class="mm-figure"><svg') :]
    svg = svg[: svg.index("</svg>")]
    assert 'aria-label="A rising line"' in svg
    assert "var(--mm-blue" in svg
    assert "currentColor" in svg
    assert "<metadata" not in svg


def test_sessions_do_not_leak_into_the_next_page(good: Result) -> None:
    html = good.page("two/index.html")
    assert "False True tensor([0.4963])" in html, "variables, gradients off, or the random state came along"


def test_claims_are_counted_listed_and_replayed(tmp_path: Path) -> None:
    site = MiniSite(tmp_path)
    claim = "from minimind.course.experiment import claim\nclaim('water is <wet>', True)\nclaim('fire is hot', True)"
    site.write("index.md", "# Home\n\n<!-- claims -->\n")
    site.write("facts.md", "# Facts\n\n" + block(claim))
    for hits in (0, 1):
        result = site.build("--strict")
        assert "claims: 2 of 2 hold" in result.log
        assert f"blocks: {hits} from the cache" in result.log
        assert "<td>water is &lt;wet&gt;</td>" in result.page()
        assert 'href="facts/"' in result.page()
        claims = json.loads(result.page("claims.json"))
        assert claims == {"facts.md": [["water is <wet>", True], ["fire is hot", True]]}


# --- The cache ---------------------------------------------------------------------------


def counts(log: str) -> tuple[int, int]:
    match = re.search(r"blocks: (\d+) from the cache, (\d+) run", log)
    assert match, log
    return int(match[1]), int(match[2])


def test_an_edit_runs_what_comes_after_it_and_only_that(tmp_path: Path) -> None:
    site = MiniSite(tmp_path)
    first, second, third = "a = 1\nprint(a)", "b = a + 1\nprint(b)", "print('c', b)"
    page = "# P\n\n{}\n{}\n{}\n[[= b ]]\n"
    site.write("index.md", page.format(block(first), block(second), block(third)))
    assert counts(site.build().log) == (0, 3)
    site.write("index.md", page.format(block(first), block(second.replace("+ 1", "+ 10")), block(third)))
    result = site.build()
    assert counts(result.log) == (1, 2)
    assert "c 11" in result.page()
    assert "<p>11</p>" in result.page()
    site.write("index.md", page.format("Some words.\n\n" + block(first), block(second), block(third)))
    assert counts(site.build().log) == (3, 0), "undoing an edit is free, and prose is not code"


def test_only_a_live_page_sees_the_model_of_this_build(tmp_path: Path) -> None:
    site = MiniSite(tmp_path)
    model = tmp_path / "cache" / "model" / "pretrain" / "config.json"
    model.parent.mkdir(parents=True)
    code = "from pathlib import Path\nprint('sees', *[path.read_text() for path in Path('runs').glob('*/*')])"
    site.write("index.md", f"# Plain\n\n{block(code)}")
    site.write("live.md", f"---\nlive: true\n---\n\n# Live\n\n{block(code)}")
    site.write("plain.md", f"# Plain\n\n{block(code)}")
    for text, hits in (("first", 1), ("second", 2)):  # the two plain pages share a result
        model.write_text(text)
        result = site.build()
        assert result.status == 0, result.log
        assert f"sees {text}\n" in result.page("live/index.html")
        assert "sees\n" in result.page()
        assert counts(result.log) == (hits, 3 - hits)
