"""The whole model: from token ids to a score for every next token."""

from typing import Any

import torch
from torch import Tensor

from ..examples import TINY, gradients_at, model_weights
from ..solved import rms_norm, transformer_block
from ..task import Mistake, Property, Task


def language_model(input_ids: Tensor, weights: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """Look up each token's vector, send it through the blocks, and score every token that may come next.

    Args:
        input_ids: (B, T).
        weights: by their names in a Hugging Face checkpoint: model.embed_tokens.weight (V, D); those of block
            i with model.layers.i. before their names; model.norm.weight (D,); lm_head.weight (V, D), unless
            the embedding is used again in its place.
        config: as for the block, and num_hidden_layers.

    Returns:
        Logits (B, T, V): at each position, a score for each token that may follow it.
    """
    x = weights["model.embed_tokens.weight"][input_ids]
    for i in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        layer = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        x = transformer_block(x, layer, config)
    x = rms_norm(x, weights["model.norm.weight"], config["rms_norm_eps"])
    output = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    return x @ output.T


ONE_LAYER = TINY | {"num_hidden_layers": 1}
THREE_LAYERS = TINY | {"num_hidden_layers": 3}
MANY_LAYERS = TINY | {"num_hidden_layers": 11}
LARGE_EPS = TINY | {"num_hidden_layers": 1, "rms_norm_eps": 0.5}
NO_LAYER = TINY | {"num_hidden_layers": 0}
TASK = Task(
    name="language_model",
    module="transformer_block",
    minutes=15,
    solution=language_model,
    core=False,
    properties=[
        Property(
            "Without blocks: the token's row, normed, scored with the rows of all tokens",
            [{"input_ids": torch.tensor([[3]]), "weights": model_weights(NO_LAYER), "config": NO_LAYER}],
        ),
        Property(
            "One block stands between the embedding and the last norm",
            [{"input_ids": torch.tensor([[3, 1]]), "weights": model_weights(ONE_LAYER), "config": ONE_LAYER}],
        ),
        Property(
            "Each block reads what the one before has left, in their order",
            [
                {"input_ids": torch.tensor([[3, 1]]), "weights": model_weights(TINY), "config": TINY},
                {
                    "input_ids": torch.tensor([[3, 1]]),
                    "weights": model_weights(THREE_LAYERS, seed=4),
                    "config": THREE_LAYERS,
                },
            ],
        ),
        Property(
            "An output layer of its own is used where there is one",
            [
                {
                    "input_ids": torch.tensor([[3, 1]]),
                    "weights": model_weights(ONE_LAYER, tied=False),
                    "config": ONE_LAYER,
                }
            ],
        ),
        Property(
            "Several rows, and a model without QK-norm",
            [
                {
                    "input_ids": torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]]),
                    "weights": model_weights(TINY, seed=7, qk_norm=False, tied=False),
                    "config": TINY,
                }
            ],
        ),
        Property(
            "More than ten blocks: block 1 and block 10 are two",
            [
                {
                    "input_ids": torch.tensor([[3, 1]]),
                    "weights": model_weights(MANY_LAYERS),
                    "config": MANY_LAYERS,
                }
            ],
            tolerance=1e-3,
        ),
        Property(
            "The last norm takes its eps from the config",
            [{"input_ids": torch.tensor([[3, 1]]), "weights": model_weights(LARGE_EPS), "config": LARGE_EPS}],
        ),
        Property(
            "The gradient flows back to every weight, to the embedding by both of its uses",
            [{"input_ids": torch.tensor([[3, 1]]), "weights": model_weights(ONE_LAYER), "config": ONE_LAYER}],
            gradients_at("weights"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at weights",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the last norm were forgotten",
            [('    x = rms_norm(x, weights["model.norm.weight"], config["rms_norm_eps"])\n', "")],
            "Every block adds to the stream, so its size grows; the norm before the output layer takes that away.",
        ),
        Mistake(
            "the last norm stood before the blocks",
            [
                ('    x = rms_norm(x, weights["model.norm.weight"], config["rms_norm_eps"])\n', ""),
                (
                    'x = weights["model.embed_tokens.weight"][input_ids]',
                    'x = rms_norm(weights["model.embed_tokens.weight"][input_ids], '
                    'weights["model.norm.weight"], config["rms_norm_eps"])',
                ),
            ],
            "Each block norms for itself; model.norm is for what comes out of the last one.",
        ),
        Mistake(
            "the blocks ran from the last to the first",
            [('in range(config["num_hidden_layers"])', 'in reversed(range(config["num_hidden_layers"]))')],
            "Block 0 reads the embedding.",
        ),
        Mistake(
            "every block had the weights of the first",
            [("model.layers.{i}.", "model.layers.0.")],
            "The number in the prefix must go up with the block.",
        ),
        Mistake(
            "the last block were left out",
            [('range(config["num_hidden_layers"])', 'range(config["num_hidden_layers"] - 1)')],
            "A range(n) ends at n - 1 by itself.",
        ),
        Mistake(
            "each block read the embedding, not the block before",
            [
                (
                    "x = transformer_block(x, layer, config)",
                    'x = transformer_block(weights["model.embed_tokens.weight"][input_ids], layer, config)',
                )
            ],
            "One stream runs through all blocks: what a block returns is what the next one reads.",
        ),
        Mistake(
            "the embedding were multiplied by √D",
            [
                (
                    'x = weights["model.embed_tokens.weight"][input_ids]',
                    'x = weights["model.embed_tokens.weight"][input_ids] * weights["model.norm.weight"].numel() ** 0.5',
                )
            ],
            "The first Transformer and Gemma do that; Llama and Qwen3 do not.",
        ),
        Mistake(
            "the embedding were the output layer even where lm_head has a matrix",
            [
                (
                    'output = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])',
                    'output = weights["model.embed_tokens.weight"]',
                )
            ],
            "Tied means that no lm_head.weight is there; if it is there, use it.",
        ),
        Mistake(
            "only the last position were scored",
            [("return x @ output.T", "return x[:, -1:] @ output.T")],
            "Generation needs the last position alone; training learns from all of them.",
        ),
        Mistake(
            "a softmax were applied",
            [("return x @ output.T", "return (x @ output.T).softmax(dim=-1)")],
            "The loss takes the softmax itself, as a logarithm; logits are the scores before it.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return x @ output.T", "return (x @ output.T).detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
        Mistake(
            "the last norm had an eps of its own, not the config's",
            [('weights["model.norm.weight"], config["rms_norm_eps"])', 'weights["model.norm.weight"])')],
            "Models differ in it: hand rms_norm_eps to the last norm too.",
        ),
        Mistake(
            "block 1 got the weights of block 10 as well: its prefix had no dot at its end",
            [
                ('prefix = f"model.layers.{i}."', 'prefix = f"model.layers.{i}"'),
                ("name.removeprefix(prefix): w", 'name.removeprefix(prefix).partition(".")[2]: w'),
            ],
            "The text model.layers.1 begins model.layers.10 too; with the dot it does not.",
        ),
    ],
    hints=(
        "Four steps: rows of the embedding, the blocks one after the other, the last norm, the output layer.",
        "weights[…][input_ids] looks rows up. Give each block the weights whose names start with model.layers.{i}. "
        "and take that prefix off.",
        "After the blocks: rms_norm with model.norm.weight, then x @ output.T with lm_head.weight; "
        "weights.get(name, other) gives the other where the name is missing.",
    ),
)
