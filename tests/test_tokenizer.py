"""The readable BPE and the fast one: the same merges, the same ids, and every text comes back."""

import itertools
import json
import random
import string
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from minimind.errors import UserError
from minimind.tokenizer import (
    BPE,
    GPT2_PATTERN,
    PATTERN,
    SPECIAL_TOKENS,
    Tokenizer,
    VocabularyTooLarge,
    train_tokenizer,
)
from minimind.tokenizer.byte_characters import BYTES, to_characters
from minimind.tokenizer.splitting import Splitter
from minimind.tokenizer.texts import documents_of

CORPUS = (
    "The old fox hid 12 apples under the bridge. It's late, isn't it? We'll see!\n\n"
    "  In the morning the fox looked for the apples:\tthere were 7.\r\n"
    "Naïve café, 日本語の文, Привет мир 🙂🙂\n"
) * 3


@pytest.fixture(scope="module")
def fast():
    return train_tokenizer([CORPUS], vocab_size=340)


@pytest.fixture(scope="module")
def readable(fast):
    return fast.to_bpe()


def every_merge(texts):
    """The largest tokenizer that the texts allow: ties decide nearly all of its merges."""
    try:
        return train_tokenizer(texts, vocab_size=5000)
    except VocabularyTooLarge as error:
        return train_tokenizer(texts, error.largest)


def random_corpus(seed):
    generator = random.Random(seed)
    alphabet = generator.choice(["ab", "abc ", "aé日 ", string.ascii_lowercase[:6] + "  \n", "Aa1'. \n🙂ſ"])
    return [
        "".join(generator.choices(alphabet, k=generator.randint(1, 60)))
        for _ in range(generator.randint(1, 6))
    ]


def test_readable_and_fast_training_give_the_same_merges_and_ids_on_300_random_corpora():
    for seed in range(300):
        texts = random_corpus(seed)
        fast = every_merge(texts)
        readable = BPE.train(texts, vocab_size=fast.vocab_size, special_tokens=SPECIAL_TOKENS)
        assert readable.merges == fast.to_bpe().merges, (seed, texts)
        assert readable.vocab == fast.to_bpe().vocab, (seed, texts)
        for text in [*texts, "".join(random_corpus(seed + 1000))]:
            assert readable.encode(text) == fast.encode(text), (seed, text)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.text(max_size=40))
def test_readable_and_fast_agree_on_any_unicode_corpus(texts, other):
    fast = every_merge(texts)
    readable = BPE.train(texts, vocab_size=fast.vocab_size, special_tokens=SPECIAL_TOKENS)
    plain = fast.to_bpe()  # for which a special token's name is text, as it is for the fast one
    assert readable.vocab == plain.vocab
    assert readable.merges == plain.merges
    for text in [*texts, other]:
        assert plain.encode(text) == fast.encode(text)


def test_readable_and_fast_agree_on_a_text_that_spells_special_tokens():
    texts = ["one<|endoftext|>two two<|im_end|><|im_", "<|endoftext|>"]
    fast = every_merge(texts)
    readable = BPE.train(texts, vocab_size=fast.vocab_size, special_tokens=SPECIAL_TOKENS)
    assert readable.vocab == fast.to_bpe().vocab
    assert not any(b"|endof" in token for id, token in readable.vocab.items() if id > 2)
    # Given the names, the readable one reads them as special; the fast one's encode never does.
    assert readable.encode("<|im_end|>") == [2]
    assert fast.encode("<|im_end|>") == fast.to_bpe().encode("<|im_end|>") != [2]


def test_of_equally_frequent_pairs_the_one_with_the_smallest_ids_is_merged_first():
    assert BPE.train("ba dc", vocab_size=258).merges == [(b"b", b"a"), (b"d", b"c")]
    assert BPE.train("dc ba", vocab_size=257).merges == [(b"b", b"a")]


def test_worked_example_of_wikipedia():
    bpe = BPE.train("aaabdaaabac", vocab_size=259)
    assert bpe.merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert bpe.encode("aaabdaaabac") == [258, 67, 258, 64, 66]


def test_training_stops_when_no_pair_is_left():
    assert BPE.train("ab", vocab_size=1000).merges == [(b"a", b"b")]


def test_ids_are_special_tokens_then_bytes_in_code_point_order_then_merges(fast, readable):
    assert [fast.decode([id]) for id in range(3)] == list(SPECIAL_TOKENS)
    assert (fast.pad_token_id, fast.bos_token_id, fast.eos_token_id) == (0, 1, 2)
    assert [readable.vocab[3 + i] for i in range(256)] == sorted(BYTES, key=to_characters) == BYTES
    assert readable.vocab[3] == b"!"
    assert readable.vocab[259] == b"".join(readable.merges[0])
    assert fast.vocab_size == len(readable.vocab) == 340


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text())
def test_every_unicode_string_comes_back_and_both_give_the_same_ids(fast, readable, text):
    ids = fast.encode(text)
    assert readable.encode(text) == ids
    assert fast.decode(ids) == text
    assert readable.decode(ids) == text


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 339), max_size=12))
def test_both_decode_any_ids_to_the_same_text(fast, readable, ids):
    assert fast.decode(ids) == readable.decode(ids)


def test_decoding_an_unknown_id_says_which(readable):
    with pytest.raises(UserError, match="id 999 is not in the vocabulary of 340 tokens"):
        readable.decode([999])


def test_digits_are_single_tokens():
    fast = every_merge(["2024 2024 2024 x12 12"])
    assert len(fast.encode("2024")) == 4
    assert [fast.decode([id]) for id in fast.encode(" 12")] == [" ", "1", "2"]


@pytest.mark.parametrize(
    "spelled", ["<|im_end|>", "a<|im_start|>user", " <|endoftext|> ", "<|im_end|><|im_end|>"]
)
def test_special_tokens_are_never_read_out_of_text(fast, readable, spelled):
    for tokenizer in (fast, readable):
        ids = tokenizer.encode(spelled)
        assert min(ids) > 2
        assert tokenizer.decode(ids) == spelled


def test_special_tokens_given_to_the_readable_one_are_kept_whole_longest_first():
    bpe = BPE.train("a b", vocab_size=259, special_tokens=["<x>", "<x><x>"])
    assert bpe.encode("<x>a<x><x><x>") == [0, bpe.encode("a")[0], 1, 0]
    plain = BPE(bpe.vocab, bpe.merges)
    assert min(plain.encode("<x>a<x><x><x>")) > 1


def test_special_tokens_without_an_id_get_the_next_free_ones():
    trained = BPE.train("a b", vocab_size=256)
    bpe = BPE(trained.vocab, trained.merges, special_tokens=["<x>"])
    assert bpe.encode("<x>") == [256]
    assert bpe.decode([256]) == "<x>"


def test_a_vocabulary_without_a_byte_is_refused(readable):
    vocab = {id: token for id, token in readable.vocab.items() if token != b"\xff"}
    with pytest.raises(UserError, match=r"no id for b'\\xff'"):
        BPE(vocab, readable.merges)


@pytest.mark.parametrize("pattern", [PATTERN, GPT2_PATTERN])
@pytest.mark.parametrize(
    ("alphabet", "length", "special_tokens"),
    [
        ("a !\n", 6, []),
        ("a' \r1", 5, []),
        ("'lLſ ", 5, []),
        ("I've ", 5, []),
        ("<x>", 7, ["<x>", "<x><x>"]),
        ("ab ", 6, ["ab"]),
    ],
)
def test_pieces_of_a_text_that_comes_in_chunks_are_those_of_the_whole(
    alphabet, length, special_tokens, pattern
):
    splitter = Splitter(pattern, special_tokens)
    for letters in itertools.product(alphabet, repeat=length):  # every text there is, cut everywhere
        text = "".join(letters)
        whole = splitter.split(text)
        for cut in range(length):
            assert list(splitter.stream([text[:cut], text[cut:]])) == whole, (text, cut)
        assert list(splitter.stream(text)) == whole, text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=" \n\r'sav1!", max_size=300), st.data())
def test_pieces_of_long_runs_are_those_of_the_whole_too(text, data):
    cut = data.draw(st.integers(0, len(text)))
    for pattern in (PATTERN, GPT2_PATTERN):
        splitter = Splitter(pattern)
        assert list(splitter.stream([text[:cut], text[cut:]])) == splitter.split(text)


def test_runs_at_the_bound_of_the_pattern_are_cut_alike_in_chunks():
    splitter = Splitter()
    for spaces in (62, 63, 64, 65, 66, 127, 128, 129):
        for text in ("\n" + " " * spaces + "\n x", " " * spaces + "x" * spaces, "!" * spaces + "\n" * spaces):
            for cut in range(len(text)):
                assert list(splitter.stream([text[:cut], text[cut:]])) == splitter.split(text), (text, cut)


def test_a_long_run_that_comes_blank_by_blank_is_not_looked_at_again_for_every_blank(monkeypatch):
    read = []
    pre_tokens = Splitter._pre_tokens
    monkeypatch.setattr(
        Splitter, "_pre_tokens", lambda self, text: read.append(len(text)) or pre_tokens(self, text)
    )
    assert list(Splitter(GPT2_PATTERN).stream(" " * 8_000)) == [" " * 8_000]
    assert sum(read) < 4 * 8_000


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text() | st.text(alphabet=" \n'svelIt12,!é日"))
@example("he'd we're I'm it's don't you'll I've HE'D")
def test_pre_tokens_of_gpt2s_pattern_are_those_of_the_library_for_gpt2(text):
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str(text)
    ours = [to_characters(piece.encode()) for piece in Splitter(GPT2_PATTERN).split(text)]
    assert ours == [piece for piece, _ in theirs]


def test_the_two_patterns_differ_where_their_descriptions_say():
    text = "I've 2024 IT'S   so!!\n\n"
    assert Splitter(GPT2_PATTERN).split(text) == [
        *("I", "'ve", " 2024", " IT", "'", "S", "  ", " so", "!!", "\n\n")
    ]
    assert Splitter(PATTERN).split(text) == [
        *("I", "'ve", " ", "2", "0", "2", "4", " IT", "'S", "  ", " so", "!!\n\n")
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=10), max_size=6))
def test_encode_iterable_gives_the_ids_of_the_whole_text(readable, chunks):
    assert list(readable.encode_iterable(chunks)) == readable.encode("".join(chunks))


def test_encode_iterable_holds_little_in_memory(readable):
    lines = (f"line {number}: the fox and the {number * 7919} apples\n" for number in range(5000))
    tracemalloc.start()
    count = sum(1 for _ in readable.encode_iterable(lines))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 50_000
    assert peak < 1_000_000


def test_a_very_long_word_is_encoded_like_the_fast_one_does(fast, readable):
    word = "thethefoxapples" * 2000
    assert readable.encode(word) == fast.encode(word)


def test_another_pattern_changes_where_text_is_cut():
    words = BPE.train("ab ab ab", vocab_size=258, pattern=r"\S+|\s+")
    assert words.merges == [(b"a", b"b")]
    assert BPE.train("ab ab ab", vocab_size=258, pattern=r"[\s\S]+").merges == [(b"a", b"b"), (b" ", b"ab")]


def test_training_reads_files_as_it_reads_their_text(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.tokenizer.texts.BLOCK", 10)  # many blocks in a small file
    path = tmp_path / "corpus.txt"
    path.write_bytes(CORPUS.encode())
    readable = BPE.train(CORPUS, 300, SPECIAL_TOKENS)
    for source in (path, [path], str(path), [str(path)]):
        assert BPE.train(source, 300, SPECIAL_TOKENS).merges == readable.merges
        assert train_tokenizer(source, 300).to_bpe().merges == readable.merges


def test_no_piece_of_a_file_lies_across_two_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.tokenizer.texts.BLOCK", 4)
    text = "one\n two\r\n\r\n\n three \n \n four!\n\nfive\rsix\n\tseven"
    (tmp_path / "text.txt").write_bytes(text.encode())
    blocks = [block for document in documents_of(tmp_path / "text.txt") for block in document]
    assert len(blocks) == 3
    assert [piece for block in blocks for piece in Splitter().split(block)] == Splitter().split(text)


def test_lone_surrogates_get_one_clear_line(fast, readable):
    for encode in (fast.encode, readable.encode, lambda text: train_tokenizer([text], 259)):
        with pytest.raises(UserError, match=r"U\+D800, a lone surrogate"):
            encode("a\ud800b")


def test_a_text_that_is_no_string_gets_one_clear_line(fast):
    with pytest.raises(UserError, match="must be a string, found NoneType"):
        fast.encode_batch(["a", None])
    with pytest.raises(UserError, match="must be strings or paths, found int"):
        train_tokenizer([1, 2], 300)


def test_a_vocabulary_larger_than_the_data_allows_says_how_many_they_allow():
    with pytest.raises(VocabularyTooLarge, match="at most 262") as caught:
        train_tokenizer(["low low"], vocab_size=5000)
    assert caught.value.largest == 262
    assert train_tokenizer(["low low"], vocab_size=262).vocab_size == 262


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    for train in (train_tokenizer, lambda texts, size: BPE.train(texts, size, SPECIAL_TOKENS)):
        with pytest.raises(UserError, match="at least 259"):
            train(["text"], 258)
    assert train_tokenizer(["text"], 259).encode("a") == [67]


@pytest.mark.parametrize("special_tokens", [[], ["<a>", "<a>"], ["a"], ["<a b>"], ["é<"]])
def test_special_tokens_that_could_be_mixed_up_are_refused(special_tokens):
    with pytest.raises(UserError, match="special"):
        train_tokenizer(["text"], 300, special_tokens)


def test_fewer_special_tokens_share_their_roles():
    fast = train_tokenizer(["text"], 257, ["<|endoftext|>"])
    assert (fast.pad_token_id, fast.bos_token_id, fast.eos_token_id) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "cannot be read"),
        ("empty.txt", b"", "the file is empty"),
        ("latin.txt", b"caf\xe9", "not UTF-8"),
        ("rows.jsonl", b"{}", "read_records"),
    ],
)
def test_files_that_cannot_be_trained_on_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for train in (BPE.train, train_tokenizer):
        with pytest.raises(UserError, match=rf"{name}.*{message}"):
            train(path, 300)


def test_a_saved_tokenizer_gives_the_same_ids(fast, tmp_path):
    fast.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode(CORPUS) == fast.encode(CORPUS)
    assert loaded.encode("<|im_end|>") == fast.encode("<|im_end|>")
    assert loaded.eos_token_id == 2
    assert loaded.digest == fast.digest
    assert loaded.digest != train_tokenizer([CORPUS], vocab_size=341).digest


def test_training_twice_saves_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        train_tokenizer([CORPUS, "more text"], vocab_size=320).save(tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "not found"),
        ("tokenizer.json", '{"version": "1.0", "mod', "not a tokenizer"),
        ("tokenizer_config.json", None, "not found"),
        ("tokenizer_config.json", '{"pad_token": ', "not valid JSON"),
        ("tokenizer_config.json", "[1]", "must name tokens"),
        (
            "tokenizer_config.json",
            '{"pad_token": "<x>", "bos_token": "<x>", "eos_token": "<x>"}',
            "no token '<x>'",
        ),
    ],
)
def test_a_half_written_tokenizer_is_named(fast, tmp_path, file, content, message):
    fast.save(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}.*{message}"):
        Tokenizer.load(tmp_path)


def test_an_unwritable_folder_is_named(fast, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        fast.save(tmp_path / "file")


@pytest.mark.parametrize("pattern", [PATTERN, GPT2_PATTERN, r"\s?\S+"])
@pytest.mark.parametrize("special_tokens", [[], ["<|endoftext|>", "<é\n>"], ["a"]])
def test_a_saved_bpe_is_the_same_when_it_is_loaded(tmp_path, pattern, special_tokens):
    bpe = BPE.train(CORPUS, 300, special_tokens, pattern)
    bpe.save(tmp_path / "bpe.json")
    loaded = BPE.load(tmp_path / "bpe.json")
    for name in ("vocab", "merges", "special_tokens", "pattern"):
        assert getattr(loaded, name) == getattr(bpe, name)
    text = CORPUS + "<|endoftext|><é\n>"
    assert loaded.encode(text) == bpe.encode(text)
    assert loaded.decode(bpe.encode(text)) == text
    assert [file.name for file in tmp_path.iterdir()] == ["bpe.json"]


def test_a_saved_bpe_can_be_read_by_people(tmp_path):
    BPE.train("low low", 259, ["<|endoftext|>"]).save(tmp_path / "bpe.json")
    saved = json.loads((tmp_path / "bpe.json").read_text(encoding="utf-8"))
    assert saved["vocab"]["0"] == "<|endoftext|>"
    assert saved["vocab"]["258"] == "low"
    assert saved["merges"] == [["l", "o"], ["lo", "w"]]
    assert saved["pattern"] == PATTERN


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (None, None, "cannot be read"),
        (None, "half", "not the file of a BPE, or damaged"),
        (None, "[1]", "not the file of a BPE, or damaged"),
        ("merges", ..., "'merges' is missing"),
        ("merges", [["l"]], "damaged"),
        ("merges", [["日", "a"]], "'日' is missing or means no byte"),
        ("merges", [["q", "q"]], "no id for b'qq'"),
        ("vocab", {"0": "a"}, "no id for"),
        ("vocab", {"zero": "a"}, "damaged"),
        ("vocab", ["a"], "damaged"),
        ("vocab", {"0": 7}, "damaged"),
        ("special_tokens", [1], "damaged"),
        ("special_tokens", 1, "damaged"),
        ("pattern", 1, "damaged"),
        ("pattern", "(", r"the pattern '\(' is no regular expression"),
    ],
)
def test_a_damaged_bpe_gets_one_line_that_names_it(tmp_path, key, value, message):
    path = tmp_path / "bpe.json"
    BPE.train("low low", 258).save(path)
    if key:
        saved = json.loads(path.read_text(encoding="utf-8"))
        saved[key] = value
        if value is ...:
            del saved[key]
        path.write_text(json.dumps(saved), encoding="utf-8")
    elif value:
        path.write_text(value, encoding="utf-8")
    else:
        path.unlink()
    with pytest.raises(UserError, match=rf"bpe\.json: .*{message}") as caught:
        BPE.load(path)
    assert "\n" not in str(caught.value)


def test_a_bpe_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*cannot be written"):
        BPE.train("a", 256).save(tmp_path / "nowhere" / "bpe.json")
