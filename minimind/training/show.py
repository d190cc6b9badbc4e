"""What a run shows of itself in words: a text that the model writes, and the documents of a batch."""

from __future__ import annotations

import torch

from ..model import MiniMind
from ..sampling import Sampling
from ..tokenizer import Tokenizer
from .objectives import Batch


def sample(model: MiniMind, tokenizer: Tokenizer, tokens: int, seed: int) -> str:
    """Let the model write the beginning of a document."""
    start = torch.tensor([[tokenizer.bos_token_id]], device=next(model.parameters()).device)
    sampling = Sampling(max_new_tokens=tokens, temperature=0.8, seed=seed)
    ids = model.generate(start, sampling=sampling)
    return printable(tokenizer.decode(ids[0].tolist(), skip_special_tokens=True))


def printable(text: str) -> str:
    """A text without control characters: an untrained model writes them too, and a terminal would obey them."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def describe_rows(tokenizer: Tokenizer, batch: Batch) -> str:
    """How the documents of a batch's first row begin."""
    ids, documents = batch["input_ids"][0], batch["document_ids"][0]
    texts = [
        tokenizer.decode(ids[documents == number].tolist(), skip_special_tokens=True) for number in range(3)
    ]
    return " / ".join(repr(text[:50]) for text in texts if text)
