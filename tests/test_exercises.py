"""Every exercise: the solution passes, every planted mistake is named, and whatever a reader writes gets a sentence."""

import ast
import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch

from minimind.cli import main
from minimind.config import PRESETS, ModelConfig
from minimind.course.exercises import solved
from minimind.course.exercises.catalog import MODULES, NAMES, find_task
from minimind.course.exercises.checker import (
    agrees,
    check,
    diagnose,
    difference,
    equal,
    outcomes_of,
    run_apart,
    tolerances,
)
from minimind.course.exercises.desk import Desk
from minimind.course.exercises.runner import outcome_of
from minimind.course.exercises.task import function_of
from minimind.course.exercises.train import NEEDED, own_functions, race
from minimind.errors import UserError
from minimind.model import MiniMind, load

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
def test_a_planted_mistake_is_named(name, number, right):
    """And no other: two mistakes that give the same answers everywhere would be one mistake."""
    task = find_task(name)
    mistake = task.mistakes[number]
    wrong = outcomes_of(task, task.wrong(mistake))
    assert not all(map(agrees, wrong, right[name], tolerances(task)))  # it fails
    assert diagnose(task, wrong) == [mistake]


# A process for each takes some seconds; these two take and give what the others do.
IN_A_PROCESS = {"causal_mask", "language_model"}


@pytest.mark.parametrize(
    "name",
    [name if name in IN_A_PROCESS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
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


# What a reader may write, and the words of the sentence about it. Each takes a process and some seconds: those of
# the second list take the same way through the check as one of the first.
READERS = [
    ("x32 = x.float()", "while True: pass", "did not come to an end in 2 seconds"),
    ("x32 = x.float()", "x32 = undefined", "NameError in line 18: name 'undefined' is not defined"),
    ("x32 = x.float()", "import os; os._exit(3)", "ended the process here (exit status 3)"),
    ("x32 = x.float()", "x32 = x.mul_(2).float()", "the argument x was changed; work on a copy"),
    ("x32 = x.float()", "print('here I am'); x32 = x.float() + 1", "it printed 'here I am'"),
    ("return (normalized * weight).to(x.dtype)", "pass", "gives None; write its body"),
    ("def rms_norm", "def rmsnorm", "there is no function rms_norm; keep the name"),
    ("import torch\n", "import torsh\n", ":1: Python cannot run this file: ModuleNotFoundError"),
]
READERS_ALIKE = [
    ("x32 = x.float()", "raise SystemExit", "SystemExit in line 18"),
    ("x32 = x.float()", "input(); x32 = x", "EOFError in line 18"),
    (
        "x32 = x.float()",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])",
        "did not come to an end in 2 seconds",
    ),
    (
        "return (normalized * weight).to(x.dtype)",
        "return normalized[..., :1]",
        "the shape is (1,), it should be (2,)",
    ),
    ("return (normalized * weight).to(x.dtype)", "return normalized.double()", "the dtype is torch.float64"),
    ("return (normalized * weight).to(x.dtype)", "return normalized / 0 * 0", "there is a NaN in it"),
    ("return (normalized * weight).to(x.dtype)", "return normalized.tolist()", "yours    (0.8"),
    (
        "return (normalized * weight).to(x.dtype)",
        "return normalized.numpy()",
        "a value of type numpy.ndarray",
    ),
    ("return (normalized * weight).to(x.dtype)", "import numpy; return numpy.float64(1.5)", "yours    1.5"),
    ("def rms_norm(x: Tensor, weight: Tensor,", "def rms_norm(x: Tensor,", "TypeError"),
    ("x32 = x.float()", "x32 = (x.float()", "Python cannot run this file: SyntaxError"),
    ("import torch\n", "while True: pass\n", "did not come to an end in 2 seconds"),
    ("import torch\n", "import os; os._exit(5)\n", "ended the process here (exit status 5)"),
]


@pytest.mark.parametrize(
    ("old", "new", "words"), READERS + [pytest.param(*row, marks=pytest.mark.slow) for row in READERS_ALIKE]
)
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
    assert "course/exercises" not in "\n".join(verdict.lines)


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


@pytest.mark.parametrize("name", solved.PIECES)
def test_a_piece_that_later_exercises_build_on_is_a_solution(name):
    assert getattr(solved, name) is find_task(name).solution


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        (
            "transformer_block",
            [
                "rms_norm",
                "rope_frequencies",
                "apply_rope",
                "causal_mask",
                "grouped_query_attention",
                "swiglu",
            ],
        ),
        ("language_model", ["rms_norm", "transformer_block"]),
    ],
)
def test_a_readers_own_pieces_can_stand_in_for_ours(name, pieces):
    """By the names at the top of the reader's file."""
    task = find_task(name)
    assert "from minimind.course.exercises.solved import" in task.start()
    function = function_of(task.solved(), name, f"<{name}>")
    called = set()

    def listened(piece):
        def own(*given):
            called.add(piece)
            return getattr(solved, piece)(*given)

        return own

    for piece in pieces:
        assert function.__globals__[piece] is getattr(solved, piece)
        function.__globals__[piece] = listened(piece)
    function(**task.properties[-1].cases[-1])
    assert called == set(pieces)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "changes", [{}, {"qk_norm": False}, {"tie_word_embeddings": False}, {"head_dim": 26}]
)
def test_count_parameters_gives_what_our_model_counts(preset, changes):
    config = ModelConfig.preset(preset, **changes)
    with torch.device("meta"):
        counted = MiniMind(config).num_parameters()
    assert find_task("count_parameters").solution(vars(config)) == counted


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("head_dim", [8, 10])
def test_language_model_is_our_model(tied, qk_norm, head_dim):
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        intermediate_size=48,
        vocab_size=50,
        tie_word_embeddings=tied,
        qk_norm=qk_norm,
    )
    model = MiniMind(config).eval()
    for weight in model.parameters():
        # Wide enough that every part has its say.
        torch.nn.init.normal_(weight, mean=float(weight.dim() == 1), std=0.2)
    input_ids = torch.randint(50, (2, 20))
    expected = model(input_ids).logits
    logits = find_task("language_model").solution(input_ids, model.state_dict(), config.to_hugging_face())
    assert expected.std() > 1
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_language_model_takes_our_model_for_right():
    """Its answers differ from ours by rounding, and the check lets that pass."""

    def ours(input_ids, weights, config):
        qk_norm = any("q_norm" in name for name in weights)
        model = MiniMind(
            ModelConfig(**config, qk_norm=qk_norm, tie_word_embeddings="lm_head.weight" not in weights)
        )
        model = model.to(weights["model.norm.weight"].dtype)
        model.load_state_dict({"lm_head.weight": weights["model.embed_tokens.weight"], **weights})
        return model(input_ids).logits

    solution = find_task("language_model").solution
    for property in find_task("language_model").properties[1:]:
        for case in property.cases:
            assert equal(ours(**case), solution(**case), property.tolerance)


def test_next_token_loss_may_be_cross_entropy():
    task = find_task("next_token_loss")

    def short(logits, input_ids):
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), input_ids[:, 1:].flatten()
        )

    for property in task.properties:
        for case in property.cases:
            assert agrees(outcome_of(short, property, case), outcome_of(task.solution, property, case))


def test_multi_head_attention_may_be_pytorchs_kernel():
    task = find_task("multi_head_attention")

    def kernel(x, w_q, w_k, w_v, w_o, num_heads):
        q, k, v = (
            torch.nn.functional.linear(x, w).unflatten(-1, (num_heads, -1)).transpose(1, 2)
            for w in (w_q, w_k, w_v)
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.nn.functional.linear(out.transpose(1, 2).flatten(2), w_o)

    for property in task.properties:
        for case in property.cases:
            assert agrees(outcome_of(kernel, property, case), outcome_of(task.solution, property, case))


def test_the_page_lists_every_exercise_in_order():
    page = (Path(__file__).parents[1] / "docs" / "exercises.md").read_text(encoding="utf-8")
    said = re.findall(r'- \{id: exercise-([\w-]+), text: "`(\w+)` \((\d+) min(, extra)?\): (.*)"\}', page)
    assert [name for _, name, *_ in said] == list(NAMES)
    for identity, name, minutes, extra, title in said:
        task = find_task(name)
        assert identity == name.replace("_", "-")
        assert (int(minutes), not extra, title) == (task.minutes, task.core, task.title.replace('"', "'"))


@pytest.fixture
def passed(tmp_path):
    """A desk on which all parts of the model lie, solved."""
    desk = Desk(tmp_path / "exercises")
    for name in NEEDED:
        desk.start(find_task(name))
        desk.file(name).write_text(find_task(name).solved(), encoding="utf-8")
        desk.passed(find_task(name))
    return desk


def test_a_model_of_passed_parts_learns_as_ours_does(passed, capsys):
    assert main(["exercise", "train", "--folder", str(passed.folder), "--seconds", "1"]) == 0
    assert "held-out perplexity: yours" in capsys.readouterr().out
    result = race(passed, 1)
    assert len(result.yours) == len(result.ours) >= 3
    assert result.yours[:10] == pytest.approx(result.ours[:10], abs=1e-3)
    assert result.yours[-1] < result.yours[0]
    assert (passed.folder / "own_model" / "curve.png").stat().st_size > 5000
    model, tokenizer = load(passed.folder / "own_model")
    assert model.config.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize(
    "name",
    ["swiglu", "next_token_loss"]
    + [
        pytest.param(name, marks=pytest.mark.slow) for name in ("rms_norm", "apply_rope", "transformer_block")
    ],
)
def test_the_model_is_made_of_the_readers_own_parts(passed, name):
    """A part with a mistake in it, however it came to count as passed, makes another curve."""
    task = find_task(name)
    words = {"swiglu": "gate", "rms_norm": "squares were summed", "apply_rope": "backwards",
             "next_token_loss": "bits", "transformer_block": "values were turned"}[name]  # fmt: skip
    mistake = next(mistake for mistake in task.mistakes if words in mistake.words)
    text = task.wrong(mistake)
    if name in ("rms_norm", "apply_rope", "swiglu"):  # such mistakes make no difference at the first step
        text = text.replace("    return ", "    return 1.5 * ", 1)
    passed.file(name).write_text(text, encoding="utf-8")
    passed.passed(task)
    result = race(passed, 0.5)
    assert max(abs(yours - ours) for yours, ours in zip(result.yours, result.ours, strict=True)) > 1e-2


def test_a_part_that_was_changed_since_it_passed_is_named(passed, capsys):
    file = passed.file("swiglu")
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert main(["exercise", "train", "--folder", str(passed.folder)]) == 2
    assert (
        "8 of the 9 parts are passed; changed since they passed, check them again: swiglu"
        in capsys.readouterr().err
    )


def test_parts_that_import_each_other_are_the_readers(passed):
    """`from rms_norm import rms_norm`, as the page says."""
    block = passed.file("transformer_block")
    text = block.read_text(encoding="utf-8").replace("rms_norm, ", "", 1)
    assert "rms_norm" not in text.split("def ")[0]
    block.write_text("from rms_norm import rms_norm\n" + text, encoding="utf-8")
    assert check(find_task("transformer_block"), block).passed
    passed.passed(find_task("transformer_block"))
    functions = own_functions(passed)
    assert functions["transformer_block"].__globals__["rms_norm"] is functions["rms_norm"]


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "rms_norm.py"
    file.write_text(find_task("rms_norm").solved(), encoding="utf-8-sig")
    assert check(find_task("rms_norm"), file).passed


def test_a_broken_file_that_is_imported_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("x = (\n")
    (tmp_path / "rms_norm.py").write_text("import mine\n" + find_task("rms_norm").solved(), encoding="utf-8")
    (line,) = check(find_task("rms_norm"), tmp_path / "rms_norm.py").lines
    assert "mine.py:1: Python cannot run this file: SyntaxError" in line


def test_nothing_that_a_reader_started_goes_on(tmp_path):
    """A child of the reader's code writes on and on; once the check is over it must have stopped."""
    sign = tmp_path / "sign"
    child = f"import time\nfor _ in range(500): time.sleep(0.02); open({str(sign)!r}, 'a').write('x')"
    started = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    text = find_task("rms_norm").solved()
    text = text.replace("x32 = x.float()", f"{started}\n    while not os.path.exists({str(sign)!r}): pass")
    (tmp_path / "rms_norm.py").write_text(text, encoding="utf-8")
    if sys.platform == "win32":
        pytest.skip("Windows knows no process groups")
    check(find_task("rms_norm"), tmp_path / "rms_norm.py")
    written = sign.stat().st_size
    assert written
    time.sleep(1)
    assert sign.stat().st_size == written


def test_a_gradient_that_does_not_arrive_is_named_and_one_that_differs_by_rounding_is_not():
    task = find_task("swiglu")
    cut = task.solved().replace("return (gate * up) @ w_down.T", "return ((gate * up) @ w_down.T).data")
    (mistake,) = diagnose(task, outcomes_of(task, cut))
    assert "no gradient could pass" in mistake.words
    other = task.solved().replace(
        "return (gate * up) @ w_down.T", 'return torch.einsum("...f,df->...d", gate * up, w_down)'
    )
    right = outcomes_of(task, task.solved())
    assert all(map(agrees, outcomes_of(task, other), right, tolerances(task)))


def test_a_whole_number_is_not_a_float():
    assert not equal(3.0, 3)
    assert equal(3, 3.0)
    task = find_task("count_parameters")
    (first, *_), (right, *_) = (
        outcomes_of(task, text)
        for text in (task.solved().replace("return embedding +", "return 1.0 * embedding +"), task.solved())
    )
    assert difference(task, first, right)[-1] == "the type is float, it should be int"


def test_a_file_with_a_dataclass_and_postponed_annotations_runs():
    task = find_task("causal_mask")
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
    text = head + "@dataclass\nclass Place:\n    at: int\n\n\n" + task.solved()
    assert all(map(agrees, outcomes_of(task, text), outcomes_of(task, task.solved())))


def test_a_wrapped_part_uses_the_readers_others(passed):
    desk = passed
    file = desk.file("causal_mask")
    file.write_text(
        "import functools\n"
        + file.read_text(encoding="utf-8").replace("def causal", "@functools.cache\ndef causal"),
        encoding="utf-8",
    )
    block = desk.file("transformer_block")
    block.write_text(
        block.read_text(encoding="utf-8").replace("def transformer", "@torch.enable_grad()\ndef transformer"),
        encoding="utf-8",
    )
    for name in ("causal_mask", "transformer_block"):
        desk.passed(find_task(name))
    functions = own_functions(desk)
    inner = functions["transformer_block"].__wrapped__
    assert inner.__globals__["causal_mask"] is functions["causal_mask"]


def test_a_part_that_fails_in_the_training_is_named_by_file_and_line(passed, capsys):
    desk = passed
    file = desk.file("swiglu")
    file.write_text(
        file.read_text(encoding="utf-8").replace(
            "    gate = F.silu",
            '    if x.shape[0] != 2:\n        raise ValueError("too many rows")\n    gate = F.silu',
        ),
        encoding="utf-8",
    )
    desk.passed(find_task("swiglu"))
    assert main(["exercise", "train", "--folder", str(passed.folder), "--seconds", "1"]) == 2
    printed = capsys.readouterr().err
    assert "swiglu.py:" in printed
    assert "ValueError: too many rows" in printed
    assert "Traceback" not in printed


def test_a_part_without_gradients_is_refused_before_the_training(passed, capsys):
    desk = passed
    file = desk.file("language_model")
    file.write_text(
        file.read_text(encoding="utf-8").replace("def lang", "@torch.no_grad()\ndef lang"), encoding="utf-8"
    )
    desk.passed(find_task("language_model"))
    assert main(["exercise", "train", "--folder", str(passed.folder), "--seconds", "1"]) == 2
    assert "no gradient reaches model.embed_tokens.weight and 23 more" in capsys.readouterr().err


def test_a_place_that_cannot_hold_the_model_is_found_before_the_training(passed, capsys):
    (passed.folder / "own_model").write_text("a file", encoding="utf-8")
    assert main(["exercise", "train", "--folder", str(passed.folder), "--seconds", "600"]) == 2
    assert "own_model: cannot be written" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, capsys):
    (tmp_path / "exercises").write_text("a file", encoding="utf-8")
    assert main(["exercise", "list", "--folder", str(tmp_path / "exercises")]) == 2
    assert "a file stands where the folder of your exercises should be" in capsys.readouterr().err
