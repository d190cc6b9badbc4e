"""From scores to a choice: reshape the distribution, cut its tail, draw.

Each step takes logits `(B, V)` and gives logits `(B, V)`, with -inf for what was cut; `choose`, the last, gives ids.
The order is that of Hugging Face: repetition penalty, temperature, top-k, top-p, min-p. The settings come as one
`Sampling`.
"""

import torch
from torch import Tensor

from ..sampling import Sampling


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make ids less likely that the text so far has.

    Args:
        logits: `(B, V)`.
        seen: `(B, V)`, True for ids in prompt or answer.
        penalty: positive logits are divided by it, negative ones multiplied; above 1 discourages.

    References:
        Keskar et al., CTRL, 2019, https://arxiv.org/abs/1909.05858
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k highest logits (and what ties with the last of them)."""
    k = min(k, logits.shape[-1])
    lowest_kept = logits.topk(k, dim=-1).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < lowest_kept, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of ids whose probabilities reach p; at least one.

    References:
        Holtzman et al., The Curious Case of Neural Text Degeneration, 2019, https://arxiv.org/abs/1904.09751
    """
    ascending, order = logits.sort(dim=-1)  # (B, V), the least likely first
    tail = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p  # what can go without falling below p
    tail[:, -1] = False
    return logits.masked_fill(tail.scatter(1, order, tail), float("-inf"))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep ids at least p times as likely as the most likely one.

    References:
        Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024, https://arxiv.org/abs/2407.01082
    """
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), float("-inf"))


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """Choose an id for each row.

    Args:
        logits: `(B, V)`.
        sampling: its temperature, top_k, top_p and min_p are used.
        generator: where the random numbers come from; None is PyTorch's global one.

    Returns:
        Ids `(B,)`.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # The highest becomes 0 before the division: a tiny temperature then gives -inf to the rest, and no NaN.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None and sampling.top_p < 1:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p:
        logits = keep_min_p(logits, sampling.min_p)
    return torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=generator)[:, 0]
