"""The benchmark compares like with like: the baseline computes what our model computes."""

import copy
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

import minimind.benchmark.busy as busy_module
from minimind import ModelConfig
from minimind.benchmark import VOCAB_SIZE, plain, report
from minimind.benchmark.busy import busy_process, busy_rows, worker
from minimind.benchmark.decode import Wrapped, decode_rows, wrap_linears
from minimind.benchmark.rounds import in_turn
from minimind.benchmark.train import ROW_LENGTH, random_documents, train_row
from minimind.cli import main
from minimind.errors import UserError
from minimind.model import MiniMind
from minimind.model.fast.step import can_step

CONFIG = ModelConfig(
    hidden_size=32, num_hidden_layers=2, vocab_size=60, num_attention_heads=4, num_key_value_heads=2
)


@pytest.fixture(scope="module")
def pair() -> tuple[MiniMind, plain.PlainModel]:
    torch.manual_seed(0)
    ours, baseline = MiniMind(CONFIG), plain.PlainModel(CONFIG)
    with torch.no_grad():
        for weight in ours.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.3)
    baseline.load_state_dict(ours.state_dict())
    return ours, baseline


def test_the_baseline_gives_our_logits_and_our_greedy_text(pair):
    ours, baseline = pair
    ids = torch.randint(0, 60, (2, 9))
    torch.testing.assert_close(baseline(ids)[0], ours(ids).logits, atol=1e-5, rtol=0)
    expected = ours.generate(ids, max_new_tokens=12, temperature=0, eos_token_id=None)
    assert torch.equal(baseline.generate(ids, 12), expected)


def test_both_arms_learn_the_same_from_the_same_documents(pair):
    from minimind.data import pack

    ours, baseline = pair
    documents = random_documents(12, 60, row_length=40)
    baseline.loss(*plain.padded_rows(documents, 40)).backward()
    packed = pack(documents, 40)
    ids, document_ids = torch.as_tensor(packed.input_ids), torch.as_tensor(packed.document_ids)
    ours(ids, labels=ids, document_ids=document_ids).loss.backward()
    for (name, mine), theirs in zip(ours.named_parameters(), baseline.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_padded_rows_are_filled_to_about_half():
    documents = random_documents(400, VOCAB_SIZE)
    fill = sum(len(document) for document in documents) / (400 * ROW_LENGTH)
    assert fill == pytest.approx(0.52, abs=0.02)


def test_arms_run_in_turn_and_the_median_counts(capsys):
    order = []
    speeds = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 4.0, 6.0])}

    def arm(name: str) -> float:
        order.append(name)
        return next(speeds[name])

    assert in_turn([lambda: arm("a"), lambda: arm("b")], 3, "test") == [2.0, 5.0]
    assert order == ["a", "b"] * 3
    assert "round 3 of 3" in capsys.readouterr().err


def test_rows_name_value_baseline_ratio_and_machine():
    rows = [train_row("tiny", CONFIG, random_documents(6, 60, 40), rounds=1, row_length=40)]
    rows += decode_rows("tiny", CONFIG, new_tokens=4, rounds=1)
    found = [row.as_dict() for row in rows]
    names = ["train tiny", "decode tiny fp32", "decode tiny bf16", "decode tiny fp32 wrapped"]
    assert [row["name"] for row in found] == names
    for row in found:
        assert row["ratio"] == row["value"] / row["baseline"]
        assert {"precision", "attention_path", "threads", "torch", "machine"} <= row.keys()
    assert torch.__version__ in report(found)
    assert found[3]["of_unwrapped"] == found[3]["value"] / found[1]["value"]
    assert f"{found[3]['of_unwrapped']:.0%} of the speed without wrappers" in report(found)


def test_the_wrapped_arm_has_no_linear_layer_that_is_not_wrapped_and_keeps_the_fast_path(pair):
    wrapped = wrap_linears(copy.deepcopy(pair[0]))
    holders = {
        name.rsplit(".", 1)[-1] for name, part in wrapped.model.named_modules() if type(part) is nn.Linear
    }
    assert holders == {"linear"}
    assert sum(isinstance(part, Wrapped) for part in wrapped.modules()) == 2 * 7
    assert can_step(wrapped)


# Beside other work.


def test_a_busy_process_keeps_a_core_busy_and_ends_with_its_context():
    with suppress(KeyboardInterrupt), busy_process() as process:
        stat = Path(f"/proc/{process.pid}/stat")
        waited = 0.0
        while (
            stat.exists() and waited < 30
        ):  # It needs seconds for its quarter of one if the machine is full.
            if int(stat.read_text().rsplit(")", 1)[1].split()[11]) > 0.25 * os.sysconf("SC_CLK_TCK"):
                break
            time.sleep(0.05)
            waited += 0.05
        assert waited < 30
        assert process.poll() is None
        raise KeyboardInterrupt
    assert process.poll() is not None


def test_busy_rows_compare_with_the_speed_alone(monkeypatch):
    now = set()
    speeds = {frozenset("1"): 100.0, frozenset("1b"): 60.0, frozenset("12"): 50.0}
    names = iter("12")

    class Fake:
        def __init__(self):
            self.name = next(names)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def start(self, seconds):
            now.add(self.name)

        def speed(self):
            found = speeds[frozenset(now | {"1", "2"} if len(now) == 2 and "b" not in now else now)]
            if self.name == "2" or "2" not in now:
                now.difference_update("12")
            return found + (10 if self.name == "2" else 0)  # the slower of two counts

    class Busy:
        def __enter__(self):
            now.add("b")

        def __exit__(self, *exception):
            now.discard("b")

    monkeypatch.setattr(busy_module, "worker", lambda what, of: Fake())
    monkeypatch.setattr(busy_module, "busy_process", Busy)
    beside, both = (row.as_dict() for row in busy_rows("work", "train", "folder", 1.0, 2, "fp32", "sdpa"))
    assert (beside["name"], beside["value"], beside["baseline"], beside["ratio"]) == (
        "work, busy",
        60,
        100,
        0.6,
    )
    assert (both["name"], both["value"], both["baseline"], both["ratio"]) == ("work, two", 50, 100, 0.5)


def test_workers_train_and_write_and_end(tmp_path):
    from minimind.settings import PretrainSettings
    from minimind.training.corpus import NewTokenizer, prepare_corpus

    prepare_corpus(PretrainSettings(validation_documents=4), NewTokenizer(300), 20, tmp_path)
    for what, of in (("train", str(tmp_path)), ("decode", "nano")):
        with worker(what, of) as one:
            one.start(0.1)
            assert one.speed() > 0
        assert one.process.poll() is not None


def test_a_worker_that_cannot_work_is_a_sentence(tmp_path):
    with (
        pytest.raises(UserError, match="was to be measured has ended"),
        worker("train", str(tmp_path / "none")),
    ):
        pass


def test_the_file_for_memory_has_its_size_and_no_document_twice():
    import json

    from minimind.benchmark.memory import DIFFERENT, lines

    rows = list(lines(1_000_000))
    assert 1_000_000 <= sum(map(len, rows)) < 1_010_000
    texts = [json.loads(row)["text"] for row in rows]
    assert len(set(texts)) == len(texts) > DIFFERENT


def test_the_memory_of_a_command_is_its_peak_and_not_ours():
    from minimind.benchmark.memory import peak_bytes

    def peak(size: int) -> int:
        return peak_bytes([sys.executable, "-c", f"block = b'x' * {size}; del block"])

    ours = bytearray(b"x" * 400_000_000)  # what this process holds does not count
    assert peak(200_000_000) - peak(100_000_000) == pytest.approx(100_000_000, rel=0.1)
    assert peak(200_000_000) < len(ours)
    with pytest.raises(UserError, match="has ended with 3"):
        peak_bytes([sys.executable, "-c", "raise SystemExit(3)"])


def test_memory_of_a_training_on_a_file_is_a_row(monkeypatch, capsys):
    import minimind.benchmark as benchmark
    from minimind.benchmark.memory import memory_row

    monkeypatch.setattr(benchmark, "memory_row", lambda: memory_row(1_000_000))
    assert main(["benchmark", "memory"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"peak +limit +ratio\nmemory, 0.0 GB of text +0\.\d\d +1\.50 +0\.\d\d  GB at the peak", said
    )
    assert main(["benchmark", "memory", "--busy"]) == 2


def test_an_adapters_step_is_compared_with_the_full_one(monkeypatch, capsys):
    import minimind.benchmark as benchmark

    monkeypatch.setattr(benchmark, "TRAIN_SIZES", {"512x8": (32, 1, 6)})
    monkeypatch.setattr(benchmark, "STAGE_ROWS", 2)
    for what, heads in (("lora", "adapter +full"), ("sft", "talks +texts")):
        assert main(["benchmark", what, "--rounds", "1"]) == 0
        said = capsys.readouterr().out
        assert re.search(rf"{heads} +ratio\n{what} 512x8 +[\d,]+ +[\d,]+ +\d+\.\d\d  useful tokens/s", said)
        assert main(["benchmark", what, "--busy"]) == 2


def test_both_sides_of_a_comparison_count_what_they_learn_from():
    from minimind.benchmark.stages import batches_of, training

    documents = random_documents(12, 60, row_length=40)
    batches = batches_of(documents, 40)
    assert sum(int((batch["document_ids"] >= 0).sum()) for batch in batches) == sum(map(len, documents))
    model = MiniMind(CONFIG)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    clock = iter([1.0, 3.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minimind.benchmark.stages.time.perf_counter", lambda: next(clock))
        assert training(model, batches, suppress)() == sum(map(len, documents)) / 2
    assert all((weight != before[name]).any() for name, weight in model.named_parameters())
