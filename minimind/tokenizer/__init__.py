"""Text to ids and back: a readable BPE, the fast one, and the chat template."""

from .bpe import BPE
from .chat import render_chat
from .splitting import GPT2_PATTERN, PATTERN
from .tokenizer import SPECIAL_IDS, SPECIAL_TOKENS, Tokenizer
from .train import VocabularyTooLarge, train_tokenizer

__all__ = [
    "BPE",
    "GPT2_PATTERN",
    "PATTERN",
    "SPECIAL_IDS",
    "SPECIAL_TOKENS",
    "Tokenizer",
    "VocabularyTooLarge",
    "render_chat",
    "train_tokenizer",
]
