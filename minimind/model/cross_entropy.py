"""Cross-entropy in chunks: the loss without ever holding the logits of all tokens at once.

At 8 rows of 512 tokens and a vocabulary of 6,400 the logits are 105 MB, their softmax and its gradient as
much again. But the gradient of a row is known as soon as its logits are: softmax minus one at the target. So
a chunk of rows is taken from hidden state to gradient in one go, and its logits are thrown away.

N: rows, one for each token that is to be predicted. C: rows of a chunk. E: `hidden_size`. V: `vocab_size`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

CHUNK_ROWS = 512


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int = CHUNK_ROWS
) -> Tensor:
    """Sum of the cross-entropy over rows, in nats: `-log softmax(hidden @ weight.T)[target]`.

    The softmax is in fp32; under autocast the matrix products are in its dtype.

    Args:
        hidden: `(N, E)`, one row for each token that is to be predicted.
        weight: output matrix `(V, E)`.
        targets: `(N,)`, the right ids.
        chunk_rows: rows held as logits at one time.

    Returns:
        A scalar in fp32; zero, with a gradient of zero, where there are no rows.
    """
    if not torch.is_grad_enabled():
        # A Function is told what requires a gradient, not that none will be asked for.
        hidden, weight = hidden.detach(), weight.detach()
    return _CrossEntropy.apply(hidden, weight, targets, chunk_rows, matmul_dtype(hidden))


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a matrix product reads x: autocast's where it is switched on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class _CrossEntropy(torch.autograd.Function):
    """The gradients are made on the way forward, for a loss that counts once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int, dtype: torch.dtype
    ) -> Tensor:
        weight_cast = weight.to(dtype)  # (V, E)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None  # (N, E)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None  # (V, E)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in chunks(hidden.to(dtype), targets, chunk_rows):
                count = rows.stop - rows.start
                log_p = log_probabilities(chunk, weight_cast)  # (C, V)
                loss -= log_p[:count].gather(1, target[:count]).sum()
                if need_hidden or need_weight:
                    # d loss / d logit = probability - 1 at the target, probability elsewhere. Rows that fill the
                    # chunk have a hidden state of zeros, so they give nothing to the weights.
                    grad_logits = log_p.exp_().scatter_add_(1, target, torch.full_like(log_p[:, :1], -1.0))
                    grad_logits = grad_logits.to(dtype)  # (C, V)
                if grad_hidden is not None:
                    grad_hidden[rows] = (grad_logits @ weight_cast)[:count]
                if grad_weight is not None:
                    grad_weight += grad_logits.T @ chunk
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        # They were made for a loss that counts once; here it counts grad_loss times.
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad_loss
        if grad_weight is not None:
            grad_weight = (grad_weight * grad_loss).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None, None


def chunks(hidden: Tensor, targets: Tensor, chunk_rows: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Cut rows into chunks `(C, E)` with targets `(C, 1)`; in bf16 the last one is filled up with zeros.

    The products of all chunks then have one shape. With another one for each number of labels, oneDNN would build and
    keep a kernel for each, and memory would grow as long as a training lasts. In fp32 no kernels are kept.
    """
    filled = hidden.dtype != torch.float32
    # A few rows need no chunk of 512: they get the power of two that holds them.
    chunk_rows = min(chunk_rows, 1 << max(len(hidden) - 1, 0).bit_length())
    for start in range(0, len(hidden), chunk_rows):
        rows = slice(start, min(start + chunk_rows, len(hidden)))
        missing = chunk_rows - (rows.stop - rows.start) if filled else 0
        yield rows, pad(hidden[rows], (0, 0, 0, missing)), pad(targets[rows], (0, missing))[:, None]


def log_probabilities(chunk: Tensor, weight: Tensor) -> Tensor:
    """Of every id, for the rows of a chunk: `(C, V)` in fp32, whatever the product is computed in."""
    return torch.log_softmax(chunk @ weight.T, dim=-1, dtype=torch.float32)
