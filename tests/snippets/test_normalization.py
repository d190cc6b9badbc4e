"""Facts about the scripts of the module Normalization, beyond those that hold for every script."""

from __future__ import annotations

import pytest
import torch

TWISTS = {
    "exp2_depth_and_gain": ["--layers", "40", "--gain", "1.5"],
    "exp4_pre_or_post": ["--narrow"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TWISTS)
def test_claims_hold_under_the_changes_that_the_page_proposes(name, run, capsys):
    run(name, *TWISTS[name])
    assert capsys.readouterr().out.count("claim holds: ") >= 8


def test_exchanged_norms_are_put_back(run):
    names = run("exp3_layernorm_or_rmsnorm", "--model", "shipped/pretrain")
    assert names["held_out_loss"]() == names["losses"]["RMSNorm, as trained"]
    assert len(set(names["losses"].values())) == 4


def test_models_of_a_stack_do_not_touch_each_other(run):
    names = run("exp4_pre_or_post", "--depth", "2", "--steps", "2")
    runs = [
        {"seed": 0, "rate": 0.01, "warm_up": True, "narrow": False},
        {"seed": 0, "rate": 0.001, "warm_up": False, "narrow": True},
        {"seed": 1, "rate": 0.01, "warm_up": False, "narrow": False},
    ]
    for placement in ("pre", "post"):
        together = names["train"](placement, 2, runs, 8)
        for number, alone in enumerate(runs):
            assert torch.allclose(
                together[:, number], names["train"](placement, 2, [alone], 8)[:, 0], atol=1e-4
            )


def test_no_arm_of_the_record_is_below_the_floor_or_far_above_a_blind_guess(run):
    names = run("exp4_pre_or_post", "--depth", "2", "--steps", "2")
    worst = max(names["record"]["blind"]) + 0.1
    for name, losses in names["record"].items():
        if name != "blind":
            numbers = torch.tensor(losses)
            assert numbers.shape == (2, 4, 3)
            assert ((numbers > 0) & (numbers < worst)).all(), name


def test_the_language_pays_its_entropy(run):
    names = run("exp4_pre_or_post", "--depth", "2", "--steps", "2")
    chances, generator = names["language"](0)
    rows = torch.cat([names["write"](chances, generator) for _ in range(400)])
    contexts = chances[rows[:, :-2], rows[:, 1:-1]]  # (B, T - 1, SYMBOLS)
    entropy = -(contexts * contexts.log()).sum(dim=-1).mean().item()
    assert abs(names["surprise"](chances, rows).item() - entropy) < 0.02
