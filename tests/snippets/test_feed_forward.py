"""The feed-forward experiments compare what is comparable, and their knock-outs take out what they say."""

import ast
import json
from pathlib import Path

import pytest
import torch

from minimind import MiniMind, ModelConfig
from minimind.data import World
from minimind.model import TransformerBlock
from minimind.tokenizer import train_tokenizer

SNIPPETS = Path(__file__).resolve().parents[2] / "snippets/feed_forward"


def constant(script: str, name: str):
    """The value that a script assigns to a name."""
    for node in ast.walk(ast.parse((SNIPPETS / script).read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{script} has no {name}")


@pytest.mark.parametrize(("width", "hidden"), constant("exp5_counting.py", "SHAPES").items())
def test_every_shape_of_the_sweep_has_as_many_weights_in_a_block(width, hidden):
    heads = width // 16
    config = ModelConfig(
        hidden_size=width, intermediate_size=hidden, num_attention_heads=heads, num_key_value_heads=heads
    )
    weights = sum(weight.numel() for weight in TransformerBlock(config).parameters() if weight.dim() == 2)
    assert weights == pytest.approx(49_200, rel=0.005)


def test_the_best_learning_rate_of_each_activation_is_no_end_of_the_sweep():
    found = json.loads((SNIPPETS / "exp2_activations.json").read_text(encoding="utf-8"))["result"]
    assert set(found["rates"].values()) <= {0.01, 0.02}  # of 0.005, 0.01, 0.02 and 0.04


def definitions(script: str) -> dict:
    """The functions, classes and constants of a script, without running it."""
    tree = ast.parse((SNIPPETS / script).read_text(encoding="utf-8"))
    kept = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
    tree.body = [
        node
        for node in tree.body
        if isinstance(node, kept) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper())
    ]
    names: dict = {}
    exec(compile(tree, script, "exec"), names)
    return names


@pytest.fixture(scope="module")
def untrained():
    """A small model with random weights, its tokenizer and the world."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["Question: Which river runs through Abrel? Answer: red."], vocab_size=270)
    config = ModelConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=tokenizer.vocab_size
    )
    return MiniMind(config), tokenizer, World(0)


def test_without_attention_no_earlier_token_counts(untrained):
    model = untrained[0]
    script = definitions("exp3_who_does_what.py")
    texts = [torch.randint(3, 270, (1, 20)) for _ in range(2)]
    texts[1][0, 5:] = texts[0][0, 5:]  # they differ in the first five tokens
    average = script["averages"](model, [(ids[0].tolist(), []) for ids in texts])
    for kind, difference in (("attention", 0), ("FFN", 1e-4)):
        parts = {name: part for name, part in script["parts_of"](model).items() if kind in name}
        assert len(parts) == 2
        with torch.no_grad(), script["hooked"](parts, lambda name, output: average[name].expand_as(output)):
            one, other = (model(ids).logits[0, 5:] for ids in texts)
        assert (one - other).abs().max() >= difference
        assert kind == "FFN" or torch.equal(one, other)


def test_silencing_a_feature_gives_its_average_at_every_token(untrained):
    model, tokenizer, world = untrained
    features = definitions("exp4_where_a_fact_sits.py")["Features"](model, tokenizer, world)
    given = {}
    for layer, block in enumerate(model.model.layers):
        block.mlp.down_proj.register_forward_hook(
            lambda module, inputs, output, layer=layer: given.update({layer: inputs[0][0].detach()})
        )
    item, width = ("river", next(iter(world.facts))), features.shape[1]
    features.without([width + 3], [item])
    silent = given[1][:, 3]
    assert torch.equal(silent, features.average[1, 3].expand_as(silent))
    assert given[1][:, 4].std() > 0
    features.without([], [item])
    assert given[1][:, 3].std() > 0
