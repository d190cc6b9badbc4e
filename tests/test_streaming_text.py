"""Text while it is written: whole characters as soon as they are there, and together what decoding gives."""

import random
from collections import Counter

import pytest
import tokenizers
import torch

from minimind.inference import stream_text
from minimind.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["low lower lowest, the slow tower"], vocab_size=270)


def bytes_as_ids(tokenizer: Tokenizer, content: bytes) -> list[int]:
    """One id for each byte, which no merge of the tokenizer joins."""
    id_of = {tokenizer.bytes_of(id): id for id in range(3, 3 + 256)}
    return [id_of[bytes([byte])] for byte in content]


def test_an_emoji_over_several_tokens_is_shown_when_it_is_whole(tokenizer):
    ids = bytes_as_ids(tokenizer, "a🙂é!".encode())
    assert len(ids) == 8
    shown = []
    pieces = stream_text(tokenizer, (shown.append(id) or id for id in ids))
    seen = [(piece, len(shown)) for piece in pieces]
    assert seen == [("a", 1), ("🙂", 5), ("é", 7), ("!", 8)]


def test_half_a_character_at_the_end_comes_out_as_its_replacement(tokenizer):
    ids = bytes_as_ids(tokenizer, "ab🙂".encode()[:-1])
    assert list(stream_text(tokenizer, ids)) == ["a", "b", "\N{REPLACEMENT CHARACTER}"]
    assert tokenizer.decode(ids) == "ab\N{REPLACEMENT CHARACTER}"


def test_a_byte_that_begins_no_character_is_not_waited_for(tokenizer):
    ids = bytes_as_ids(tokenizer, b"\xff\xff")
    assert next(stream_text(tokenizer, iter([*ids, None]))) == "\N{REPLACEMENT CHARACTER}"


def test_special_tokens_and_unknown_ids_are_skipped(tokenizer):
    first, *rest = bytes_as_ids(tokenizer, "é".encode())
    ids = [tokenizer.bos_token_id, first, tokenizer.eos_token_id, *rest, tokenizer.vocab_size + 7]
    assert list(stream_text(tokenizer, ids)) == ["é"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "é"


def test_a_text_that_spells_a_special_token_is_shown(tokenizer):
    assert "".join(stream_text(tokenizer, tokenizer.encode("<|im_end|>"))) == "<|im_end|>"


def test_steps_of_a_model_are_ids(tokenizer):
    steps = [torch.tensor([id]) for id in tokenizer.encode("low tower")]
    assert "".join(stream_text(tokenizer, steps)) == "low tower"


@pytest.mark.parametrize("seed", range(40))
def test_the_pieces_together_are_what_decoding_gives(tokenizer, seed):
    choice = random.Random(seed)
    # Bytes that begin and go on with characters often, so that many are cut, too long, or not allowed at all.
    some = [*range(0x80, 0xC4), 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0x41]
    content = bytes(choice.choice(some) for _ in range(200)) + "🙂".encode()[: choice.randrange(5)]
    ids = bytes_as_ids(tokenizer, content)
    ids += choice.choices(range(tokenizer.vocab_size), k=100)
    pieces = list(stream_text(tokenizer, ids))
    assert all(pieces)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)


def test_each_id_is_read_once(tokenizer, monkeypatch):
    ids = tokenizer.encode("the slow tower, the lowest of the low 🙂") * 20
    read = Counter()
    bytes_of = tokenizer.bytes_of
    monkeypatch.setattr(tokenizer, "bytes_of", lambda id: read.update(["ids"]) or bytes_of(id))
    monkeypatch.setattr(tokenizer, "decode", None)
    assert len(list(stream_text(tokenizer, ids))) > 100
    assert read["ids"] == len(ids)


def test_a_tokenizer_of_other_people_is_shown_as_it_decodes():
    """Llama's tokenizers spell a space as ▁ and have no bytes for their tokens."""
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<s>": 0, "▁low": 1, "▁lower": 2, "est": 3}, "<s>")
    )
    backend.decoder = tokenizers.decoders.Metaspace()
    backend.add_special_tokens(["<s>"])
    tokenizer = Tokenizer(backend, "<s>", "<s>", "<s>")
    ids = [0, 1, 2, 3, 1, 0]
    pieces = list(stream_text(tokenizer, ids))
    assert len(pieces) > 1
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True) == "low lowerest low"
