"""What a run can do by task, and how two runs compare on the same questions."""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from minimind import MiniMind, ModelConfig, load
from minimind.cli import main
from minimind.data import TokenStore, World
from minimind.data.world import HARD, TASKS
from minimind.errors import UserError
from minimind.evaluation import evaluate, report
from minimind.evaluation.tasks import compare_tasks, task_figures
from minimind.metrics import Reply, confidence_interval, paired_difference, tasks
from minimind.metrics.tasks import answer_tasks
from minimind.model import apply_lora, save_adapter
from minimind.settings import EvaluateSettings
from minimind.tokenizer import train_tokenizer
from minimind.training import answering

WRITE_CASES = World.cases
EASY = [task for task in TASKS if task not in HARD]


def write_run(folder: Path, run: dict[str, Any] | None, seed: int = 0) -> Path:
    """A tiny model that was never trained, with this run.json."""
    tokenizer = train_tokenizer(["The old cat sees a red house. Who sees the blue river?"], 270)
    torch.manual_seed(seed)
    model = MiniMind(ModelConfig(hidden_size=16, num_hidden_layers=1, vocab_size=tokenizer.vocab_size))
    model.save_pretrained(folder)
    tokenizer.save(folder)
    if run is not None:
        (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture(scope="module", autouse=True)
def cases_once() -> Iterator[None]:
    """Write each world's questions once; each test asks for them again."""
    kept = cache(lambda seed, task, count: WRITE_CASES(World(seed), task, count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "cases", lambda world, task, count=1000: kept(world.seed, task, count))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a pretrained run, one that was fine-tuned from it, and others."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "pretrain", {"settings": {"seed": 3, "data_path": None}})
    write_run(
        folder / "sft", {"settings": {"seed": 5, "from_weight": "pretrain"}, "data": {"world_seed": 3}}, 1
    )
    write_run(folder / "bare", None)
    return folder


def write_held_out(folder: Path, documents: list[list[int]]) -> None:
    """Leave held-out documents in a run's folder."""
    _, tokenizer = load(folder)
    TokenStore.write(folder / "data" / "held_out", documents, tokenizer.vocab_size, tokenizer.digest)
    stored = {"facts": {}, "bytes": [len(ids) for ids in documents], "nats": [None] * len(documents)}
    (folder / "data" / "corpus.json").write_text(json.dumps(stored))


class Oracle:
    """Answers in the place of `metrics.answer`: it knows the cases, and errs where it is told to."""

    def __init__(self, seed: int, count: int) -> None:
        cases = [case for task in TASKS for case in World(seed).cases(task, count)]
        self.cases = {json.dumps(case.messages): case for case in cases}
        self.wrong: dict[int, set[str]] = {}  # by the model's first weight, tasks
        self.endless: set[str] = set()
        self.asked: list[list[str]] = []

    def __call__(
        self, model: Any, tokenizer: Any, conversations: Any, show_progress: bool = False
    ) -> list[Reply]:
        self.asked.append([json.dumps(messages) for messages in conversations])
        wrong = self.wrong.get(mark_of(model), set())
        replies = []
        for number, key in enumerate(self.asked[-1]):
            case = self.cases[key]
            right = case.answers[number % 2]  # either style
            replies.append(Reply("no." if case.task in wrong else right, case.task not in self.endless))
        return replies


def mark_of(model: Any) -> float:
    """What tells the models of these tests apart."""
    return model.model.embed_tokens.weight[0, 0].item()


@pytest.fixture
def oracle(monkeypatch) -> Oracle:
    oracle = Oracle(seed=3, count=12)
    monkeypatch.setattr(tasks, "answer", oracle)
    return oracle


def test_each_answer_is_counted_for_its_task(oracle, runs):
    model, tokenizer = load(runs / "pretrain")
    oracle.wrong = {mark_of(model): {"facts", "backwards"}}
    oracle.endless = {"lists"}
    found = answer_tasks(model, tokenizer, World(3), 12)
    assert list(found) == list(TASKS)
    for task, answers in found.items():
        count = len(World(3).cases(task, 12))
        assert answers.right == [task not in ("facts", "backwards")] * count
        assert answers.ended == [task != "lists"] * count


def test_a_training_counts_as_the_evaluation_does(oracle, runs, monkeypatch):
    monkeypatch.setattr(answering, "CASES", 12)
    model, tokenizer = load(runs / "pretrain")
    oracle.wrong = {mark_of(model): {"sums", "backwards"}}
    found = answering.accuracy(model, tokenizer, World(3), ("facts", "lists", "sums", "backwards"))
    assert found["accuracy_by_task"] == {"facts": 1, "lists": 1, "sums": 0, "backwards": 0}
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_the_figures_are_those_of_the_answers():
    answers = {task: tasks.TaskAnswers([True] * 10, [True] * 10) for task in TASKS}
    answers["facts"] = tasks.TaskAnswers([True, False, False, True, False], [True, False, True, True, True])
    answers["long sums"] = tasks.TaskAnswers([False] * 10, [True] * 10)
    figures = task_figures(answers)
    low, high = confidence_interval(2, 5)
    assert figures["tasks"]["facts"] == {
        "correct": 2, "total": 5, "accuracy": 0.4, "low": low, "high": high, "chance": TASKS["facts"].chance,
    }  # fmt: skip
    assert figures["tasks"]["long sums"]["accuracy"] == 0
    # Each task alike, without the hard ones.
    assert figures["accuracy"] == pytest.approx((len(EASY) - 1 + 0.4) / len(EASY))
    assert figures["stop_rate"] == pytest.approx(1 - 1 / (10 * (len(TASKS) - 1) + 5))


def test_two_models_are_paired_by_question():
    good = {task: tasks.TaskAnswers([True, True, False]) for task in TASKS}
    poor = {task: tasks.TaskAnswers([True, False, False]) for task in TASKS}
    poor["sums"] = tasks.TaskAnswers([False, False, True])
    poor["backwards"] = tasks.TaskAnswers([False] * 3)
    found = compare_tasks(good, poor)
    assert found["tasks"]["facts"] == paired_difference([1, 1, 0], [1, 0, 0])._asdict()
    assert found["tasks"]["sums"] == paired_difference([1, 1, 0], [0, 0, 1])._asdict()
    assert found["tasks"]["backwards"]["difference"] == pytest.approx(2 / 3)
    # Of all questions but the hard ones: one of three in each task, the other way round in none but sums.
    assert found["all"]["difference"] == pytest.approx(1 / 3)
    better = len(EASY) + 1
    assert found["all"]["p"] == paired_difference([1] * better + [0], [0] * better + [1]).p


def test_a_fine_tuned_run_is_asked_about_the_world_that_its_model_knows(oracle, runs):
    found = evaluate(EvaluateSettings(str(runs / "sft"), documents=4, cases=12))
    assert found["asked_of"] == "the embedded world, seed 3"  # its own seed is 5, and orders its rows
    assert found["source"] == "the embedded world, seed 3 (held out)"
    assert found["accuracy"] == found["stop_rate"] == 1
    assert found["tasks"]["stories"]["total"] == 12
    base = evaluate(EvaluateSettings(str(runs / "pretrain"), documents=4))
    assert (base["tokens"], base["floor_perplexity"]) == (found["tokens"], found["floor_perplexity"])


def test_a_pretrained_run_is_asked_where_somebody_wants_it(oracle, runs):
    plain = evaluate(EvaluateSettings(str(runs / "pretrain"), documents=4))
    assert set(plain) == {
        "run", "source", "documents", "perplexity", "floor_perplexity", "bits_per_byte", "tokens",
    }  # fmt: skip
    assert oracle.asked == []
    assert (
        evaluate(EvaluateSettings(str(runs / "pretrain"), documents=4, cases=12, tasks=True))["accuracy"] == 1
    )


def test_a_model_without_a_run_is_asked_about_the_usual_world(runs, monkeypatch):
    monkeypatch.setattr(tasks, "answer", Oracle(seed=0, count=12))
    assert evaluate(EvaluateSettings(str(runs / "bare"), documents=4, cases=12, tasks=True))["accuracy"] == 1


@pytest.mark.parametrize(
    "run",
    [
        {"settings": {"from_weight": "pretrain", "data_path": "own.jsonl"}, "data": {"world_seed": None}},
        {"settings": {"from_weight": "pretrain", "data_path": "own.jsonl"}},
    ],
)
def test_a_run_that_knows_no_world_is_asked_nothing(oracle, tmp_path, run):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "The old cat."}\n')
    folder = write_run(tmp_path / "own", run)
    assert "tasks" not in evaluate(EvaluateSettings(str(folder), data_path=str(texts)))
    assert oracle.asked == []


def test_own_questions_and_answers_do_not_hide_what_was_forgotten(oracle, tmp_path):
    run = {"settings": {"from_weight": "pretrain", "data_path": "own.jsonl"}, "data": {"world_seed": 3}}
    folder = write_run(tmp_path / "own", run)
    assert "tasks" in evaluate(EvaluateSettings(str(folder), documents=4, cases=12))


def test_who_learned_the_questions_of_a_world_is_asked_them_whatever_came_before(oracle, tmp_path):
    facts = {"world_seed": None, "conversations_seed": 3}
    folder = write_run(
        tmp_path / "sft", {"settings": {"from_weight": "base", "data_path": None}, "data": facts}
    )
    write_held_out(folder, [[1, 5, 6, 2], [1, 7, 2]])
    found = evaluate(EvaluateSettings(str(folder), cases=12))
    assert (found["asked_of"], found["accuracy"]) == ("the embedded world, seed 3", 1)
    assert (found["source"], found["tokens"]) == ("what base was pretrained on (held out)", 5)


def test_where_no_document_of_the_pretraining_is_left_one_is_told_what_to_give(tmp_path, monkeypatch):
    settings = {"from_weight": "elsewhere", "data_path": "own.jsonl"}
    folder = write_run(tmp_path / "sft", {"settings": settings, "data": {"world_seed": None}})
    monkeypatch.setattr(sys.modules["minimind.evaluation.evaluate"], "read_held_out", lambda _: ([], {}))
    with pytest.raises(
        UserError, match=r"sft: what its model was pretrained on is not there; give --data-path$"
    ):
        evaluate(EvaluateSettings(str(folder)))


def test_two_runs_answer_the_same_questions(oracle, runs):
    ours, theirs = (mark_of(load(runs / name)[0]) for name in ("pretrain", "sft"))
    assert ours != theirs
    oracle.wrong = {ours: {"facts"}, theirs: {"sums"}}
    found = evaluate(
        EvaluateSettings(str(runs / "pretrain"), documents=4, cases=12, compare=str(runs / "sft"))
    )
    assert len(oracle.asked) == 2
    assert oracle.asked[0] == oracle.asked[1]
    compared = found["compare"]
    assert compared["run"] == str(runs / "sft")
    differences = {task: row["difference"] for task, row in compared["tasks"].items()}
    assert differences == {**dict.fromkeys(TASKS, 0), "facts": -1, "sums": 1}
    assert compared["all"]["difference"] == 0


def test_an_adapter_is_taken_on_before_anything_is_measured(oracle, runs, tmp_path):
    model, _ = load(runs / "sft")
    apply_lora(model, rank=2, alpha=4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.5)
    save_adapter(model, tmp_path / "adapter")
    settings = EvaluateSettings(str(runs / "sft"), documents=4, cases=12)
    without = evaluate(settings)
    settings.adapter = (str(tmp_path / "adapter"),)
    found = evaluate(settings)
    assert found["adapters"] == list(settings.adapter)
    assert abs(found["perplexity"] / without["perplexity"] - 1) > 1e-3
    pretrained = EvaluateSettings(str(runs / "pretrain"), documents=4, cases=12, adapter=settings.adapter)
    assert evaluate(pretrained)["accuracy"] == 1  # with an adapter it has learned to answer


def test_the_command_prints_a_table(oracle, runs, capsys):
    ours = mark_of(load(runs / "sft")[0])
    oracle.wrong = {ours: {"facts", "long sums"}}
    oracle.endless = {"facts"}
    command = [
        "evaluate",
        str(runs / "sft"),
        "--documents",
        "4",
        "--cases",
        "12",
        "--compare",
        str(runs / "pretrain"),
    ]
    assert main(command) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1].startswith("perplexity")
    assert "stories 12 of 12 100.0% 75.8% to 100.0% 20%" in lines
    assert "facts 0 of 12 0.0% 0.0% to 24.2% 5%" in lines
    assert f"mean {(len(EASY) - 1) / len(EASY):.1%}" in lines
    assert lines.index("hard ones, apart") < lines.index("long sums 0 of 12 0.0% 0.0% to 24.2% 2%")
    assert f"answers that it ended by itself: {1 - 12 / len(oracle.cases):.1%}" in lines
    assert any(line.startswith("facts -100.0 -100.0 to ") for line in lines)
    assert any(line.startswith("stories +0.0 ") and line.endswith(" 1") for line in lines)
    assert any(line.startswith("together -") for line in lines)


def test_a_perplexity_without_end_is_told_in_few_digits():
    measured = {
        "run": "somewhere", "source": "a file", "documents": 1, "tokens": 9, "bits_per_byte": 200.0,
        "perplexity": 1e120, "floor_perplexity": 2.0,
    }  # fmt: skip
    assert "  perplexity     > 1e+9   (floor 2.000)\n" in report(measured)


def test_the_command_prints_json(oracle, runs, capsys):
    assert main(["evaluate", str(runs / "sft"), "--documents", "4", "--cases", "12", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {
        "perplexity",
        "floor_perplexity",
        "bits_per_byte",
        "tokens",
        "tasks",
        "accuracy",
        "stop_rate",
    } <= set(found)
    assert set(found["tasks"]["facts"]) == {"correct", "total", "accuracy", "low", "high", "chance"}


def test_a_real_model_answers(runs):
    found = evaluate(EvaluateSettings(str(runs / "sft"), documents=4, cases=2))
    assert found["accuracy"] == 0
    assert found["tasks"]["unknown"]["total"] == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cases": 0}, "cases must be at least 1, got 0"),
        ({"compare": "nobody"}, "nobody: no such run"),
        ({"adapter": ("nowhere",)}, "nowhere"),
    ],
)
def test_a_mistake_is_one_line(runs, changes, words):
    with pytest.raises(UserError, match=words):
        evaluate(EvaluateSettings(str(runs / "sft"), documents=4, **changes))
