"""Text to ids and back: a readable BPE, the fast one, and the chat template."""

from .bpe import BPE
from .chat import render_chat
from .train import SPECIAL_TOKENS, Tokenizer, train_tokenizer

__all__ = ["BPE", "SPECIAL_TOKENS", "Tokenizer", "render_chat", "train_tokenizer"]
