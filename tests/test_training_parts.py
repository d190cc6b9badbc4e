"""The parts of the loop, each alone: schedule, clipping, optimizer, batches, objective."""

import html
import math
import re
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn

from minimind import MiniMind, ModelConfig
from minimind.errors import UserError
from minimind.settings import TrainingSettings
from minimind.training import (
    Loss,
    Optimizer,
    RowBatches,
    causal_language_model,
    clip_gradients,
    cosine_schedule,
    fit,
    wsd_schedule,
)
from minimind.training.answering import cost_in_pretraining
from minimind.training.log import shown
from minimind.training.optimizer import split_parameters
from minimind.training.report import write_report


def tiny_model(seed: int = 0, **changes) -> MiniMind:
    torch.manual_seed(seed)
    return MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=20, **changes))


def tiny_rows(count: int = 12, length: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of which some are mostly padding, so that batches differ in how much they teach."""
    draw = np.random.default_rng(seed)
    documents = np.zeros((count, length), dtype=np.int64)
    for row, filled in enumerate(draw.integers(3, length, count)):
        documents[row, filled:] = -1
    ids = draw.integers(3, 20, (count, length))
    return {"input_ids": ids, "labels": np.where(documents < 0, -100, ids), "document_ids": documents}


def test_cosine_schedule_follows_its_formula():
    rates = [cosine_schedule(step, 110, 10, peak=2.0, floor=0.2) for step in range(120)]
    assert rates[0] == pytest.approx(0.2)  # the first of ten warm-up steps
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.1)  # half way down
    assert rates[35] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[110:] == pytest.approx([0.2] * 10)


def test_wsd_schedule_is_stable_between_warm_up_and_decay():
    rates = [wsd_schedule(step, 100, 10, 40, peak=1.0, floor=0.1) for step in range(101)]
    assert rates[10:61] == [1.0] * 51
    assert rates[4] == pytest.approx(0.5)
    assert rates[80] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[100] == pytest.approx(0.1)


def test_clipping_keeps_the_direction_and_gives_the_norm_before():
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, 1.0).item() == pytest.approx(5.0)
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-5)
    assert parameters[1].grad.tolist() == pytest.approx([0.8], abs=1e-5)
    assert parameters[2].grad is None
    assert clip_gradients(parameters, 10.0).item() == pytest.approx(1.0, abs=1e-5)
    assert parameters[1].grad.tolist() == pytest.approx([0.8], abs=1e-5)  # short enough: left alone


def test_clipping_agrees_with_torch():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 7), nn.Linear(5, 7)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5)
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    norm = clip_gradients(ours.parameters(), 0.3)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs.parameters(), 0.3))
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_and_tables_are_told_apart(tied):
    model = tiny_model(tie_word_embeddings=tied)
    matrices, others = split_parameters(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(matrix)].split(".")[-2] for matrix in matrices} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert len(matrices) + len(others) == len(list(model.parameters()))
    assert any("embed_tokens" in names[id(table)] for table in others)
    assert tied or any("lm_head" in names[id(table)] for table in others)


def test_each_kind_of_parameter_gets_its_own_rate():
    model = tiny_model()
    optimizer = Optimizer(model, "muon", learning_rate=0.1, embedding_learning_rate=0.2)
    optimizer.set_rate(0.5)
    rates = {type(part).__name__: part.param_groups[0]["lr"] for part in optimizer.parts}
    assert rates == {"Muon": pytest.approx(0.05), "AdamW": pytest.approx(0.1)}


def test_batches_are_a_function_of_their_number():
    rows = {"input_ids": np.arange(10)[:, None]}
    batches = RowBatches(rows, batch_size=4, seed=3, epochs=2)
    seen = [batch["input_ids"][:, 0].tolist() for step in range(6) for batch in batches.of_step(step)]
    again = RowBatches(rows, batch_size=4, seed=3, epochs=2)
    assert [next(again.of_step(step))["input_ids"][:, 0].tolist() for step in (4, 1)] == [seen[4], seen[1]]
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == list(range(10))  # each row once an epoch
    assert seen[:3] != seen[3:]  # in another order
    other = RowBatches(rows, batch_size=4, seed=4)
    assert next(other.of_step(0))["input_ids"][:, 0].tolist() != seen[0]


def test_whole_numbers_become_indices_and_all_others_keep_their_type():
    columns = {
        "ids": np.array([3, 2, 1], dtype=np.int16),
        "numbers": np.array([-1, 0, 127], dtype=np.int8),
        "log_probs": np.array([-0.7, 0.1, 2.5], dtype=np.float32),
        "wide": np.array([-0.7, 0.1, 2.5]),
        "told": np.array([True, False, True]),
    }
    batch = next(RowBatches(columns, batch_size=3).of_step(0))
    types = {name: column.dtype for name, column in batch.items()}
    assert types == {
        "ids": torch.int64, "numbers": torch.int64, "log_probs": torch.float32, "wide": torch.float64,
        "told": torch.bool,
    }  # fmt: skip
    order = RowBatches(columns, batch_size=3).rows_of(0)
    assert all((batch[name].numpy() == column[order]).all() for name, column in columns.items())


def test_the_last_step_takes_what_is_left():
    batches = RowBatches({"x": np.arange(10)}, batch_size=4, accumulation_steps=2, epochs=1)
    assert batches.step_count == 2
    assert [len(list(batches.of_step(step))) for step in range(3)] == [2, 1, 0]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 4, "epochs": 0}, {"batch_size": 4, "accumulation_steps": 0}]
)
def test_batches_refuse_what_makes_no_step(wrong):
    with pytest.raises(UserError, match="at least 1, got 0"):
        RowBatches({"x": np.arange(10)}, **wrong)


def gradients_of_one_step(batch_size: int, accumulation_steps: int) -> dict[str, torch.Tensor]:
    model = tiny_model()
    batches = RowBatches(tiny_rows(), batch_size, accumulation_steps=accumulation_steps)
    settings = TrainingSettings(threads=1, steps=1, precision="fp32", max_seq_len=16, clip_norm=1e9)
    fit(model, batches, causal_language_model, settings)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_accumulated_batches_equal_one_large_batch():
    # The rows are padded by different amounts: a mean of the batches' means would weigh them wrongly.
    large = gradients_of_one_step(12, 1)
    for batch_size, accumulation_steps in ((2, 6), (5, 3)):
        small = gradients_of_one_step(batch_size, accumulation_steps)
        for name in large:
            torch.testing.assert_close(small[name], large[name], rtol=0, atol=1e-6, msg=name)


def test_the_loss_of_a_step_is_the_mean_over_all_labels():
    model = tiny_model()
    rows = tiny_rows()
    whole = {name: torch.from_numpy(column) for name, column in rows.items()}
    loss = causal_language_model(model, whole)
    settings = TrainingSettings(threads=1, steps=1, precision="fp32", max_seq_len=16)
    result = fit(model, RowBatches(rows, 5, accumulation_steps=3), causal_language_model, settings)
    assert result.rows[-1]["loss"] == pytest.approx(loss.sum.item() / int(loss.count), rel=1e-5)
    assert result.rows[-1]["tokens"] == int(loss.count)


def test_padding_teaches_nothing():
    model = tiny_model()
    rows = {name: torch.from_numpy(column) for name, column in tiny_rows().items()}
    before = causal_language_model(model, rows)
    rows["input_ids"][rows["document_ids"] < 0] = 7
    after = causal_language_model(model, rows)
    torch.testing.assert_close((before.sum, before.count), (after.sum, after.count))


def test_measuring_and_sampling_do_not_change_what_is_learned():
    def train(validate_every: int, look: bool) -> MiniMind:
        model = tiny_model(dropout=0.2)
        settings = TrainingSettings(
            threads=1,
            steps=6,
            precision="fp32",
            max_seq_len=16,
            validate_every=validate_every,
            learning_rate=0.01,
        )
        draw = (lambda: {"noise": torch.rand(3).tolist()}) if look else None
        fit(model, RowBatches(tiny_rows(), 4), causal_language_model, settings, validate=draw)
        return model

    torch.manual_seed(0)
    plain = train(100, False)
    torch.manual_seed(0)
    watched = train(1, True)
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_loop_learns(optimizer):
    model = tiny_model()
    ids = np.tile(np.arange(3, 19), (8, 1))
    rows = {"input_ids": ids, "labels": ids, "document_ids": np.zeros((8, 16), dtype=np.int64)}
    settings = TrainingSettings(
        threads=1, steps=40, optimizer=optimizer, learning_rate=0.01, precision="fp32", max_seq_len=16
    )
    result = fit(model, RowBatches(rows, 4), causal_language_model, settings)
    assert result.finished
    assert result.rows[0]["loss"] > 2.5
    assert result.rows[-1]["loss"] < 0.3


def test_a_loss_that_is_no_number_stops_before_the_update():
    model = tiny_model()
    rows = tiny_rows()
    rows["input_ids"][7, 0] = 19

    def objective(model, batch):
        loss = causal_language_model(model, batch)
        return Loss(loss.sum * (math.nan if bool((batch["input_ids"] == 19).any()) else 1.0), loss.count)

    rows["input_ids"][np.arange(12) != 7] %= 19
    settings = TrainingSettings(threads=1, steps=3, precision="fp32", max_seq_len=16, learning_rate=0.01)
    batches = RowBatches(rows, 4, epochs=1)
    bad_step = next(step for step in range(3) if 7 in batches.rows_of(step))
    with pytest.raises(
        UserError, match=rf"step {bad_step + 1}: .*1 of the 4 rows of this batch: row with 19"
    ):
        fit(
            model,
            batches,
            objective,
            settings,
            describe_rows=lambda batch: f"row with {batch['input_ids'][0, 0]}",
        )
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_figures_of_a_step_are_means_over_all_its_batches():
    def objective(model, batch):
        loss = causal_language_model(model, batch)
        margin = batch["margin"]  # a column of floats, one a row
        return Loss(
            loss.sum, loss.count, {"margin": (margin.sum(), torch.tensor(len(margin)))}, tokens=loss.count * 2
        )

    rows = {**tiny_rows(), "margin": np.linspace(-0.7, 0.4, 12, dtype=np.float32)}
    settings = TrainingSettings(threads=1, steps=1, precision="fp32", max_seq_len=16)
    result = fit(tiny_model(), RowBatches(rows, 5, accumulation_steps=3), objective, settings)
    assert result.rows[-1]["margin"] == pytest.approx(-0.15)
    assert result.rows[-1]["tokens"] == 2 * int((rows["labels"][:, 1:] != -100).sum())
    assert "perplexity" not in result.rows[-1]


def test_quiet_training_prints_nothing(capfd):
    settings = TrainingSettings(threads=1, steps=2, precision="fp32", max_seq_len=16)

    def train(quiet: bool):
        batches = RowBatches(tiny_rows(), 4)
        return fit(
            tiny_model(), batches, causal_language_model, settings, validate=lambda: {"x": 1.5}, quiet=quiet
        )

    loud = train(quiet=False)
    assert "step 2/2" in capfd.readouterr().out
    quiet = train(quiet=True)
    assert capfd.readouterr() == ("", "")
    assert [row["loss"] for row in quiet.rows] == [row["loss"] for row in loud.rows]
    assert quiet.rows[-1]["perplexity"] == pytest.approx(math.exp(quiet.rows[-1]["loss"]))


def test_a_broken_step_is_told_of_the_very_rows_that_were_read():
    class Drawn:
        """Batches that are others at each call, as those that a policy writes."""

        step_count, calls = None, 0

        def of_step(self, step):
            self.calls += 1
            yield {"input_ids": torch.full((1, 4), self.calls), "labels": torch.full((1, 4), self.calls)}

    def objective(model, batch):
        loss = model(batch["input_ids"], labels=batch["labels"])
        return Loss(
            loss.loss_sum * (math.nan if int(batch["input_ids"][0, 0]) == 2 else 1.0), loss.label_count
        )

    settings = TrainingSettings(threads=1, steps=3, precision="fp32", max_seq_len=16)
    with pytest.raises(UserError, match=r"step 2: .*\(row of 2\)"):
        fit(
            tiny_model(),
            Drawn(),
            objective,
            settings,
            describe_rows=lambda batch: f"row of {batch['input_ids'][0, 0]}",
        )


def test_a_figure_may_not_have_a_name_of_the_log():
    with pytest.raises(ValueError, match="the log writes loss, step itself"):
        Loss(
            torch.ones(()),
            torch.ones(()),
            {"step": (torch.ones(()), torch.ones(())), "loss": (torch.ones(()),) * 2},
        )


def test_a_figure_that_is_infinite_is_left_out_of_the_curves(tmp_path):
    rows = [
        {"step": step, "tokens": 1, "loss": float(step), "divergence": value}
        for step, value in ((1, 0.5), (2, math.inf), (3, 0.7))
    ]
    page = write_report(tmp_path, rows).read_text()
    assert "<h2>Divergence</h2>" in page
    assert "inf" not in page.split("<h2>Divergence</h2>")[1].split("</svg>")[0]
    assert write_report(tmp_path, [{**row, "loss": math.nan} for row in rows]).exists()


def test_a_training_that_fell_apart_is_told_in_few_digits(tmp_path):
    huge = {"validation_perplexity": 1e120, "pretraining_perplexity": 1e121, "floor_perplexity": 2.0}
    row = {"step": 3, "tokens": 1, "loss": 300.0, "perplexity": math.exp(50), **huge}
    page = write_report(tmp_path, [row]).read_text()
    assert "held out: > 1e+9;" in html.unescape(page)
    assert not re.search(r"[\d,]{15}", page)
    for name in huge.keys() - {"floor_perplexity"}:
        assert shown(name, row[name]).endswith(" > 1e+9")
    (tmp_path / "run.json").write_text('{"settings": {}, "data": {"pretraining_perplexity_before": 2.0}}')
    assert cost_in_pretraining(str(tmp_path), [row]).endswith("perplexity 2.000 before, > 1e+9 now")
    assert cost_in_pretraining(str(tmp_path), [{**row, "pretraining_perplexity": 2.1}]).endswith(
        "now (+5.0%)"
    )


def test_running_out_of_memory_says_what_to_lower():
    def objective(model, batch):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    settings = TrainingSettings(threads=1, steps=3, precision="fp32", batch_size=4)
    with pytest.raises(UserError, match=r"out of memory at step 1; lower --batch-size \(now 4\)"):
        fit(tiny_model(), RowBatches(tiny_rows(), 4), objective, settings)


def test_a_batch_without_labels_changes_nothing():
    model = tiny_model()
    before = [parameter.clone() for parameter in model.parameters()]
    rows = {
        "input_ids": np.full((4, 8), 5),
        "labels": np.full((4, 8), -100),
        "document_ids": np.full((4, 8), -1),
    }
    fit(
        model,
        RowBatches(rows, 4),
        causal_language_model,
        TrainingSettings(threads=1, steps=1, precision="fp32", max_seq_len=8),
    )
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
