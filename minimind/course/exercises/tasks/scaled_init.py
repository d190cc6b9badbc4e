"""Scaled initialization: the matrices that write into the stream begin narrower."""

import math

from ..task import Mistake, Property, Task


def scaled_init(weights: dict[str, tuple[int, ...]], num_layers: int, std: float = 0.02) -> dict[str, float]:
    """Say with which standard deviation each matrix of a model is drawn.

    A matrix that writes into the stream, `o_proj.weight` or `down_proj.weight`, is drawn narrower by the
    square root of 2 * num_layers: so many branches are added up, two for each layer.

    Args:
        weights: shape of each parameter, by its name as in Hugging Face's Llama.
        num_layers: blocks of the model.
        std: standard deviation of all other matrices.

    Returns:
        The standard deviation of each parameter with two dimensions, by name. A norm's weights, with one
        dimension, are not drawn: they begin as ones and are left out.
    """
    narrow = std / math.sqrt(2 * num_layers)
    widths = {}
    for name, shape in weights.items():
        if len(shape) == 2:
            writes = name.endswith(("o_proj.weight", "down_proj.weight"))
            widths[name] = narrow if writes else std
    return widths


ATTENTION = {
    "model.layers.0.input_layernorm.weight": (4,),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.self_attn.q_proj.bias": (4,),
    "model.layers.0.self_attn.k_proj.weight": (2, 4),
    "model.layers.0.self_attn.v_proj.weight": (2, 4),
    "model.layers.0.self_attn.o_proj.weight": (4, 4),
}
MLP = {
    "model.layers.1.post_attention_layernorm.weight": (4,),
    "model.layers.1.mlp.gate_proj.weight": (8, 4),
    "model.layers.1.mlp.up_proj.weight": (8, 4),
    "model.layers.1.mlp.down_proj.weight": (4, 8),
}
ENDS = {"model.embed_tokens.weight": (10, 4), "model.norm.weight": (4,), "lm_head.weight": (10, 4)}
TASK = Task(
    name="scaled_init",
    module="residual_connections",
    minutes=10,
    solution=scaled_init,
    core=False,
    properties=[
        Property(
            "A matrix that only reads the stream gets std",
            [{"weights": {"model.layers.0.mlp.up_proj.weight": (8, 4)}, "num_layers": 2}],
        ),
        Property(
            "A matrix that writes into the stream gets std / √(2 · layers)",
            [
                {"weights": {"model.layers.0.self_attn.o_proj.weight": (4, 4)}, "num_layers": 2},
                {"weights": {"model.layers.0.mlp.down_proj.weight": (4, 8)}, "num_layers": 8},
            ],
        ),
        Property(
            "A norm's weights are left out",
            [{"weights": {"model.norm.weight": (4,)}, "num_layers": 2}],
        ),
        Property(
            "Embedding and output layer get std, as they are no branch",
            [{"weights": ENDS, "num_layers": 2}],
        ),
        Property("The attention of a block", [{"weights": ATTENTION, "num_layers": 3}]),
        Property("The feed-forward layer of a block", [{"weights": MLP, "num_layers": 2}]),
        Property("std can be chosen", [{"weights": {**ATTENTION, **MLP}, "num_layers": 8, "std": 0.1}]),
    ],
    mistakes=[
        Mistake(
            "one branch were counted for each layer, and not two",
            [("math.sqrt(2 * num_layers)", "math.sqrt(num_layers)")],
            "A block adds twice to the stream: once after attention, once after the feed-forward layer.",
        ),
        Mistake(
            "the root were left out",
            [("math.sqrt(2 * num_layers)", "(2 * num_layers)")],
            "Variances add up, widths do not: a sum of n independent branches is √n times as wide as one.",
        ),
        Mistake(
            "the two matrices were drawn wider rather than narrower",
            [("std / math.sqrt", "std * math.sqrt")],
            "Many branches add up; for the sum to stay small, each must begin small.",
        ),
        Mistake(
            "all matrices were drawn narrower",
            [("narrow if writes else std", "narrow")],
            "What q, k, v, gate and up give stays inside the branch; it is not added up over the layers.",
        ),
        Mistake(
            "every projection were drawn narrower",
            [('("o_proj.weight", "down_proj.weight")', '"proj.weight"')],
            "Only the last matrix of a branch writes into the stream: o_proj and down_proj.",
        ),
        Mistake(
            "o_proj alone were drawn narrower",
            [('("o_proj.weight", "down_proj.weight")', '"o_proj.weight"')],
            "A block has two branches, and the second ends with down_proj.",
        ),
        Mistake(
            "down_proj alone were drawn narrower",
            [('("o_proj.weight", "down_proj.weight")', '"down_proj.weight"')],
            "A block has two branches, and the first ends with o_proj.",
        ),
        Mistake(
            "up_proj were taken for the matrix that writes, in place of down_proj",
            [('"down_proj.weight")', '"up_proj.weight")')],
            "The way from the stream into the wide middle is up_proj; the way back is down_proj.",
        ),
        Mistake(
            "a norm's weights were drawn too",
            [("if len(shape) == 2:", "if True:")],
            "Drawn around 0 with width 0.02, they would make every layer read almost nothing. They begin as ones.",
        ),
        Mistake(
            "embedding and output layer were left out",
            [("len(shape) == 2", 'len(shape) == 2 and "proj" in name')],
            "They are matrices as well and need random numbers: all tokens would be alike without.",
        ),
    ],
    hints=(
        "Go through names and shapes. Two questions for each: is it a matrix, and does it write into the stream?",
        "A matrix has two entries in its shape. Which one it is stands at the end of its name.",
        'name.endswith(("o_proj.weight", "down_proj.weight")) asks for both at once; the narrow width is '
        "std / math.sqrt(2 * num_layers).",
    ),
)
