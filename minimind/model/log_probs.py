"""The log-probability of each token, in chunks: what a stage asks that weighs every token by itself.

N: rows, one for each token that is asked for. C: rows of a chunk. E: `hidden_size`. V: `vocab_size`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from .cross_entropy import CHUNK_ROWS, chunks, log_probabilities, matmul_dtype


def token_log_probs(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int = CHUNK_ROWS) -> Tensor:
    """Log-probability of every target, in nats: `log softmax(hidden @ weight.T)[target]`, `(N,)` in fp32.

    Arguments as in `chunked_cross_entropy`. What will be asked of each row is known on the way back only, so the
    logits of a chunk are computed a second time there.
    """
    return _TokenLogProbs.apply(hidden, weight, targets, chunk_rows, matmul_dtype(hidden))


class _TokenLogProbs(torch.autograd.Function):
    """The logits are made twice, on the way forward and on the way back."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_rows: int, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.chunk_rows, ctx.dtype = chunk_rows, dtype
        weight_cast = weight.to(dtype)  # (V, E)
        log_probs = hidden.new_empty(len(hidden), dtype=torch.float32)  # (N,)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in chunks(hidden.to(dtype), targets, chunk_rows):
                found = log_probabilities(chunk, weight_cast).gather(1, target)  # (C, 1)
                log_probs[rows] = found[: rows.stop - rows.start, 0]
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        weight_cast = weight.to(ctx.dtype)  # (V, E)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None  # (N, E)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None  # (V, E)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows, chunk, target in chunks(hidden.to(ctx.dtype), targets, ctx.chunk_rows):
                count = rows.stop - rows.start
                asked = pad(grad[rows, None], (0, 0, 0, len(chunk) - count))  # (C, 1), 0 for the filling
                # d log p / d logit = 1 at the target, minus the probability everywhere.
                probabilities = log_probabilities(chunk, weight_cast).exp_()
                grad_logits = (probabilities * -asked).scatter_add_(1, target, asked).to(ctx.dtype)  # (C, V)
                if grad_hidden is not None:
                    grad_hidden[rows] = (grad_logits @ weight_cast)[:count]
                if grad_weight is not None:
                    grad_weight += grad_logits.T @ chunk
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None
