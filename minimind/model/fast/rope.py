"""The turn of `rope.py` in four calls instead of eight, for a single token (calls are its cost) and for training.

Each number takes its partner, the number half a head away, by one `roll`; the minus of `a cos - b sin` is in the table.
"""

import torch
from torch import Tensor

from .. import rope


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine for `rotate`: positions `(…, T)` to two tensors `(…, T, D)`."""
    return doubled(*rope.rotation(positions, frequencies))


def doubled(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The tables of `rope.rotation`, `(…, T, D/2)`, as `rotate` here reads them: `(…, T, D)`."""
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x `(…, T, D)` by the angles of cos and sin `(…, T, D)`."""
    partners = x.roll(x.shape[-1] // 2, dims=-1)  # (…, T, D), the halves change places
    return (x * cos + partners * sin).to(x.dtype)
