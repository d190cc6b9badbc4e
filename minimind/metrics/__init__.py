"""Measures of a language model."""

from .perplexity import HeldOut, Perplexity, held_out, perplexity

__all__ = ["HeldOut", "Perplexity", "held_out", "perplexity"]
