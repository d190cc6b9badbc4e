"""One transformer block, out of the pieces of the modules before."""

from typing import Any

import torch
from torch import Tensor

from ..examples import TINY, gradients_at, layer_weights, moved_by_the_last_token, numbers
from ..solved import apply_rope, causal_mask, grouped_query_attention, rms_norm, rope_frequencies, swiglu
from ..task import Mistake, Property, Task


def transformer_block(x: Tensor, weights: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """Add to the stream what attention finds, then what the feed-forward layer makes of it.

    stream = x + attention(norm(x)); y = stream + feed_forward(norm(stream)). The queries and keys of each head
    are normed, where the layer has weights for that, and then turned by their positions 0, 1, … T - 1. Attention is
    causal. Head h owns rows h * d to (h + 1) * d - 1 of q_proj, and likewise of k_proj and v_proj.

    Args:
        x: the stream (B, T, D).
        weights: of one layer, by their names in a Hugging Face checkpoint: input_layernorm.weight (D,),
            self_attn.q_proj.weight (H * d, D), k_proj and v_proj (K * d, D), o_proj (D, H * d), perhaps
            q_norm and k_norm (d,), post_attention_layernorm.weight (D,), mlp.gate_proj.weight (F, D),
            up_proj (F, D) and down_proj (D, F).
        config: num_attention_heads H, num_key_value_heads K, head_dim d, rope_theta, rms_norm_eps.

    Returns:
        (B, T, D).
    """
    head_dim, eps = config["head_dim"], config["rms_norm_eps"]
    length = x.shape[1]
    normed = rms_norm(x, weights["input_layernorm.weight"], eps)
    q, k, v = (normed @ weights[f"self_attn.{name}_proj.weight"].T for name in "qkv")
    q, k, v = (y.unflatten(-1, (-1, head_dim)).transpose(1, 2) for y in (q, k, v))  # (B, H or K, T, d)
    if "self_attn.q_norm.weight" in weights:
        q = rms_norm(q, weights["self_attn.q_norm.weight"], eps)
        k = rms_norm(k, weights["self_attn.k_norm.weight"], eps)
    positions, frequencies = torch.arange(length), rope_frequencies(head_dim, config["rope_theta"])
    q = apply_rope(q, positions, frequencies)
    k = apply_rope(k, positions, frequencies)
    heads = grouped_query_attention(q, k, v, causal_mask(length, length))  # (B, H, T, d)
    attended = heads.transpose(1, 2).flatten(2) @ weights["self_attn.o_proj.weight"].T
    stream = x + attended
    normed = rms_norm(stream, weights["post_attention_layernorm.weight"], eps)
    gate, up, down = (weights[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return stream + swiglu(normed, gate, up, down)


FIRST_NORM = 'normed = rms_norm(x, weights["input_layernorm.weight"], eps)'
SECOND_NORM = 'normed = rms_norm(stream, weights["post_attention_layernorm.weight"], eps)'
QK_NORM = """    if "self_attn.q_norm.weight" in weights:
        q = rms_norm(q, weights["self_attn.q_norm.weight"], eps)
        k = rms_norm(k, weights["self_attn.k_norm.weight"], eps)
"""
TURN_K = "    k = apply_rope(k, positions, frequencies)\n"
WIDE = TINY | {"head_dim": 6}
LARGE_EPS = TINY | {"rms_norm_eps": 0.5}
GROUPS = TINY | {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 100.0}
TASK = Task(
    name="transformer_block",
    module="transformer_block",
    minutes=10,
    solution=transformer_block,
    properties=[
        Property(
            "Where o_proj and down_proj are zero, the stream passes as it is",
            [
                {
                    "x": numbers(1, 1, 8),
                    "weights": layer_weights(TINY, zeros="self_attn.o_proj mlp.down_proj"),
                    "config": TINY,
                }
            ],
        ),
        Property(
            "Where o_proj alone is zero, each token gets what the feed-forward layer makes of it",
            [
                {
                    "x": numbers(1, 1, 8),
                    "weights": layer_weights(TINY, zeros="self_attn.o_proj"),
                    "config": TINY,
                }
            ],
        ),
        Property(
            "Where down_proj alone is zero, each token gets what attention finds (here without QK-norm)",
            [
                {
                    "x": numbers(1, length, 8),
                    "weights": layer_weights(TINY, qk_norm=False, zeros="mlp.down_proj"),
                    "config": TINY,
                }
                for length in (1, 3)
            ],
        ),
        Property(
            "Where the layer has weights for it, queries and keys are normed, and then turned",
            [
                {
                    "x": numbers(1, 3, 8),
                    "weights": layer_weights(TINY, zeros="mlp.down_proj"),
                    "config": TINY,
                }
            ],
        ),
        Property(
            "A later token changes nothing for those before it",
            [{"x": numbers(1, 3, 8), "weights": layer_weights(TINY), "config": TINY}],
            moved_by_the_last_token,
            "by how much the earlier tokens' outputs move when the last token changes",
        ),
        Property(
            "The second branch reads what the first has left in the stream",
            [
                {"x": numbers(1, 1, 8), "weights": layer_weights(TINY), "config": TINY},
                {"x": numbers(2, 4, 8), "weights": layer_weights(TINY, seed=1), "config": TINY},
            ],
        ),
        Property(
            "The heads together may be wider than the stream, and share more than one key head",
            [
                {"x": numbers(1, 3, 8), "weights": layer_weights(WIDE), "config": WIDE},
                {"x": numbers(1, 3, 8), "weights": layer_weights(GROUPS, qk_norm=False), "config": GROUPS},
            ],
        ),
        Property(
            "All norms take their eps from the config",
            [{"x": numbers(1, 3, 8), "weights": layer_weights(LARGE_EPS), "config": LARGE_EPS}],
        ),
        Property(
            "The gradient flows back to x and to every weight",
            [{"x": numbers(1, 3, 8), "weights": layer_weights(TINY), "config": TINY}],
            gradients_at("x", "weights"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x and weights",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the norms stood after the sums (post-norm)",
            [
                (FIRST_NORM, "normed = x"),
                (
                    "stream = x + attended",
                    FIRST_NORM.replace("normed", "stream").replace("(x,", "(x + attended,"),
                ),
                (SECOND_NORM, "normed = stream"),
                (
                    "return stream + swiglu(normed, gate, up, down)",
                    SECOND_NORM.replace("normed =", "return").replace(
                        "(stream,", "(stream + swiglu(normed, gate, up, down),"
                    ),
                ),
            ],
            "Here the norm stands inside the branch, so the stream itself passes every layer unchanged but for sums.",
        ),
        Mistake(
            "both norms used the weight of the first",
            [
                (
                    'rms_norm(stream, weights["post_attention_layernorm.weight"]',
                    'rms_norm(stream, weights["input_layernorm.weight"]',
                )
            ],
            "The post_attention_layernorm is the feed-forward layer's norm, with a weight of its own.",
        ),
        Mistake(
            "the feed-forward layer read the stream without a norm",
            [("swiglu(normed,", "swiglu(stream,")],
            "The stream grows from layer to layer; each branch norms its own copy of it.",
        ),
        Mistake(
            "the feed-forward layer read the block's input, beside attention",
            [("rms_norm(stream,", "rms_norm(x,")],
            "Parallel blocks exist, but here the feed-forward layer works on what attention has brought.",
        ),
        Mistake(
            "the second sum started from the block's input",
            [("return stream +", "return x +")],
            "Then what attention has found is dropped: add to the stream as it stands after attention.",
        ),
        Mistake(
            "attention's result were added to the normed vector",
            [("stream = x + attended", "stream = normed + attended")],
            "The norm is for the branch alone; the stream passes by it.",
        ),
        Mistake(
            "the values were turned as well",
            [(TURN_K, TURN_K + TURN_K.replace("k = apply_rope(k,", "v = apply_rope(v,"))],
            "Positions belong into the scores; a value says the same wherever it stands.",
        ),
        Mistake(
            "the queries were not turned",
            [("    q = apply_rope(q, positions, frequencies)\n", "")],
            "Queries and keys are both turned: with one of them left alone, the angle grows with the position.",
        ),
        Mistake(
            "attention read the stream without a norm",
            [(FIRST_NORM, "normed = x")],
            "Each branch reads a normed copy of the stream; the first one too.",
        ),
        Mistake(
            "the keys were not turned",
            [(TURN_K, "")],
            "Queries and keys are both turned: then a score depends on the distance alone.",
        ),
        Mistake(
            "queries and keys were turned first and normed after it",
            [(QK_NORM, ""), (TURN_K, TURN_K + QK_NORM)],
            "A turn keeps the length, but the norm's weights scale the numbers of a pair differently.",
        ),
        Mistake(
            "the norms of queries and keys were left out",
            [('if "self_attn.q_norm.weight" in weights:', "if False:")],
            "Where the weights have q_norm and k_norm, each head's query and key is normed before it is turned.",
        ),
        Mistake(
            "there were no causal mask",
            [("(q, k, v, causal_mask(length, length))", "(q, k, v)")],
            "Then a token reads the ones that it is asked to predict.",
        ),
        Mistake(
            "the heads were laid side by side without transposing back",
            [
                (
                    "heads.transpose(1, 2).flatten(2)",
                    "heads.reshape(x.shape[0], length, -1)",
                )
            ],
            "From (B, H, T, d) go to (B, T, H, d) first: a token's heads must lie side by side.",
        ),
        Mistake(
            "a head's width were taken to be D / H",
            [
                (
                    'head_dim, eps = config["head_dim"],',
                    'head_dim, eps = x.shape[-1] // config["num_attention_heads"],',
                )
            ],
            "It often is; Qwen3's small models have wider heads, so the config says head_dim.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [
                (
                    "return stream + swiglu(normed, gate, up, down)",
                    "return (stream + swiglu(normed, gate, up, down)).detach()",
                )
            ],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
        Mistake(
            "the norms had an eps of their own, not the config's",
            [
                (
                    'head_dim, eps = config["head_dim"], config["rms_norm_eps"]',
                    'head_dim, eps = config["head_dim"], 1e-6',
                )
            ],
            "Models differ in it: read rms_norm_eps from the config and hand it to every norm.",
        ),
        Mistake(
            "the norms of queries and keys had an eps of their own, not the config's",
            [(QK_NORM, QK_NORM.replace(", eps)", ")"))],
            "Models differ in it: hand rms_norm_eps to these two norms as well.",
        ),
    ],
    hints=(
        "Two branches, attention and then the feed-forward layer: each reads the normed stream and is added to it.",
        "Attention: project the normed x, cut into heads (B, H, T, d), norm q and k if there are weights for it, "
        "turn q and k, attend causally, lay the heads side by side, o_proj. Then stream = x + that.",
        "q = (normed @ w.T).unflatten(-1, (-1, head_dim)).transpose(1, 2), back with heads.transpose(1, 2)"
        ".flatten(2). Last: stream + swiglu(rms_norm(stream, weights[…], eps), gate, up, down).",
    ),
)
