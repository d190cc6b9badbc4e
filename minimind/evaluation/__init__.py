"""Measuring what a trained model can do."""

from .evaluate import evaluate

__all__ = ["evaluate"]
