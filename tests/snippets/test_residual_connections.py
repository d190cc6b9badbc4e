"""Facts about the experiments with residual connections that their own claims do not hold."""

from __future__ import annotations

import pytest
import torch


def test_the_streams_that_the_lens_reads_are_those_of_the_model(run):
    names = run("exp3_logit_lens", "--model", "shipped/pretrain")
    ids, start = names["tell"](names["tokenizer"], "Emma")
    with torch.no_grad():
        logits = names["model"](torch.tensor([ids])).logits[0]
    streams = names["streams_of"](names["model"], ids)
    assert torch.allclose(names["lens"](names["model"], streams)[-1], logits, atol=1e-4)
    assert start < len(ids)


def test_handing_over_a_branchs_own_output_changes_nothing(run):
    names = run("exp3_logit_lens", "--model", "shipped/pretrain")
    model = names["model"]
    ids, start = names["tell"](names["tokenizer"], "Zoe")
    ids = ids[:start]
    own = names["streams_of"](model, ids)[:, -1].diff(dim=0)  # (branches, D)
    with torch.no_grad():
        chances = model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1)
    for branch, output in zip(names["branches_of"](model), own, strict=True):
        handed = names["after_handover"](model, ids, branch, output)
        assert torch.allclose(handed, chances, atol=1e-4)
        assert not torch.allclose(
            names["after_handover"](model, ids, branch, -3 * output), chances, atol=1e-2
        )


def test_a_training_counts_as_hidden_only_if_the_lens_missed_what_the_handover_found(run):
    names = run("exp3_logit_lens", "--model", "shipped/pretrain")
    early = {"lens": [0.0, 0.01, 0.02, 0.9, 0.95], "other": [0.0, 0.8, 0.1, 0.0]}
    at_once = {"lens": [0.0, 0.01, 0.9, 0.91, 0.95], "other": [0.0, 0.8, 0.1, 0.0]}
    assert names["places_of"](early) == (1, 2)
    assert names["places_of"](at_once) == (1, 1)
    assert names["seen_there"](early) == pytest.approx(0.01, abs=1e-6)
    assert names["seen_there"](at_once) == pytest.approx(0.89, abs=1e-6)


def test_a_branch_that_is_left_out_is_measured_and_put_back(run):
    names = run("exp2_residual_stream", "--model", "shipped/pretrain")
    again = names["examine"](names["model"], names["tokenizer"], names["world"])
    assert again == names["found"]  # no hook is left behind
    assert len(set(again["without"].values())) == len(again["without"])
    assert again["loss"] not in again["without"].values()


def test_without_the_addition_the_gradient_is_the_product_of_the_layers(run):
    measure = run("exp1_gradient_flow")["measure"]
    ratios = [measure(0, add=False, depth=depth)["stream"] for depth in (3, 4)]
    assert [len(ratio) for ratio in ratios] == [4, 5]
    assert all(ratio[-1] == 1 for ratio in ratios)
    assert ratios[1][0] < 0.5 * ratios[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--depth", "48"], ["--gain", "3"]])
def test_claims_about_gradients_hold_under_the_flags_of_the_page(arguments, run):
    run("exp1_gradient_flow", *arguments)


@pytest.mark.slow
def test_claims_about_widths_hold_in_a_wider_model(run):
    run("exp4_scaled_init", "--hidden", "256")
