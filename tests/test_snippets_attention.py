"""What the attention scripts measure is what the model does."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "snippets/attention/exp6_heads.py"


@pytest.fixture
def names(pretrained, monkeypatch):
    """What the script about the heads of a trained model defines."""
    monkeypatch.chdir(pretrained(0))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--documents", "12"])
    plt.switch_backend("Agg")
    with plt.rc_context():
        return runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_maps_give_back_what_each_layer_hands_over(names):
    rows, seen = names["rows"][:2], []
    hooks = [
        layer.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
        for layer in names["layers"]
    ]
    with torch.no_grad():
        names["model"](rows)
        for hook in hooks:
            hook.remove()
        maps = names["maps_of"](rows)  # (L, B, H, T, T)
        for layer, weights, (x, output) in zip(names["layers"], maps, seen, strict=True):
            v = layer.v_proj(x).unflatten(-1, (-1, layer.head_dim)).transpose(1, 2)  # (B, K, T, D)
            v = v.repeat_interleave(layer.num_heads // layer.num_key_value_heads, dim=1)
            assert torch.allclose(layer.o_proj((weights @ v).transpose(1, 2).flatten(2)), output, atol=1e-4)


def test_a_head_is_switched_off_alone_and_only_for_a_while(names):
    layer, seen = names["layers"][1], []
    whole = names["chance"]()
    hook = layer.o_proj.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    with names["without"]((1, 2)):
        names["chance"]()
    hook.remove()
    heads = seen[0].unflatten(-1, (layer.num_heads, -1)).abs().amax(dim=(0, 1, 3))  # (H,)
    assert [bool(size) for size in heads] == [True, True, False, True]
    assert names["chance"]() == whole
