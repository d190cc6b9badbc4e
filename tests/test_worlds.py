"""Text of the world for small trainings, and trainings on it by the package's own loop."""

import itertools
import math

import torch
from torch.nn import functional as F

from minimind import MiniMind, ModelConfig
from minimind.course import worlds
from minimind.data import World
from minimind.model.fast import speed_up
from minimind.settings import TrainingSettings
from minimind.training import fit
from minimind.training.optimizer import Optimizer

SIZES = {"training": 30, "held_out": 5, "vocab_size": 300}


def test_a_world_is_read_once_and_its_documents_come_back_from_their_ids():
    text = worlds.read_world(**SIZES, seed=3)
    assert worlds.read_world(**SIZES, seed=3) is text
    tokenizer = text.tokenizer
    for split, ids in (("train", text.training), ("validation", text.held_out)):
        documents = list(itertools.islice(World(3).documents(split), len(ids)))
        assert [tokenizer.decode(one[1:-1]) for one in ids] == [document.text for document in documents]
        assert {(one[0], one[-1]) for one in ids} == {(tokenizer.bos_token_id, tokenizer.eos_token_id)}
    assert (len(text.training), len(text.held_out), tokenizer.vocab_size) == (30, 5, 300)
    assert text.documents == documents


def test_the_tokenizer_learns_from_the_first_documents_alone():
    some, all_of_them = (
        worlds.read_world(**SIZES, tokenizer_from=number).tokenizer.digest for number in (10, 30)
    )
    assert some != all_of_them


def test_slices_are_parts_of_the_stream_and_the_seed_decides_which():
    stream = torch.arange(1000)
    batches = worlds.Slices(stream, steps=20, count=3, length=8, seed=5)
    assert batches.step_count == 20
    (batch,) = batches.of_step(7)
    ids = batch["input_ids"]
    assert ids.shape == (3, 8)
    assert (ids - ids[:, :1] == torch.arange(8)).all()
    assert len(set(ids[:, 0].tolist())) == 3
    (again,) = worlds.Slices(stream, steps=20, count=3, length=8, seed=5).of_step(7)
    (other,) = worlds.Slices(stream, steps=20, count=3, length=8, seed=6).of_step(7)
    assert torch.equal(ids, again["input_ids"])
    assert not torch.equal(ids, other["input_ids"])


def test_every_slice_that_there_is_can_be_drawn():
    batches = worlds.Slices(torch.arange(10), steps=200, count=1, length=8, seed=0)
    firsts = {int(batch["input_ids"][0, 0]) for step in range(200) for batch in batches.of_step(step)}
    assert firsts == {0, 1}  # the last place is left out: there a label would be missing


def test_chosen_rows_are_those_of_the_numbers_and_cut_after_the_longest_of_them():
    documents = [[1, 5, 2], [1, 6, 7, 8, 2], [1, 9, 7, 2]]
    batches = worlds.Chosen(worlds.padded(documents), torch.tensor([[2, 0], [0, 1], [0, 0]]))
    assert batches.step_count == 3
    read = [[batch["input_ids"].tolist() for batch in batches.of_step(step)] for step in range(3)]
    assert read == [[[[1, 9, 7, 2], [1, 5, 2, 0]]], [[[1, 5, 2, 0, 0], documents[1]]], [[documents[0]] * 2]]


def test_fit_on_chosen_rows_is_the_plain_loop_with_adamw_to_the_bit():
    """A tenth of the steps up, the last third of them down, and long gradients cut: as two of the scripts train."""
    rows, steps, rate = worlds.padded(worlds.read_world(**SIZES).training), 20, 0.01
    numbers = torch.randint(len(rows), (steps, 4), generator=torch.Generator().manual_seed(1))

    def model():
        torch.manual_seed(0)
        return MiniMind(
            ModelConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=300)
        )

    def mean_of(model, ids):
        return F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)

    plain, fitted, norms = model(), model(), []
    speed_up(plain)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 10 * (step + 1) / steps, 3 * (steps - step) / steps)
        ids = rows[numbers[step]]
        optimizer.zero_grad()
        mean_of(plain, ids[:, : (ids != 0).sum(dim=1).max()]).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0).item())
        optimizer.step()
    assert min(norms) < 1 < max(norms)  # some are cut, and some are not

    settings = TrainingSettings(
        optimizer="adamw", learning_rate=rate, warmup=1 / 10, decay=1 / 3, precision="fp32",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    fit(
        fitted,
        worlds.Chosen(rows, numbers),
        lambda model, batch: worlds.counted_once(mean_of(model, batch["input_ids"])),
        settings,
        quiet=True,
    )
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, fitted.get_parameter(name)), name


def test_fit_on_slices_is_the_plain_loop_to_the_bit_and_says_nothing(capsys):
    text, steps, rate = worlds.read_world(**SIZES), 12, 0.01
    stream = worlds.stream(text.training)

    def model():
        torch.manual_seed(0)
        return MiniMind(
            ModelConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=300)
        )

    plain, fitted = model(), model()
    speed_up(plain)  # as fit does: its norms are the same but for the last bits
    optimizer = Optimizer(plain, "muon", rate, 2 * rate)
    for step in range(steps):
        ((ids,),) = (batch.values() for batch in worlds.Slices(stream, steps, 4, 16, seed=1).of_step(step))
        optimizer.set_rate(min(1, (step + 1) / 3, 2 - 2 * step / steps))
        optimizer.zero_grad()
        plain(ids, labels=ids).loss.backward()
        optimizer.step()

    settings = TrainingSettings(
        learning_rate=rate, warmup=3 / steps, clip_norm=math.inf, precision="fp32", threads=torch.get_num_threads()
    )  # fmt: skip
    fit(fitted, worlds.Slices(stream, steps, 4, 16, seed=1), worlds.mean_loss, settings, quiet=True)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, fitted.get_parameter(name)), name
    assert capsys.readouterr() == ("", "")


def test_fit_follows_a_schedule_of_torch_to_the_bit():
    text, steps, rate = worlds.read_world(**SIZES), 8, 0.01
    rows = worlds.rows(text.training, 16)

    def prepared():
        torch.manual_seed(0)
        model = MiniMind(
            ModelConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=300)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        return (
            model,
            optimizer,
            torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.25),
        )

    plain, optimizer, schedule = prepared()
    speed_up(plain)
    for step in range(steps):
        ids = rows[4 * step : 4 * step + 4]
        optimizer.zero_grad()
        plain(ids, labels=ids).loss.backward()
        optimizer.step()
        schedule.step()

    class InOrder:
        step_count = steps

        def of_step(self, step):
            yield {"input_ids": rows[4 * step : 4 * step + 4]}

    fitted, optimizer, schedule = prepared()
    settings = TrainingSettings(clip_norm=math.inf, precision="fp32", threads=torch.get_num_threads())
    scheduled = worlds.Scheduled(optimizer, schedule)
    result = fit(fitted, InOrder(), worlds.mean_loss, settings, optimizer=scheduled, quiet=True)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, fitted.get_parameter(name)), name
    assert max(row["learning_rate"] for row in result.rows) > 2 * result.rows[-1]["learning_rate"]
