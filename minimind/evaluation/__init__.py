"""Measuring what a trained model can do."""

from .evaluate import evaluate
from .report import report

__all__ = ["evaluate", "report"]
