"""What the feed-forward experiments compare is comparable: as many weights, as many runs."""

import ast
import json
from pathlib import Path

import pytest

from minimind import ModelConfig
from minimind.model import TransformerBlock

SNIPPETS = Path(__file__).resolve().parents[1] / "snippets/feed_forward"


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
