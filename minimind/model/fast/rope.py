"""The turn of `rope.py` in four calls instead of eight: for a single token, calls are what takes the time.

Each number takes its partner, the number half a head away, by one `roll`; the minus of `a cos - b sin` is in the table.
"""

import torch
from torch import Tensor

from .. import rope


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine for `rotate`: positions `(…, T)` to two tensors `(…, T, D)`."""
    cos, sin = rope.rotation(positions, frequencies)  # (…, T, D/2)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x `(…, T, D)` by the angles of cos and sin `(…, T, D)`."""
    partners = x.roll(x.shape[-1] // 2, dims=-1)  # (…, T, D), the halves change places
    return (x * cos + partners * sin).to(x.dtype)
