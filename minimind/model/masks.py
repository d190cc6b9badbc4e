"""Who may look at whom: causal order, left padding and the borders of packed documents."""

import torch
from torch import Tensor


def document_runs(document_ids: Tensor) -> Tensor:
    """Number the documents of each row: `(B, T)` ids to `(B, T)` counts that go up by one at each border."""
    border = document_ids[:, 1:] != document_ids[:, :-1]  # (B, T-1)
    return torch.nn.functional.pad(border.cumsum(dim=1), (1, 0))  # (B, T)


def document_positions(runs: Tensor) -> Tensor:
    """Positions `(B, T)` that start again at 0 at each border of `runs` (from `document_runs`)."""
    index = torch.arange(runs.shape[1], device=runs.device)  # (T,)
    starts = torch.nn.functional.pad(
        runs[:, 1:] != runs[:, :-1], (1, 0)
    )  # (B, T), True where a document starts
    return index - (starts * index).cummax(dim=1).values  # distance to the latest start


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """`(T, S)`, True where a query may look: itself and before. The T queries are the last of the S keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(diagonal=keys - queries)


def look_mask(
    queries: int,
    keys: int,
    device: torch.device,
    runs: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor | None:
    """The mask of one forward, True where a query may look at a key.

    Args:
        queries: number of new tokens T.
        keys: number of tokens S that can be seen, cached ones included.
        device: where to make the mask.
        runs: `(B, T)`, from `document_runs`; a token sees its own document only.
        attention_mask: `(B, S)`, zero on padding, which nobody sees.

    Returns:
        `(B or 1, 1, T, S)`, or None where the kernel's own causal order is all that is needed.
    """
    if runs is None and attention_mask is None:
        if queries in (1, keys):
            return None
        return causal_mask(queries, keys, device)[None, None]  # (1, 1, T, S)
    mask = causal_mask(queries, keys, device)[None]  # (1, T, S)
    if runs is not None:
        mask = mask & (runs[:, :, None] == runs[:, None, :])  # (B, T, S)
    if attention_mask is not None:
        # Padding still sees itself: a softmax over nothing would be NaN, and NaN spreads.
        itself = torch.eye(keys, dtype=torch.bool, device=device)[-queries:]  # (T, S)
        mask = mask & attention_mask.bool()[:, None, :] | itself  # (B, T, S)
    return mask[:, None]
