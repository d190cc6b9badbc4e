"""Byte-pair encoding, readable: three steps turn text into ids, and training learns what the third one does.

1. **Split** the text into pre-tokens (about: words with the space before them). No token crosses a border.
2. Write each pre-token as its UTF-8 **bytes**: 256 tokens suffice for any text in any language.
3. **Merge** neighbouring tokens, in the order in which training learned the merges.

Paper: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from ..errors import UserError
from .bpe_file import read_bpe, write_bpe
from .byte_characters import BYTES
from .checks import check_vocab_size
from .pairs import count_pairs, merge_pair
from .splitting import PATTERN, Splitter
from .texts import TextSource, documents_of


class BPE:
    """A byte-level BPE tokenizer: a vocabulary and a list of merges.

    Special tokens that are given here are recognised in text and kept whole, the longest first. Without
    them, every text is only text, whatever it spells.

    Args:
        vocab: the bytes of each id. Each of the 256 bytes, and what each merge makes, must have one.
        merges: pairs of tokens, in the order in which they were learned: earlier ones are applied first.
        special_tokens: strings that are tokens of their own; those without an id get the next free ones.
        pattern: regular expression of the pre-tokens. `PATTERN` bounds their length; where one does not, a
            long piece of n bytes takes n steps for every merge that is found in it.

    Examples:
        >>> bpe = BPE.train("low lower lowest", vocab_size=259)
        >>> bpe.merges
        [(b'l', b'o'), (b'lo', b'w'), (b' ', b'low')]
        >>> bpe.encode("low lower")
        [257, 258, 68, 81]
        >>> bpe.decode([257, 258])
        'low low'
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
        pattern: str = PATTERN,
    ) -> None:
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.special_tokens = list(special_tokens or ())
        self.pattern = pattern
        self.ids = {token: id for id, token in self.vocab.items()}
        for token in map(str.encode, self.special_tokens):
            if token not in self.ids:
                self.ids[token] = max(self.vocab) + 1
                self.vocab[self.ids[token]] = token
        for token in BYTES + [left + right for left, right in self.merges]:
            if token not in self.ids:
                raise UserError(f"the vocabulary has no id for {token!r}, which a byte or a merge needs")
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._splitter = Splitter(pattern, self.special_tokens)
        self._piece_ids = lru_cache(maxsize=4096)(self._encode_piece)  # Words repeat.

    def encode(self, text: str) -> list[int]:
        """Turn text into ids."""
        return [id for piece in self._splitter.split(text) for id in self._piece_ids(piece)]

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Turn text that arrives in chunks (an open file, say) into the ids of the whole, in little memory."""
        for piece in self._splitter.stream(chunks):
            yield from self._piece_ids(piece)

    def _encode_piece(self, piece: str) -> list[int]:
        if piece in self.special_tokens:
            return [self.ids[piece.encode()]]
        tokens = [bytes([byte]) for byte in piece.encode()]
        while known := [pair for pair in pairwise(tokens) if pair in self._ranks]:
            first = min(known, key=lambda pair: self._ranks[pair])  # the pair that was learned first
            tokens = merge_pair(tokens, first, first[0] + first[1])
        return [self.ids[token] for token in tokens]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the ids stand for; bytes that are no UTF-8 become the replacement character."""
        try:
            return b"".join(self.vocab[id] for id in ids).decode("utf-8", errors="replace")
        except KeyError as error:
            raise UserError(f"id {error} is not in the vocabulary of {len(self.vocab)} tokens") from None

    @classmethod
    def train(
        cls,
        source: TextSource,
        vocab_size: int,
        special_tokens: Sequence[str] | None = None,
        pattern: str = PATTERN,
    ) -> BPE:
        """Learn merges from text: the most frequent pair becomes a token, again and again.

        Of equally frequent pairs the smallest ids win. It ends early when none is left. `train_tokenizer` is faster.

        Args:
            source: a text, a path, or an iterable of them; each is a document of its own.
            vocab_size: number of ids: special tokens, 256 bytes, and the merges.
            special_tokens: strings that get the first ids; the text is cut at them.
            pattern: regular expression of the pre-tokens.
        """
        special_tokens = list(special_tokens or ())
        check_vocab_size(vocab_size, special_tokens)
        vocab = dict(enumerate([special.encode() for special in special_tokens] + BYTES))
        ids = {token: id for id, token in vocab.items()}
        splitter = Splitter(pattern, special_tokens)
        pieces = Counter(piece for chunks in documents_of(source) for piece in splitter.stream(chunks))
        for special in special_tokens:
            del pieces[special]  # A Counter does not mind if it never occurred.
        # A pre-token that occurs n times is merged once and counted n times.
        words = [([ids[bytes([byte])] for byte in piece.encode()], n) for piece, n in pieces.items()]
        counts = count_pairs(words)
        merges = []
        while len(vocab) < vocab_size and any(counts.values()):
            new = len(vocab)
            best = min(counts, key=lambda pair: (-counts[pair], pair))  # of equals, the smallest ids
            vocab[new] = vocab[best[0]] + vocab[best[1]]
            merges.append((vocab[best[0]], vocab[best[1]]))
            for place, (word, count) in enumerate(words):
                if best in pairwise(word):  # Only these words have other pairs now.
                    words[place] = merge_pair(word, best, new), count
                    counts.subtract(count_pairs([(word, count)]))
                    counts.update(count_pairs([words[place]]))
        return cls(vocab, merges, special_tokens, pattern)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a JSON file."""
        write_bpe(path, self.vocab, self.merges, self.special_tokens, self.pattern)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPE:
        """Read what `save` wrote; a damaged file is a `UserError` that says what is wrong."""
        try:
            return cls(*read_bpe(path))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
