"""The fast tokenizer: the same BPE, trained by the `tokenizers` library.

It gives the same merges and the same ids as the readable one in `bpe.py`, many times faster, and saves files
that `transformers` loads as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from ..errors import UserError
from .checks import check_text, check_vocab_size
from .splitting import PATTERN, Splitter
from .texts import TextSource, documents_of
from .tokenizer import SPECIAL_TOKENS, Tokenizer


class VocabularyTooLarge(UserError):
    """The text has fewer pairs to merge than asked for; `largest` is the vocabulary that it allows."""

    def __init__(self, message: str, largest: int) -> None:
        super().__init__(message)
        self.largest = largest


def train_tokenizer(
    source: TextSource, vocab_size: int, special_tokens: Sequence[str] = SPECIAL_TOKENS
) -> Tokenizer:
    """Learn a tokenizer from text.

    The ids are: special tokens, the 256 bytes, then one token per merge. Equal input gives equal output.

    Args:
        source: texts, or paths of plain text files (read in blocks); each is a document of its own.
        vocab_size: number of ids.
        special_tokens: in the order padding, start, end, then any others; where there are fewer than three,
            the first serves for what is missing.

    Raises:
        UserError: if `vocab_size` is smaller than the bytes need, or larger than the text has pairs for.
    """
    special_tokens = list(special_tokens)
    for token in special_tokens:
        if not (len(token) > 1 and token.isascii() and token.isprintable() and " " not in token):
            raise UserError(
                f"a special token must be two or more ASCII characters, no space; found {token!r}"
            )
    if not special_tokens or len(set(special_tokens)) < len(special_tokens):
        raise UserError(f"special_tokens must be one or more different strings, found {special_tokens}")
    check_vocab_size(vocab_size, special_tokens)
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_training_parts(source, special_tokens), trainer=trainer)
    found = backend.get_vocab_size()
    if found < vocab_size:
        raise VocabularyTooLarge(
            f"vocab_size {vocab_size} is larger than the data allows: the text has pairs for {found} tokens; "
            f"ask for at most {found}, or give more text",
            largest=found,
        )
    named = {**dict.fromkeys(range(3), special_tokens[0]), **dict(enumerate(special_tokens))}
    return Tokenizer(backend, pad_token=named[0], bos_token=named[1], eos_token=named[2])


def _training_parts(source: TextSource, special_tokens: Sequence[str]) -> Iterator[str]:
    """Blocks of text without the special tokens that it may spell, as the readable tokenizer counts them."""
    splitter = Splitter(special_tokens=special_tokens)
    for blocks in documents_of(source):
        for block in blocks:
            check_text(block)
            yield from splitter.plain_parts(block)
