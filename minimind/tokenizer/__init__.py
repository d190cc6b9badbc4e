"""Text to ids and back: a readable BPE, the fast one, and the chat template."""

from .bpe import BPE
from .chat import render_chat
from .train import SPECIAL_IDS, SPECIAL_TOKENS, Tokenizer, VocabularyTooLarge, train_tokenizer

__all__ = [
    "BPE",
    "SPECIAL_IDS",
    "SPECIAL_TOKENS",
    "Tokenizer",
    "VocabularyTooLarge",
    "render_chat",
    "train_tokenizer",
]
