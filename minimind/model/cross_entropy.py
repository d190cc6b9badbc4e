"""Cross-entropy in chunks: the loss without ever holding the logits of all tokens at once.

At 8 rows of 512 tokens and a vocabulary of 6,400 the logits are 105 MB, their softmax and its gradient as
much again. But the gradient of a row is known as soon as its logits are: softmax minus one at the target. So
a chunk of rows is taken from hidden state to gradient in one go, and its logits are thrown away.

N: rows, one for each token that is to be predicted. C: rows of a chunk. D: `hidden_size`. V: `vocab_size`.
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
        hidden: `(N, D)`, one row for each token that is to be predicted.
        weight: output matrix `(V, D)`.
        targets: `(N,)`, the right ids.
        chunk_rows: rows held as logits at one time.

    Returns:
        A scalar in fp32; zero, with a gradient of zero, where there are no rows.
    """
    return _CrossEntropy.apply(hidden, weight, targets, chunk_rows, matmul_dtype(hidden))


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a matrix product reads x: autocast's where it is switched on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def token_log_probs(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int = CHUNK_ROWS) -> Tensor:
    """Log-probability of every target, in nats: `log softmax(hidden @ weight.T)[target]`, `(N,)` in fp32.

    Arguments as in `chunked_cross_entropy`. What will be asked of each row is known on the way back only, so the
    logits of a chunk are computed a second time there.
    """
    return _TokenLogProbs.apply(hidden, weight, targets, chunk_rows, matmul_dtype(hidden))


class _CrossEntropy(torch.autograd.Function):
    """The gradients are made on the way forward, for a loss that counts once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int, dtype: torch.dtype
    ) -> Tensor:
        need_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        weight_cast = weight.to(dtype)  # (V, D)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden)  # (N, D)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)  # (V, D)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in _chunks(hidden.to(dtype), targets, chunk_rows):
                count = rows.stop - rows.start
                log_p = _log_softmax(chunk, weight_cast)  # (C, V)
                loss -= log_p[:count].gather(1, target[:count]).sum()
                if need_gradient:
                    # d loss / d logit = probability - 1 at the target, probability elsewhere. Rows that fill the
                    # chunk have a hidden state of zeros, so they give nothing to the weights.
                    grad_logits = log_p.exp_().scatter_add_(1, target, torch.full_like(log_p[:, :1], -1.0))
                    grad_logits = grad_logits.to(dtype)  # (C, V)
                    grad_hidden[rows] = (grad_logits @ weight_cast)[:count]
                    grad_weight += grad_logits.T @ chunk
        if need_gradient:
            ctx.save_for_backward(grad_hidden, grad_weight)
            ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        grad_hidden, grad_weight = (
            ctx.saved_tensors
        )  # for a loss that counts once; here it counts grad_loss times
        return (
            grad_hidden * grad_loss if ctx.needs_input_grad[0] else None,
            (grad_weight * grad_loss).to(ctx.weight_dtype) if ctx.needs_input_grad[1] else None,
            None, None, None,
        )  # fmt: skip


class _TokenLogProbs(torch.autograd.Function):
    """The logits are made twice, on the way forward and on the way back."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.chunk_rows, ctx.dtype = chunk_rows, dtype
        weight_cast = weight.to(dtype)  # (V, D)
        log_probs = hidden.new_empty(len(hidden), dtype=torch.float32)  # (N,)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in _chunks(hidden.to(dtype), targets, chunk_rows):
                found = _log_softmax(chunk, weight_cast).gather(1, target)  # (C, 1)
                log_probs[rows] = found[: rows.stop - rows.start, 0]
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        weight_cast = weight.to(ctx.dtype)  # (V, D)
        grad_hidden = torch.empty_like(hidden)  # (N, D)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)  # (V, D)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in _chunks(hidden.to(ctx.dtype), targets, ctx.chunk_rows):
                count = rows.stop - rows.start
                asked = pad(grad[rows, None], (0, 0, 0, len(chunk) - count))  # (C, 1), 0 for the filling
                # d log p / d logit = 1 at the target, minus the probability everywhere.
                probabilities = _log_softmax(chunk, weight_cast).exp_()
                grad_logits = (probabilities * -asked).scatter_add_(1, target, asked).to(ctx.dtype)  # (C, V)
                grad_hidden[rows] = (grad_logits @ weight_cast)[:count]
                grad_weight += grad_logits.T @ chunk
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _chunks(hidden: Tensor, targets: Tensor, chunk_rows: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Cut rows into chunks `(C, D)` with targets `(C, 1)`; in bf16 the last one is filled up with zeros.

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


def _log_softmax(chunk: Tensor, weight: Tensor) -> Tensor:
    """`(C, V)` in fp32, whatever the product is computed in."""
    return torch.log_softmax(chunk @ weight.T, dim=-1, dtype=torch.float32)
