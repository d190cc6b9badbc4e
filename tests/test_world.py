"""The embedded world: its entropy is exact, its splits are apart, its texts are what they claim to be."""

import math
import re
from collections import Counter
from itertools import islice

import pytest

from minimind.data.world import FACTS, MINUS, PLUS, World, held_out, write_sums
from minimind.data.world.choices import Weighted, Writer, derivations
from minimind.data.world.world import READ
from minimind.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def world():
    return World(seed=0)


@pytest.fixture(scope="module")
def training(world):
    return list(islice(world.documents("train"), 20_000))


@pytest.fixture(scope="module")
def validation(world):
    return list(islice(world.documents("validation"), 2_000))


def test_every_document_has_exactly_one_derivation_and_its_cost_is_the_stated_one(world, training):
    for document in training[:1000]:
        (nats,) = derivations(world.write, document.text)
        assert nats == pytest.approx(document.nats, abs=1e-9)


def test_a_hidden_choice_is_found_out():
    def careless(writer):
        writer.write("I roll a die")
        writer.pick([".", "."])

    assert len(derivations(careless, "I roll a die.")) == 2


def test_a_text_that_the_world_does_not_write_has_no_derivation(world, training):
    assert derivations(world.write, training[0].text + " ") == []
    assert derivations(world.write, "One day nothing happened.") == []


def test_the_chances_of_all_texts_of_a_small_grammar_add_up_to_one():
    def grammar(writer):
        if writer.pick_weighted(Weighted({"a": 1, "b": 3})) == "a":
            writer.pick("xyz")

    texts = ["ax", "ay", "az", "b"]
    assert sum(math.exp(-nats) for text in texts for nats in derivations(grammar, text)) == pytest.approx(1)


def test_choices_are_made_as_often_as_their_weight_says():
    import random

    rng = random.Random(1)
    table = Weighted({"rare": 1, "often": 9})
    counts = Counter(Writer(rng.random).pick_weighted(table) for _ in range(20_000))
    assert counts["rare"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert Weighted({"a": 2, "b": 2}).nats == pytest.approx((math.log(2), math.log(2)))


def test_a_document_depends_on_seed_split_and_index_alone(world):
    assert next(world.documents("train", start=7)) == list(islice(World(0).documents("train"), 8))[7]
    assert next(world.documents("validation")) != next(world.documents("train"))
    assert next(World(1).documents("train")) != next(world.documents("train"))
    assert World(1).facts != world.facts


def test_no_held_out_document_is_in_the_training_stream(training, validation):
    assert not {d.text for d in training} & {d.text for d in validation}
    assert len({d.text for d in training}) == len(training)
    assert min(d.nats for d in training) > 24


def test_training_never_shows_a_held_out_sum(training):
    shown = set()
    for document in training:
        for a, sign, b in re.findall(r"(\d+) ([+-]) (\d+) =", document.text):
            shown.add((sign, int(a), int(b)))
        for a, verb, b in re.findall(r"had (\d+) [^,]+, (got|lost) (\d+)", document.text):
            shown.add(("+" if verb == "got" else "-", int(a), int(b)))
    assert len(shown) > 5000
    assert not [key for key in shown if held_out(*key)]


def test_training_never_asks_a_held_out_fact_but_tells_it(world, training):
    questions = [question for question in world.questions() if question.kind == "facts"]
    text = "\n".join(document.text for document in training)
    assert questions
    for question in questions:
        assert question.prompt.removesuffix(" Answer:") not in text
    for place, facts in world.facts.items():
        for fact, value in facts.items():
            told = [form.format(value) for form in FACTS[fact][1]]
            assert any(f"{place}.{sentence}" in text for sentence in told), (place, fact)


def test_held_out_questions_are_a_thousand_and_their_answers_are_right(world):
    questions = list(world.questions())
    sums = [question for question in questions if question.kind == "sums"]
    assert len(sums) > 1000
    for question in sums:
        a, sign, b = re.fullmatch(r"Sums: (\d+) ([+-]) (\d+) =", question.prompt).groups()
        assert question.answer == f" {int(a) + int(b) if sign == '+' else int(a) - int(b)}."
    share = 1 - sum(map(len, PLUS)) / 10_000
    assert 0.08 < share < 0.12
    assert all(int(b) <= a for a, allowed in enumerate(MINUS) for b in allowed)


def test_every_sum_in_the_texts_is_right(training):
    found = 0
    for document in training:
        for a, sign, b, result in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", document.text):
            found += 1
            assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
    assert found > 1000


def follow_story(text):
    """Read a story with regular expressions of our own: what its last sentence must be."""
    body, ending = text.split(" In the end, ")
    first, her = re.search(r", (\w+) the \w+ and (her|his) ", body).groups()
    pronoun = {"her": "she", "his": "he"}[her]
    (_, thing), (second, _) = re.findall(r"\. (\w+) had an? \S+ ([^.]+)", body)[:2]
    names = {pronoun: first, {"she": "he", "he": "she"}[pronoun]: second}
    where = f"{first} had the {thing}"
    for sentence in body.split(". ")[3:]:
        if hiding := re.search(rf"(?:hid|put|left) the {thing} ([^.]+)", sentence):
            where = f"the {thing} was {hiding[1]}"
        elif giving := re.search(rf"(?:gave|handed|passed) the {thing} to (her|him)", sentence):
            where = f"{names[{'her': 'she', 'him': 'he'}[giving[1]]]} had the {thing}"
        elif re.search(rf"(?:borrowed|took|found|fetched) the {thing} ", sentence):
            subject = re.search(r"\b(she|he)\b", sentence)[1]
            where = f"{names[subject]} had the {thing}"
    return where, ending


def test_the_end_of_a_story_follows_from_its_events(training):
    for document in training:
        if document.kind == "story":
            expected, ending = follow_story(document.text)
            assert ending.startswith(expected + ". "), document.text


def test_the_floor_lies_where_a_small_model_can_reach_for_it(training, validation):
    """Between 1.8 and 2.2 in perplexity per token at the default vocabulary, with over 2,000 words in use."""
    tokenizer = train_tokenizer([document.text for document in training[:6000]], vocab_size=1024)
    tokens = sum(
        len(tokenizer.encode(document.text)) + 1 for document in validation
    )  # the end is predicted too
    floor = math.exp(sum(document.nats for document in validation) / tokens)
    assert 1.8 < floor < 2.2
    words = {word for document in training for word in re.findall(r"[a-z]+", document.text.lower())}
    assert len(words) > 2000
    assert max(len(tokenizer.encode(document.text)) for document in training) <= 254


def test_all_kinds_occur(training):
    assert {document.kind for document in training} == set(READ)


def test_sums_are_written_by_their_own_function():
    writer = Writer(iter([0.0] * 100).__next__)
    write_sums(writer)
    assert writer.text().startswith(" 0 + ")


def test_an_unknown_split_is_refused(world):
    with pytest.raises(ValueError, match="split must be 'train' or 'validation'"):
        next(world.documents("test"))
