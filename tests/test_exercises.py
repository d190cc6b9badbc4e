"""Every exercise: the solution passes, every planted mistake is named, and whatever a reader writes gets a sentence."""

import ast
import json
import re

import pytest

from minimind.cli import main
from minimind.errors import UserError
from minimind.exercises.catalog import MODULES, NAMES, find_task
from minimind.exercises.checker import agrees, check, diagnose, difference, outcomes_of, run_apart

MISTAKES = [(name, number) for name in NAMES for number in range(len(find_task(name).mistakes))]


@pytest.fixture(scope="module")
def right():
    return {name: outcomes_of(find_task(name), find_task(name).solved()) for name in NAMES}


def test_there_are_enough():
    assert len(NAMES) >= 18
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_whole(name):
    task = find_task(name)
    assert task.name == name == task.solution.__name__
    assert name in MODULES[task.module]
    assert len(task.mistakes) >= 6
    assert len({mistake.words for mistake in task.mistakes}) == len(task.mistakes)
    assert len(task.hints) == len(set(task.hints)) == 3
    assert all(len(hint) > 20 for hint in task.hints)
    assert 3 <= task.minutes <= 30
    assert task.title[0].isupper()
    assert not any(property.words.endswith(".") for property in task.properties)
    for mistake in task.mistakes:
        assert not mistake.words[0].isupper()  # "This is what you would get if …"
        assert not mistake.words.endswith(".")
        assert mistake.look[0].isupper() or not mistake.look[0].isalpha() or mistake.look[0] == "√"
        assert mistake.look.endswith((".", "?"))


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_does_what_it_says_on_every_case(name, right):
    task = find_task(name)
    for outcome in right[name]:
        assert "value" in outcome, outcome
        assert not outcome["changed"]
        assert not outcome["printed"]
    again = outcomes_of(task, task.solved())
    assert all(map(agrees, again, right[name]))


@pytest.mark.parametrize(("name", "number"), MISTAKES)
def test_a_planted_mistake_is_named(name, number):
    """And no other: two mistakes that give the same answers everywhere would be one mistake."""
    task = find_task(name)
    mistake = task.mistakes[number]
    assert diagnose(task, outcomes_of(task, task.wrong(mistake))) == [mistake]


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_file_is_checked_from_end_to_end(name, tmp_path):
    task = find_task(name)
    file = tmp_path / f"{name}.py"
    file.write_text(task.wrong(task.mistakes[0]), encoding="utf-8")
    verdict = check(task, file)
    assert not verdict.passed
    assert verdict.mistakes == [task.mistakes[0]]
    said = "\n".join(verdict.lines)
    assert f"This is what you would get if {task.mistakes[0].words}." in said
    assert "fails" in said


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_file_has_signature_and_docstring_and_no_body(name, right):
    task = find_task(name)
    (function,) = [node for node in ast.parse(task.start()).body if isinstance(node, ast.FunctionDef)]
    assert function.name == name
    assert len(function.body) == 2
    assert "Returns:" in (ast.get_docstring(function) or "")
    outcomes = outcomes_of(task, task.start())
    assert not all(map(agrees, outcomes, right[name]))
    assert "gives None; write its body" in " ".join(difference(task, outcomes[0], right[name][0]))


def test_two_mistakes_at_once_are_both_named():
    task = find_task("rms_norm")
    by_words = {mistake.words: mistake for mistake in task.mistakes}
    both = [by_words["the squares were summed, not averaged"], by_words["the weight were left out"]]
    assert diagnose(task, outcomes_of(task, task.wrong(*both))) == both


READERS = [
    ("x32 = x.float()", "while True: pass", "did not come to an end in 2 seconds"),
    ("x32 = x.float()", "x32 = undefined", "NameError in line 18: name 'undefined' is not defined"),
    ("x32 = x.float()", "import os; os._exit(3)", "ended the process here (exit status 3)"),
    ("x32 = x.float()", "raise SystemExit", "SystemExit in line 18"),
    ("x32 = x.float()", "input(); x32 = x", "EOFError in line 18"),
    ("x32 = x.float()", "x32 = x.mul_(2).float()", "the argument x was changed; work on a copy"),
    ("x32 = x.float()", "print('here I am'); x32 = x.float() + 1", "it printed 'here I am'"),
    ("return (normalized * weight).to(x.dtype)", "pass", "gives None; write its body"),
    (
        "return (normalized * weight).to(x.dtype)",
        "return normalized[..., :1]",
        "the shape is (1,), it should be (2,)",
    ),
    ("return (normalized * weight).to(x.dtype)", "return normalized.double()", "the dtype is torch.float64"),
    ("return (normalized * weight).to(x.dtype)", "return normalized / 0 * 0", "there is a NaN in it"),
    ("return (normalized * weight).to(x.dtype)", "return normalized.tolist()", "yours    (0.8"),
    ("return (normalized * weight).to(x.dtype)", "return normalized.numpy()", "ndarray"),
    ("def rms_norm", "def rmsnorm", "there is no function rms_norm; keep the name"),
    ("def rms_norm(x: Tensor, weight: Tensor,", "def rms_norm(x: Tensor,", "TypeError"),
    ("import torch\n", "import torsh\n", ":1: Python cannot run this file: ModuleNotFoundError"),
    ("x32 = x.float()", "x32 = (x.float()", "Python cannot run this file: SyntaxError"),
    ("import torch\n", "while True: pass\n", "did not come to an end in 2 seconds"),
    ("import torch\n", "import os; os._exit(5)\n", "ended the process here (exit status 5)"),
]


@pytest.mark.parametrize(("old", "new", "words"), READERS)
def test_whatever_a_reader_writes_gets_a_sentence(tmp_path, old, new, words):
    task = find_task("rms_norm")
    text = task.solved()
    assert old in text
    file = tmp_path / "rms_norm.py"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    verdict = check(task, file, seconds=2)
    assert not verdict.passed
    assert words in "\n".join(verdict.lines)
    assert "Traceback" not in "\n".join(verdict.lines)
    assert "minimind/exercises" not in "\n".join(verdict.lines)


def test_a_file_that_is_not_utf8_gets_a_sentence(tmp_path):
    file = tmp_path / "rms_norm.py"
    file.write_bytes(b"\xff\xfe")
    (line,) = check(find_task("rms_norm"), file).lines
    assert "cannot run this file" in line


def test_a_readers_file_may_import_another_of_theirs(tmp_path):
    (tmp_path / "mine.py").write_text("def half(x):\n    return x / 2\n")
    task = find_task("rms_norm")
    text = task.solved().replace("x32 = x.float()", "from mine import half; x32 = half(x.float()) * 2")
    (tmp_path / "rms_norm.py").write_text(text, encoding="utf-8")
    assert check(task, tmp_path / "rms_norm.py").passed


def test_the_check_does_not_see_what_the_process_keeps(tmp_path):
    """A function that is right the first time alone is not right."""
    text = "called = []\n" + find_task("rms_norm").solved().replace(
        "x32 = x.float()", "called.append(1); x32 = x.float() * (1 if len(called) < 3 else 0)"
    )
    (tmp_path / "rms_norm.py").write_text(text, encoding="utf-8")
    outcomes = run_apart(find_task("rms_norm"), tmp_path / "rms_norm.py", 10)
    assert len(outcomes) == sum(len(property.cases) for property in find_task("rms_norm").properties)
    assert not check(find_task("rms_norm"), tmp_path / "rms_norm.py").passed


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match=r"no exercise 'rms-nrm'; did you mean rms_norm\?"):
        find_task("rms-nrm")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(capsys, *given):
    status = main(["exercise", *given])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_way_of_a_reader(here, capsys, monkeypatch):
    assert say(capsys, "list")[0] == 0
    assert not list(here.iterdir())  # looking at the list writes nothing
    assert say(capsys, "start", "rms-norm")[0] == 0
    file = here / "exercises" / "rms_norm.py"
    empty = file.read_text(encoding="utf-8")
    file.write_text(empty + "# mine\n", encoding="utf-8")
    status, _, err = say(capsys, "start", "rms_norm")
    assert status == 2
    assert "is there already" in err
    assert file.read_text(encoding="utf-8").endswith("# mine\n")  # never overwritten

    status, out, _ = say(capsys, "check", "rms_norm")
    assert status == 1
    assert "not right yet" in out
    hints = [say(capsys, "hint", "rms_norm")[1] for _ in range(4)]
    assert [re.match(r"hint (\d) of 3: ", hint)[1] for hint in hints] == ["1", "2", "3", "3"]

    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert "rsqrt" not in say(capsys, "solution", "rms_norm")[1]
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert "rsqrt" in say(capsys, "solution", "rms_norm")[1]

    file.write_text(find_task("rms_norm").solved(), encoding="utf-8")
    status, out, _ = say(capsys, "check", "rms_norm")
    assert status == 0
    assert out.endswith("passed\n")
    states = {row["name"]: row["state"] for row in json.loads(say(capsys, "list", "--json")[1])}
    assert states["rms_norm"] == "passed"
    assert set(states.values()) == {"passed", "open"}
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert "[~] rms_norm" in say(capsys, "list")[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["check", "rms_norm"], "not found; `minimind exercise start rms_norm` makes it"),
        (["check"], "which one? minimind exercise check NAME"),
        (["chek", "rms_norm"], "invalid choice 'chek'"),
        (["start", "nothing"], "no exercise 'nothing'"),
        (["list", "rms_norm"], "leave 'rms_norm' out"),
    ],
)
def test_bad_commands_of_exercises(here, capsys, given, words):
    status, _, err = say(capsys, *given)
    assert status == 2
    assert err.count("\n") == 1
    assert words in err


def test_damaged_progress(here, capsys):
    (here / "exercises").mkdir()
    (here / "exercises" / "progress.json").write_text("[1")
    status, _, err = say(capsys, "list")
    assert status == 2
    assert "progress.json: damaged" in err
