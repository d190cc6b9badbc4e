"""The stages of training in order, each on what the one before it made, and their one report."""

from .run import pipeline
from .stages import STAGES, Size, Stage

__all__ = ["STAGES", "Size", "Stage", "pipeline"]
