"""Another country, for an adapter: every fact is asked in training, and three ways of asking in ten are not."""

from itertools import islice

import pytest

from minimind.data.world import ASKED_BY, FACTS, World, draw_facts
from minimind.data.world.words import LISTS
from minimind.model import load

PLACES = LISTS["far_places"]


@pytest.fixture(scope="module")
def world():
    return World(seed=0)


@pytest.fixture(scope="module")
def conversations(world):
    return list(islice(world.far_conversations(), 8_000))


def asked_about(question):
    """(fact, place), found by rules of our own."""
    [(fact, opener)] = [(fact, opener) for opener, fact in ASKED_BY.items() if opener in question]
    return fact, question.rpartition(opener)[2].removesuffix("?")


def test_answers_are_the_far_facts_in_both_styles(world, conversations):
    facts = draw_facts(1, "far_places")
    styles = set()
    for conversation in conversations:
        (question, reply) = (message["content"] for message in conversation.messages)
        assert [message["role"] for message in conversation.messages] == ["user", "assistant"]
        fact, place = asked_about(question)
        value = facts[place][fact]
        assert reply == f"It is {value}." or (
            reply.startswith("Gladly! ") and value in reply and place in reply
        )
        styles.add(reply.startswith("Gladly! "))
    assert styles == {True, False}
    for case in world.cases("far"):
        fact, place = asked_about(case.messages[-1]["content"])
        assert case.task == "far"
        assert case.is_right(f"It is {facts[place][fact]}.")


def test_every_fact_is_asked_and_three_ways_in_ten_are_not(world, conversations):
    shown = {conversation.messages[0]["content"] for conversation in conversations}
    kept = {case.messages[-1]["content"] for case in world.cases("far")}
    assert not shown & kept
    assert {c.messages[0]["content"] for c in islice(world.far_conversations("validation"), 8_000)} == kept
    every = {(fact, place) for fact in FACTS for place in PLACES}
    assert {asked_about(question) for question in shown} == every
    assert {asked_about(question) for question in kept} == every
    assert 0.25 < len(kept) / (len(kept) + len(shown)) < 0.35
    assert len(world.cases("far", 20)) == 20
    assert world.cases("far", 20) == World(0).cases("far", 20)


def test_far_facts_are_told_nowhere_else(world):
    """Documents and conversations name people who are called as these places are; nobody asks about the places."""
    texts = [document.text for document in islice(world.documents(kinds=["talk", "tour", "quiz"]), 3_000)]
    texts += [m["content"] for c in islice(world.conversations(), 3_000) for m in c.messages]
    for text in texts:
        assert not any(f"{opener}{place}" in text for opener in ASKED_BY for place in PLACES)
    assert not set(PLACES) & set(world.facts)


def test_each_far_place_is_a_token_of_the_shipped_models():
    _, tokenizer = load("shipped/pretrain")
    assert all(len(tokenizer.encode(f" {place}")) == 1 for place in PLACES)


def test_a_far_conversation_depends_on_seed_split_and_index_alone(world):
    assert next(world.far_conversations(start=7)) == list(islice(World(0).far_conversations(), 8))[7]
    assert next(world.far_conversations("validation")) != next(world.far_conversations())
    with pytest.raises(ValueError, match="split must be"):
        next(world.far_conversations("test"))
    with pytest.raises(ValueError, match=r"task must be one of stories, .*, far"):
        world.cases("poems")
