"""What a trained model is used for: text that is shown while it is written, and conversations."""

from .chat import Chat
from .context import Prompt, fit
from .text import stream_text

__all__ = ["Chat", "Prompt", "fit", "stream_text"]
