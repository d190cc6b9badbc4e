"""What the writing of a text can be told, by Python, by a flag or by a request: one list for all of them.

The file imports no torch, so that `minimind generate --help`, whose flags these are, answers at once. What is done
with the numbers stands in `minimind/model/sampling.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UserError

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and how often.

    Raises:
        UserError: if a value is out of range, naming it and its limits; so there is no `Sampling` to check again.
    """

    max_new_tokens: int = 64
    """Most tokens to write. Rotary positions need no table, so memory alone sets a limit."""
    temperature: float = 1.0
    """Divides the logits: below 1 the likely tokens win more often; 0 always takes the likeliest."""
    top_k: int | None = None
    """Draw only from this many likeliest tokens; 0 draws from all."""
    top_p: float | None = None
    """Draw only from the likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Draw only from tokens at least this likely, relative to the likeliest; 0 draws from all."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that have occurred become less likely."""
    seed: int | None = None
    """Start of the random choices: the same seed gives the same text. None draws from PyTorch's own."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        limits: dict[str, tuple[float, float]] = {
            "max_new_tokens": (0, infinity),
            "temperature": (0, infinity),
            "top_k": (0, infinity),
            "top_p": (0, 1),
            "min_p": (0, 1),
            "repetition_penalty": (0.1, 10),
            "seed": (0, LARGEST_SEED),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                allowed = f"between {low} and {high}" if high < infinity else f"at least {low}"
                raise UserError(f"{name} must be {allowed}, got {value}")
