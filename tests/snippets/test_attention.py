"""What the attention scripts measure is what the model does."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="module")
def names(run_once):
    """What the script about the heads of a trained model defines, for the model that comes with the package."""
    return run_once("exp6_heads", "--documents", "12", "--model", "shipped/pretrain")


@pytest.fixture
def layers(names):
    return [layer.self_attn for layer in names["model"].model.layers]


def chance(names):
    return names["chance"](names["model"], names["tokenizer"])


def test_the_maps_give_back_what_each_layer_hands_over(names, layers):
    rows, seen = next(names["stories"](names["tokenizer"]))[0], []
    hooks = [
        layer.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
        for layer in layers
    ]
    with torch.no_grad():
        names["model"](rows)
        for hook in hooks:
            hook.remove()
        maps = names["maps_of"](names["model"], rows)  # (L, B, H, T, T)
        for layer, weights, (x, output) in zip(layers, maps, seen, strict=True):
            v = layer.v_proj(x).unflatten(-1, (-1, layer.head_dim)).transpose(1, 2)  # (B, K, T, D)
            v = v.repeat_interleave(layer.num_heads // layer.num_key_value_heads, dim=1)
            assert torch.allclose(layer.o_proj((weights @ v).transpose(1, 2).flatten(2)), output, atol=1e-4)


def test_a_head_is_switched_off_alone_and_only_for_a_while(names, layers):
    seen, whole = [], chance(names)
    hook = layers[1].o_proj.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    with names["without"](names["model"], (1, 2)):
        chance(names)
    hook.remove()
    heads = seen[0].unflatten(-1, (layers[1].num_heads, -1)).abs().amax(dim=(0, 1, 3))  # (H,)
    assert [bool(size) for size in heads] == [True, True, False, True]
    assert chance(names) == whole


def test_a_head_is_switched_off_at_one_place_alone(names, layers):
    seen = []
    hook = layers[0].o_proj.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    with names["without"](names["model"], (0, 1), at=slice(-1, None)):
        chance(names)
    hook.remove()
    size = seen[0].unflatten(-1, (layers[0].num_heads, -1)).abs().amax(dim=(0, 3))  # (T, H)
    assert (size == 0).nonzero().tolist() == [[len(size) - 1, 1]]


def test_the_mean_weights_are_those_that_a_plain_loop_finds(names, monkeypatch):
    model, tokenizer, world = (names[name] for name in ("model", "tokenizer", "world"))
    monkeypatch.setattr(names["args"], "documents", 1)
    looks, even = names["patterns"](model, tokenizer, world, longest=12)
    text = next(iter(world.documents("validation"))).text
    ids = [tokenizer.bos_token_id, *tokenizer.encode(text)][:12]
    maps = names["maps_of"](model, torch.tensor([ids]))[:, 0]  # (L, H, T, T)
    queries = range(8, 12)
    assert even == pytest.approx(sum(1 / (query + 1) for query in queries) / 4)
    for name, key_of in {"the token before": lambda query: query - 1, "itself": lambda query: query}.items():
        expected = sum(maps[:, :, query, key_of(query)] for query in queries) / 4
        assert torch.allclose(looks[name], expected, atol=1e-6)
    assert torch.allclose(looks["the first token"], maps[:, :, 8:, 0].mean(dim=-1), atol=1e-6)
