"""What the experiments on positions rest on: their own small functions give what the package, or counting, gives."""

from __future__ import annotations

import math

import torch

from minimind.model import apply_rope, dot_product_attention


def test_the_head_of_the_shift_test_turns_as_the_package_does(run):
    names = run("exp5_relative_only")
    q, k, v = (names[name] for name in "qkv")
    positions = torch.arange(7, 19)
    turned = (apply_rope(x, positions, names["frequencies"]) for x in (q, k))
    expected = dot_product_attention(*turned, v)
    assert torch.allclose(names["attend"](7).float(), expected, atol=1e-5)


def test_collisions_are_those_that_a_plain_loop_counts(run):
    names = run("exp3_why_multi_frequency", "--trials", "50")
    frequency = names["frequencies"][1].item()
    count = 0
    for first in range(256):
        for second in range(first + 1, 256):
            off = math.remainder((second - first) * frequency, 2 * math.pi)
            count += abs(off) < math.radians(names["args"].tolerance)
    assert names["collisions"]([1])[0] == count


def test_without_a_mask_lengths_guess_no_better_than_the_middle(run):
    for sharpness in ("0", "1"):
        names = run("exp4_order", "--sharpness", sharpness)
        assert names["error"]["no mask"] >= 0.95 * names["blind"]
        assert names["error"]["causal mask"] < names["blind"]


def test_a_pair_stands_still_or_is_out_and_only_for_a_while(run):
    names = run("exp7_pairs_of_a_model", "--model", "shipped/pretrain")
    model, changed, seen = names["model"], names["changed"], []
    rows = names["rows_of"](names["tokenizer"], names["world"])
    frequencies, whole = model.model.frequencies.clone(), names["nats"](model, rows)
    assert whole == names["found"]["whole"]
    with changed(model, still=[1], out=[2]):
        hook = model.model.layers[0].self_attn.q_norm.register_forward_hook(
            lambda module, given, output: seen.append(output)
        )
        model(rows[0])
        hook.remove()
        assert (model.model.frequencies == 0).nonzero().tolist() == [[1]]
    gone = (seen[0] == 0).all(dim=(0, 1, 2)).nonzero().flatten().tolist()
    assert gone == [2, 2 + len(frequencies)]
    assert torch.equal(model.model.frequencies, frequencies)
    assert names["nats"](model, rows) == whole
