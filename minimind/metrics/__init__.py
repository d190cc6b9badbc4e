"""Measures of a language model."""

from .answers import Reply, answer
from .intervals import PairedDifference, confidence_interval, paired_difference
from .perplexity import HeldOut, Perplexity, held_out, perplexity

__all__ = [
    "HeldOut",
    "PairedDifference",
    "Perplexity",
    "Reply",
    "answer",
    "confidence_interval",
    "held_out",
    "paired_difference",
    "perplexity",
]
