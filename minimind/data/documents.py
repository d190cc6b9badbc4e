"""Texts as training documents: a start token, the text, an end token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from ..tokenizer import Tokenizer

BATCH = 1000  # texts that are tokenized together


def encode_documents(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """Tokenize texts as documents.

    Each becomes `[start] + encode(text) + [end]`. So the first token of the text has something to be
    predicted from, and the end is predicted too.

    Examples:
        >>> from minimind.tokenizer import train_tokenizer
        >>> tokenizer = train_tokenizer(["low lower lowest"], vocab_size=262)
        >>> list(encode_documents(tokenizer, ["low", "low low"]))
        [[1, 260, 2], [1, 260, 261, 2]]
    """
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        for ids in tokenizer.encode_batch(batch):
            yield [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
