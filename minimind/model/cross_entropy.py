"""Cross-entropy in chunks: the loss without ever holding the logits of all tokens at once.

At 8 rows of 512 tokens and a vocabulary of 6,400 the logits are 105 MB, their softmax and its gradient as
much again. But the gradient of a row is known as soon as its logits are: softmax minus one at the target. So
a chunk of rows is taken from hidden state to gradient in one go, and its logits are thrown away.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ROWS = 512


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int) -> Tensor:
        device = hidden.device.type
        matmul_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            return _forward(ctx, hidden, weight, targets, chunk_rows, matmul_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        # The forward pass made the gradients for a loss that counts once; here it counts grad_loss times.
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            grad_hidden * grad_loss if ctx.needs_input_grad[0] else None,
            (grad_weight * grad_loss).to(ctx.weight_dtype) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def _forward(
    ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int, matmul_dtype: torch.dtype
) -> Tensor:
    need_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
    weight_cast = weight.to(matmul_dtype)  # (V, D)
    loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if need_gradient else None  # (N, D)
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_gradient else None  # (V, D)
    for start in range(0, hidden.shape[0], chunk_rows):
        rows = slice(start, start + chunk_rows)
        chunk, target = hidden[rows].to(matmul_dtype), targets[rows, None]  # (C, D), (C, 1)
        log_p = torch.log_softmax(chunk @ weight_cast.T, dim=-1, dtype=torch.float32)  # (C, V)
        loss -= log_p.gather(1, target).sum()
        if grad_hidden is None or grad_weight is None:
            continue
        # d loss / d logit = probability - 1 at the target, probability elsewhere.
        grad_logits = log_p.exp_().scatter_add_(1, target, torch.full_like(log_p[:, :1], -1.0))  # (C, V)
        grad_logits = grad_logits.to(matmul_dtype)
        grad_hidden[rows] = grad_logits @ weight_cast
        grad_weight += grad_logits.T @ chunk
    if grad_hidden is not None and grad_weight is not None:
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
    return loss


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int = CHUNK_ROWS
) -> Tensor:
    """Sum of the cross-entropy over rows, in nats: `-log softmax(hidden @ weight.T)[target]`.

    The softmax is in fp32; under autocast the matrix products are in its dtype.

    Args:
        hidden: `(N, D)`, one row for each token that is to be predicted.
        weight: output matrix `(V, D)`.
        targets: `(N,)`, the right ids.
        chunk_rows: rows held as logits at one time.

    Returns:
        A scalar in fp32; zero, with a gradient of zero, where there are no rows.
    """
    return _ChunkedCrossEntropy.apply(hidden, weight, targets, chunk_rows)
