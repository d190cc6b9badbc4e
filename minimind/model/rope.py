"""RoPE: a token's position turns its queries and keys, so a score depends on how far two tokens are apart.

The numbers of a head are taken in pairs, each pair a point in a plane. At position p, pair i is turned by the
angle p * frequency_i. A query turned by p and a key turned by s meet at the angle (p - s) * frequency_i: only
the distance is left.
"""

import math
from typing import Any

import torch
from torch import Tensor


def rope_frequencies(head_dim: int, theta: float, scaling: dict[str, Any] | None = None) -> Tensor:
    """Angle in radians by which each pair turns from one token to the next.

    Args:
        head_dim: numbers per head; even.
        theta: base of the frequencies. Pair i turns by `theta ** (-2 i / head_dim)`: the first pair by a
            radian, the last by `theta ** (2 / head_dim) / theta`, near 1 / theta in a wide head.
        scaling: YaRN, as in `ModelConfig.rope_scaling`; None leaves the frequencies as they are.

    Returns:
        Frequencies `(head_dim / 2,)` in fp32, the fastest first.

    Raises:
        ValueError: if head_dim is odd or the kind of scaling is not known.

    References:
        Su et al., RoFormer, 2021, https://arxiv.org/abs/2104.09864
    """
    if head_dim % 2 != 0:
        raise ValueError(f"head_dim must be even for RoPE, got {head_dim}")
    # Always made on the CPU: a model built on the "meta" device has no numbers, but needs these.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim  # (D/2,)
    frequencies = 1.0 / theta**exponents  # (D/2,)
    if scaling is None:
        return frequencies
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind != "yarn":
        raise ValueError(f"rope_scaling: rope_type must be 'yarn', got {kind!r}")
    return _yarn(frequencies, head_dim, theta, scaling)


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every angle, for `rotate`: positions `(…, T)` to two tensors `(…, T, D/2)`.

    They are the same for all layers, so the model computes them once per forward. In fp32: in bf16 the
    positions 256 and 257 are the same number.
    """
    angles = positions[..., None].float() * frequencies  # (…, T, D/2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x `(…, D)` by the angles of cos and sin `(…, D/2)`, which broadcast over heads.

    Number i of the first half and number i of the second half make a pair, the point (a, b) ("rotate-half").
    Weights trained with neighbours as pairs need their rows permuted first.
    """
    a, b = x.chunk(2, dim=-1)  # (…, D/2)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def apply_rope(x: Tensor, positions: Tensor, frequencies: Tensor) -> Tensor:
    """Turn queries or keys by their positions.

    Args:
        x: `(…, T, head_dim)`.
        positions: `(T,)`, or `(B, T)` where the rows of x `(B, …, T, head_dim)` have positions of their own.
        frequencies: `(head_dim / 2,)`, from `rope_frequencies`.

    Returns:
        The turned vectors, shape and dtype of x. No length changes.

    Raises:
        ValueError: if x has not as many tokens as there are positions, or not two numbers for each frequency.
    """
    if (x.shape[-2], x.shape[-1]) != (positions.shape[-1], 2 * frequencies.shape[0]):
        raise ValueError(
            f"x has {x.shape[-2]} tokens of {x.shape[-1]} numbers; the {positions.shape[-1]} positions and "
            f"{frequencies.shape[0]} frequencies are for {positions.shape[-1]} of {2 * frequencies.shape[0]}"
        )
    cos, sin = rotation(positions, frequencies)  # (T, D/2) or (B, T, D/2)
    while positions.dim() > 1 and cos.dim() < x.dim():
        cos, sin = cos.unsqueeze(-3), sin.unsqueeze(-3)  # (B, 1, T, D/2): the same for all heads
    return rotate(x, cos, sin)


def _yarn(frequencies: Tensor, head_dim: int, theta: float, scaling: dict[str, Any]) -> Tensor:
    """Slow down the pairs that never finished a turn in training; leave alone those that made many.

    References:
        Peng et al., YaRN, 2023, https://arxiv.org/abs/2309.00071
    """
    trained_length = scaling["original_max_position_embeddings"]

    def pair_that_makes(turns: float) -> float:
        """Index, as a fraction, of the pair that makes this many full turns within the trained length."""
        return head_dim * math.log(trained_length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    # Pairs before `first` turned often: every angle was seen. Pairs from `last` on saw a part of the circle.
    first = max(math.floor(pair_that_makes(scaling.get("beta_fast") or 32)), 0)
    last = min(math.ceil(pair_that_makes(scaling.get("beta_slow") or 1)), head_dim - 1)
    width = last - first if last != first else 0.001  # no ramp: a step, and no division by 0
    pairs = torch.arange(head_dim // 2, dtype=torch.float32, device="cpu")  # (D/2,)
    slowed = ((pairs - first) / width).clamp(0, 1)  # (D/2,), 0 = untouched, 1 = slowed by the whole factor
    return frequencies / scaling["factor"] * slowed + frequencies * (1 - slowed)


def yarn_score_factor(scaling: dict[str, Any] | None) -> float:
    """What the scores of attention are multiplied by under YaRN, because longer rows flatten the softmax.

    The paper multiplies queries and keys by `attention_factor`, by default `0.1 ln(factor) + 1`. Turning a
    vector and scaling it may change places, so we leave both alone and scale their product by the square.
    """
    if scaling is None:
        return 1.0
    attention_factor = scaling.get("attention_factor")
    if attention_factor is None:
        factor = scaling["factor"]
        attention_factor = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    return float(attention_factor) ** 2
