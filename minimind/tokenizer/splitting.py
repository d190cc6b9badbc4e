"""Splitting: text is cut into pre-tokens, about words, before bytes are merged inside each.

Without it, the most frequent pairs would be word ends with spaces and full stops, and "dog", "dog." and
"dog!" would be tokens that have nothing in common.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from ..errors import UserError
from .checks import check_text

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}{1,64}"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]{1,64}[\r\n]{0,64}"
    r"|\s{0,64}[\r\n]{1,64}"
    r"|\s{1,64}(?!\S)"
    r"|\s{1,64}"
)
"""What one pre-token is; the alternatives, in order: an English contraction; letters, with one space or mark
before them; one digit; punctuation, with the line ends after it; line ends; spaces, but for the one that
belongs to the next word. None is longer than 64 of its kind: the work of merging a pre-token can grow with the
square of its length."""

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's: digits stay together, only small letters make a contraction, and a pre-token can have any length."""


class Splitter:
    """Cuts text into pre-tokens, and keeps special tokens whole.

    The regular expression runs in the engine of the `tokenizers` library, so that this readable tokenizer and
    the fast one agree on what a letter is, whatever their versions of Unicode.

    Args:
        pattern: regular expression whose matches are the pre-tokens.
        special_tokens: strings that are cut out first, the longest one where several fit.

    Examples:
        >>> Splitter().split("It's 42 o'clock.")
        ['It', "'s", ' ', '4', '2', ' o', "'clock", '.']
    """

    def __init__(self, pattern: str = PATTERN, special_tokens: Sequence[str] = ()) -> None:
        try:
            self._cut = Split(Regex(pattern), "isolated")
        except Exception as error:  # The library raises plain `Exception` for a pattern that it cannot read.
            raise UserError(f"the pattern {pattern!r} is no regular expression ({error})") from None
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")  # (?!) never matches
        self._longest = max(map(len, special_tokens), default=1)

    def split(self, text: str) -> list[str]:
        """The pre-tokens and special tokens of a whole text; joined, they are the text again."""
        pieces: list[str] = []
        start = 0
        for special in self._special.finditer(text):
            pieces += [*self._pre_tokens(text[start : special.start()]), special.group()]
            start = special.end()
        return pieces + self._pre_tokens(text[start:])

    def plain_parts(self, text: str) -> list[str]:
        """The text between the special tokens."""
        return self._special.split(text)

    def stream(self, chunks: Iterable[str]) -> Iterator[str]:
        """The pieces of a text that arrives in chunks, the same as `split` gives for the whole.

        What later text could still change is held back: a special token that may be about to begin, and the
        last two pre-tokens. Two suffice for both patterns above (GPT-2's cuts `I've` into `I` and `'ve`, but
        `I'v` into `I`, `'` and `v`); with another pattern, see to it that they do.
        """
        text, held = "", 0
        for chunk in chunks:
            text += chunk
            if len(text) < 2 * held:
                continue  # A long piece that arrives letter by letter is looked at only when it has doubled.
            settled = max(0, len(text) - self._longest + 1)  # a special token from here on may be incomplete
            end = 0
            for special in self._special.finditer(text):
                if special.start() < settled:
                    end = special.end()
            yield from self.split(text[:end])
            for piece in self._pre_tokens(text[end:settled])[:-2]:
                yield piece
                end += len(piece)
            text = text[end:]
            held = len(text)
        yield from self.split(text)

    def _pre_tokens(self, text: str) -> list[str]:
        check_text(text)
        return [piece for piece, _ in self._cut.pre_tokenize_str(text)]
