"""Facts about the experiments with residual connections that their own claims do not hold."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[1] / "snippets/residual_connections"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a script as a reader does; gives the names that it defined."""
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run_script(name: str, *arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with plt.rc_context():
            return runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")

    yield run_script
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_lens_shows_the_name_later_than_it_is_written_in_one_model_and_at_once_in_another(
    seed, run, pretrained, monkeypatch
):
    monkeypatch.chdir(pretrained(seed))
    names = run("exp3_logit_lens", "--seed", str(seed))
    assert (names["carrier"] < names["jump"]) == (seed == 0)


def test_the_streams_that_the_lens_reads_are_those_of_the_model(run, pretrained, monkeypatch):
    monkeypatch.chdir(pretrained(0))
    names = run("exp3_logit_lens")
    ids, start = names["tell"]("Emma")
    with torch.no_grad():
        logits = names["model"](torch.tensor([ids])).logits[0]
    assert torch.allclose(names["lens"](names["streams_of"](ids))[-1], logits, atol=1e-4)
    assert start < len(ids)


def test_without_the_addition_the_gradient_is_the_product_of_the_layers(run):
    measure = run("exp1_gradient_flow")["measure"]
    ratios = [measure(0, add=False, depth=depth)["stream"] for depth in (3, 4)]
    assert [len(ratio) for ratio in ratios] == [4, 5]
    assert all(ratio[-1] == 1 for ratio in ratios)
    assert ratios[1][0] < 0.5 * ratios[0][0]


@pytest.mark.parametrize("arguments", [["--depth", "48"], ["--gain", "3"]])
def test_claims_about_gradients_hold_under_the_flags_of_the_page(arguments, run):
    run("exp1_gradient_flow", *arguments)


def test_claims_about_widths_hold_in_a_wider_model(run):
    run("exp4_scaled_init", "--hidden", "256")
