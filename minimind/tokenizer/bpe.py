"""Byte-pair encoding, readable: text becomes bytes, and pairs that are frequent become tokens of their own.

Three steps turn text into ids:

1. **Split** the text into pre-tokens (about: words with the space before them). No token crosses a border.
2. Write each pre-token as its UTF-8 **bytes**: 256 tokens suffice for any text in any language.
3. **Merge** neighbouring tokens, in the order in which training learned the merges.

Paper: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016).
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from ..errors import UserError
from .splitting import PATTERN, Splitter
from .texts import TextSource, documents_of

Pair = tuple[int, int]


def byte_order() -> list[int]:
    """The 256 bytes in the order of their ids: printable ones first, then the others.

    GPT-2 shows each byte as a printable character; this is the order of those characters' code points.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + [byte for byte in range(256) if byte not in printable]


LARGEST = 2**22
"""Ids at most; the largest vocabularies in use have a quarter of a million."""


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str]) -> None:
    """Refuse a vocabulary that has no room for the special tokens and the bytes."""
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size must be at least {smallest} (256 bytes and {len(special_tokens)} special tokens), "
            f"got {vocab_size}"
        )
    if vocab_size > LARGEST:
        raise UserError(f"vocab_size must be at most {LARGEST:,}, got {vocab_size}")


class BPE:
    """A byte-level BPE tokenizer: a vocabulary and a list of merges.

    Special tokens that are given here are recognised in text and kept whole, the longest first. Without
    them, every text is only text, whatever it spells.

    Args:
        vocab: the bytes of each id.
        merges: pairs of tokens, in the order in which they were learned: earlier ones are applied first.
        special_tokens: strings that are tokens of their own; those without an id get the next free ones.
        pattern: regular expression of the pre-tokens.

    Raises:
        UserError: if one of the 256 bytes, or what a merge makes, has no id.

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
        for special in self.special_tokens:
            if special.encode() not in self.ids:
                id = max(self.vocab) + 1
                self.vocab[id], self.ids[special.encode()] = special.encode(), id
        needed = [bytes([byte]) for byte in range(256)] + [left + right for left, right in self.merges]
        for token in needed:
            if token not in self.ids:
                raise UserError(f"the vocabulary has no id for {token!r}, which a byte or a merge needs")
        self._special_ids = {special: self.ids[special.encode()] for special in self.special_tokens}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._splitter = Splitter(pattern, self.special_tokens)
        # Words repeat: the most recent few thousand are looked up instead of being merged again.
        self._merge = lru_cache(maxsize=4096)(self._merge_bytes)

    def encode(self, text: str) -> list[int]:
        """Turn text into ids.

        Raises:
            UserError: if the text holds a lone surrogate, which UTF-8 cannot write.
        """
        return [id for piece in self._splitter.split(text) for id in self._piece_ids(piece)]

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Turn text that arrives in chunks (an open file, say) into ids, holding little of it in memory.

        The ids are those of the whole text, however it was cut into chunks.
        """
        for piece in self._splitter.stream(chunks):
            yield from self._piece_ids(piece)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Turn any bytes into ids, also those that are not text: a stray byte is a token of its own."""
        text = data.decode("utf-8", errors="surrogateescape")
        ids: list[int] = []
        for part in re.split("([\udc80-\udcff])", text):  # Python's stand-ins for bytes that are not UTF-8
            stray = len(part) == 1 and "\udc80" <= part <= "\udcff"
            ids += [self.ids[part.encode("utf-8", "surrogateescape")]] if stray else self.encode(part)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids stand for."""
        try:
            return b"".join(self.vocab[id] for id in ids)
        except KeyError as error:
            raise UserError(f"id {error} is not in the vocabulary of {len(self.vocab)} tokens") from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the ids stand for; bytes that are no UTF-8 become the replacement character."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @classmethod
    def train(
        cls,
        source: TextSource,
        vocab_size: int,
        special_tokens: Sequence[str] | None = None,
        pattern: str = PATTERN,
    ) -> BPE:
        """Learn merges from text: the most frequent pair becomes a token, again and again.

        Training ends early when no pair is left, so a small text gives a smaller vocabulary.

        Args:
            source: a text, a path, or an iterable of them; each is a document of its own.
            vocab_size: number of ids: special tokens, 256 bytes, and the merges.
            special_tokens: strings that get the first ids; the text is cut at them.
            pattern: regular expression of the pre-tokens.
        """
        special_tokens = list(special_tokens or ())
        check_vocab_size(vocab_size, special_tokens)
        splitter = Splitter(pattern, special_tokens)
        counts: Counter[str] = Counter()
        for chunks in documents_of(source):
            counts.update(splitter.stream(chunks))
        for special in special_tokens:
            counts.pop(special, None)
        tokens = [special.encode() for special in special_tokens] + [bytes([byte]) for byte in byte_order()]
        vocab = dict(enumerate(tokens))
        merges = learn_merges({word.encode(): count for word, count in counts.items()}, vocab, vocab_size)
        return cls(vocab, merges, special_tokens, pattern)

    def _piece_ids(self, piece: str) -> Sequence[int]:
        if piece in self._special_ids:
            return (self._special_ids[piece],)
        return self._merge(piece.encode())

    def _merge_bytes(self, piece: bytes) -> tuple[int, ...]:
        """Merge one pre-token: the earliest learned pair first, from left to right.

        The candidates wait in a heap, so that a very long piece takes n log n steps and not n².
        """
        end = len(piece)
        parts: list[bytes | None] = [piece[i : i + 1] for i in range(end)]
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))  # neighbours of each part

        def rank(i: int) -> int | None:  # of the pair that part i makes with the part after it
            return self._ranks.get((parts[i], parts[after[i]])) if after[i] < end else None  # type: ignore[arg-type]

        heap = [(r, i) for i in range(end) if (r := rank(i)) is not None]
        heapq.heapify(heap)
        while heap:
            r, i = heapq.heappop(heap)
            if parts[i] is None or rank(i) != r:
                continue  # one of the two was merged with another part in the meantime
            j = after[i]
            parts[i], parts[j] = parts[i] + parts[j], None  # type: ignore[operator]
            after[i] = after[j]
            if after[i] < end:
                before[after[i]] = i
            for k in (before[i], i):
                if k >= 0 and (new := rank(k)) is not None:
                    heapq.heappush(heap, (new, k))
        return tuple(self.ids[part] for part in parts if part is not None)


def learn_merges(
    word_counts: dict[bytes, int], vocab: dict[int, bytes], vocab_size: int
) -> list[tuple[bytes, bytes]]:
    """Find merges by frequency, and add the tokens that they make to `vocab`.

    Each round takes the most frequent pair; of equally frequent ones the pair with the smallest ids. The
    counts are those of a full recount, but only words that hold the merged pair are counted again.

    Args:
        word_counts: how often each pre-token occurs.
        vocab: the tokens to begin with; the bytes must be in it.
        vocab_size: stop at this many tokens, or when no pair is left.

    Examples:
        >>> learn_merges({b"aab": 2, b"ab": 1}, {0: b"a", 1: b"b"}, vocab_size=4)
        [(b'a', b'b'), (b'a', b'ab')]
    """
    ids = {token: id for id, token in vocab.items()}
    words = [[ids[bytes([byte])] for byte in word] for word in word_counts]
    counts = list(word_counts.values())
    pair_counts: Counter[Pair] = Counter()
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)  # pair -> indices of words
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pair_counts[pair] += counts[index]
            words_with[pair].add(index)

    merges: list[tuple[bytes, bytes]] = []
    while len(vocab) < vocab_size and pair_counts:
        best = max(pair_counts, key=lambda pair: (pair_counts[pair], -pair[0], -pair[1]))
        left, right = vocab[best[0]], vocab[best[1]]
        merges.append((left, right))
        new = len(vocab)
        vocab[new] = left + right
        for index in words_with.pop(best):
            for pair in pairwise(words[index]):
                pair_counts[pair] -= counts[index]
                if pair_counts[pair] == 0:
                    del pair_counts[pair]
            words[index] = replace_pair(words[index], best, new)
            for pair in pairwise(words[index]):
                pair_counts[pair] += counts[index]
                words_with[pair].add(index)
    return merges


def replace_pair(ids: list[int], pair: Pair, new: int) -> list[int]:
    """Replace each occurrence of a pair by one id, from left to right.

    Examples:
        >>> replace_pair([1, 1, 1, 2], (1, 1), 9)
        [9, 1, 2]
    """
    out: list[int] = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out
