"""What a trained model is used for: so far, to write text that is shown while it is written."""

from .text import stream_text

__all__ = ["stream_text"]
