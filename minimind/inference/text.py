"""Text while it is written: pieces that are whole, from ids that come one by one."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from torch import Tensor

from ..tokenizer import Tokenizer


def stream_text(tokenizer: Tokenizer, ids: Iterable[int | Tensor]) -> Iterator[str]:
    """Show ids as text, each character as soon as all of its bytes are there.

    A token is a few bytes, and a character of UTF-8 has up to four, so an emoji may be spread over several tokens.
    Each byte is read once: the time for a text grows with its length, where decoding everything at each token would
    let it grow with the square.

    Args:
        tokenizer: knows the bytes of each id.
        ids: one after the other; tensors of one number, such as the steps of `model.stream`, are ids too.

    Yields:
        Pieces that are not empty. Together they are `tokenizer.decode(ids, skip_special_tokens=True)`: bytes that
        are no UTF-8, or half a character at the end, become the replacement character.

    Examples:
        >>> from minimind.tokenizer import train_tokenizer
        >>> tokenizer = train_tokenizer(["low lower lowest"], vocab_size=262)
        >>> ids = tokenizer.encode("low é")
        >>> len(ids), list(stream_text(tokenizer, ids))
        (4, ['low', ' ', 'é'])
    """
    if not tokenizer.is_byte_level:
        yield from _by_decoding(tokenizer, ids)
        return
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for id in ids:
        piece = characters.decode(tokenizer.bytes_of(int(id)))
        if piece:
            yield piece
    rest = characters.decode(b"", final=True)
    if rest:
        yield rest


def _by_decoding(tokenizer: Tokenizer, ids: Iterable[int | Tensor]) -> Iterator[str]:
    """The same for a tokenizer whose tokens are not spelled in bytes: decode all, show what is new and settled."""
    written: list[int] = []
    shown = ""
    for id in ids:
        written.append(int(id))
        text = tokenizer.decode(written, skip_special_tokens=True)
        if len(text) > len(shown) and not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[len(shown) :]
            shown = text
    rest = tokenizer.decode(written, skip_special_tokens=True)[len(shown) :]
    if rest:
        yield rest
