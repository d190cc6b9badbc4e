"""The world's conversations: right answers, two styles, and nothing asked that is held out."""

import math
import re
from collections import Counter
from itertools import islice

import pytest

from minimind.data.world import ASKED_BY, HARD, KINDS, TASKS, World, derivations, held_out
from minimind.data.world.questions import IDENTITY, MANNERS, NOWHERE, OPENINGS, UNKNOWN
from minimind.data.world.words import LISTS, NAMES, NOUNS
from minimind.data.world.world import openers_of
from minimind.tokenizer import render_chat, train_tokenizer


@pytest.fixture(scope="module")
def world():
    return World(seed=0)


@pytest.fixture(scope="module")
def conversations(world):
    return list(islice(world.conversations(), 8_000))


@pytest.fixture(scope="module")
def talks(world):
    return list(islice(world.documents(kinds=["talk"]), 4_000))


@pytest.fixture(scope="module")
def cases(world):
    return {task: world.cases(task, 300) for task in TASKS}


def exchanges(messages):
    """(question, reply) of each turn."""
    contents = [message["content"] for message in messages]
    return list(zip(contents[::2], contents[1::2], strict=False))


def asked_sums(text):
    """(sign, a, b) of the sums in a text, by expressions of our own."""
    found = [(sign, int(a), int(b)) for a, sign, b in re.findall(r"(\d+) ([+-]) (\d+)", text)]
    told = re.findall(r"had (\d+) [^.,]+, (got|lost) (\d+)", text)
    return found + [("+" if verb == "got" else "-", int(a), int(b)) for a, verb, b in told]


def test_users_and_the_assistant_take_turns(conversations):
    for conversation in conversations:
        roles = [message["role"] for message in conversation.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"] for message in conversation.messages)
    assert {len(conversation.messages) for conversation in conversations} >= {2, 4, 6}
    assert {conversation.task for conversation in conversations} == set(TASKS)


def test_the_answer_costs_one_choice_of_style(conversations):
    polite = [
        conversation.messages[-1]["content"].startswith(("Gladly", "I am sorry"))
        for conversation in conversations
    ]
    assert sum(polite) / len(polite) == pytest.approx(0.5, abs=0.02)
    assert {conversation.nats for conversation in conversations} == {math.log(2)}


def right_answer(world, question, before):
    """How the right answer ends, worked out by rules of our own; None where they do not know the question."""
    if numbers := re.search(r"Add up (\d+) and (\d+) and (\d+)\.$", question):
        return f" {sum(map(int, numbers.groups()))}."
    if sums := asked_sums(question):
        ((sign, a, b),) = sums
        return f" {a + b if sign == '+' else a - b}."
    if "Count these words:" in question or "How many words" in question:
        return f" {len(question.rpartition(': ')[2].split())}."
    if found := re.search(r"the (first|last) of (.+)\?$", question):
        return f" {found[2].split()[0 if found[1] == 'first' else -1]}."
    if found := re.search(r"^And the (first|last)\?$", question):
        words = re.search(r" of (.+)\?$", before)[1].split()
        return f" {words[0 if found[1] == 'first' else -1]}."
    if found := re.search(r"backwards, with commas: (.+)\.$", question):
        return " " + ", ".join(found[1].split()[::-1]) + "."
    if found := re.search(r"spell (\w+)\?$", question):
        return f" {' '.join(found[1])}."
    if " In the end, " in question:
        return story_answer(question)
    for opener, fact in ASKED_BY.items():
        if opener in question:
            place = question.rpartition(opener)[2].removesuffix("?")
            return f" {world.facts[place][fact]}." if place in world.facts else " know"
    return None


def story_answer(text):
    """Where the thing is that is asked for, or how somebody feels; followed with expressions of our own."""
    body, ending = text.split(" In the end, ")
    first, her = re.search(r", (\w+) the \w+ and (her|his) ", body).groups()
    pronoun = {"her": "she", "his": "he"}[her]
    (_, _), (second, _) = re.findall(r"\. (\w+) had an? \S+ ([^.]+)", body)[:2]
    names = {pronoun: first, {"she": "he", "he": "she"}[pronoun]: second}
    if feeling := re.search(r"How did (\w+) feel\?$", ending):
        who = next(pronoun for pronoun, name in names.items() if name == feeling[1])
        felt = re.findall(
            rf"\b{who}(?: \w+ly)? (?:ate|tasted) [^.]+ and felt (\w+)|and {who} felt (\w+)", body
        )
        return f" {''.join(felt[-1])}."
    thing = re.search(r"(?:Who had|Where was) the ([^?]+)\?$", ending)[1]
    where = next(
        f" {name}." for name, has in re.findall(r"\. (\w+) had an? \S+ ([^.]+)", body) if has == thing
    )
    for sentence in body.split(". ")[3:]:
        if hiding := re.search(rf"(?:hid|put|left) the {thing} ([^.]+)", sentence):
            where = f" {hiding[1].removesuffix('.')}."
        elif giving := re.search(rf"(?:gave|handed|passed) the {thing} to (her|him)", sentence):
            where = f" {names[{'her': 'she', 'him': 'he'}[giving[1]]]}."
        elif re.search(rf"(?:borrowed|took|found|fetched) the {thing} ", sentence):
            (who,) = set(re.findall(r"\b(she|he)\b", sentence))
            where = f" {names[who]}."
    return where


def test_answers_are_right(world, conversations, cases):
    asked = [(question, reply) for c in conversations for question, reply in exchanges(c.messages)]
    known = 0
    for (question, reply), (before, _) in zip(asked, [("", ""), *asked], strict=False):
        ending = right_answer(world, question, before)
        if ending is not None:
            known += 1
            assert reply.endswith(ending) or (ending == " know" and reply in UNKNOWN), (question, reply)
    assert known > 7_000
    for task, some in cases.items():
        for case in some:
            contents = [message["content"] for message in case.messages]
            ending = right_answer(world, contents[-1], contents[-3] if len(contents) > 2 else "")
            if task not in ("identity", "opposites"):
                assert ending is not None, contents
                assert ending == " know" or all(a.endswith(ending) for a in case.answers), (
                    contents,
                    case.answers,
                )


def test_both_styles_are_right_and_nothing_else_is(cases):
    for some in cases.values():
        for case in some[:50]:
            assert case.is_right(case.answers.short)
            assert case.is_right(f" {case.answers.polite}\n")
            assert case.answers.short != case.answers.polite
            assert not case.is_right("")
            assert not case.is_right(case.answers.short + " " + case.answers.polite)


def test_no_training_text_asks_what_is_held_out(conversations, talks):
    texts = [message["content"] for c in conversations for message in c.messages] + [
        talk.text for talk in talks
    ]
    for text in texts:
        assert not [key for key in asked_sums(text) if held_out(*key)], text
        for words in re.findall(r"(?:first of|last of|words:|these:|commas:) ((?:[a-z]+ ?)+)", text):
            assert not held_out("list", *words.split()[:2]), text
    asked = Counter(
        (fact, place)
        for text in texts
        for opener, fact in ASKED_BY.items()
        for place in re.findall(re.escape(opener) + r"([A-Z]\w+)\?", text)
    )
    known = {place for _, place in asked} & set(LISTS["places"])
    assert len(known) == len(LISTS["places"])
    kept = [
        key
        for key in asked
        if key[1] in known and any(held_out(*key, *more) for more in ((), (1,), (2,), (3,), (4,), (5,)))
    ]
    assert not kept
    assert not [place for _, place in asked if place not in known and held_out("nowhere", place)]


def test_cases_are_what_training_never_asks(world, conversations, cases):
    shown = {question for c in conversations for question, _ in exchanges(c.messages)}
    for task, some in cases.items():
        last = [case.messages[-1]["content"] for case in some]
        assert all(case.messages[-1]["role"] == "user" and case.task == task for case in some)
        if task != "follow-ups":  # "And the last?": there the list is what is new
            assert not shown & set(last), task
            assert len(set(last)) == len(last)
    said = {case.answers.short for case in cases["facts"]}
    assert said <= {reply for c in conversations for _, reply in exchanges(c.messages)}
    names = {
        name
        for case in cases["stories"]
        for name in NAMES
        if re.search(rf"\b{name}\b", case.messages[-1]["content"])
    }
    assert names
    assert all(held_out("name", name) for name in names)


def test_there_are_a_thousand_cases_where_a_task_has_as_many(world):
    counts = {task: len(world.cases(task)) for task in TASKS}
    few = {task for task, count in counts.items() if count < 1000}
    assert few == {"facts", "sums", "spelling", "opposites", "identity"}
    assert min(counts.values()) >= 20
    assert world.cases("lists", 50) == World(0).cases("lists", 50)
    assert set(HARD) <= set(TASKS)


def test_some_cases_come_after_other_turns(cases):
    several = [len(case.messages) > 1 for some in cases.values() for case in some]
    assert 0.15 < sum(several) / len(several) < 0.4


def test_a_talk_has_one_derivation_and_its_cost_is_the_stated_one(world, talks):
    openers = openers_of(["talk"])
    for talk in talks[:500]:
        (nats,) = derivations(lambda writer: world.write(writer, openers), talk.text)
        assert nats == pytest.approx(talk.nats, abs=1e-9)


def test_every_word_of_a_conversation_occurs_in_documents(world, conversations):
    texts = [
        document.text
        for document in islice(world.documents(kinds=["story", "games", "talk", "tour"]), 20_000)
    ]
    documents = set(re.findall(r"\w+", " ".join(texts)))
    asked = Counter(
        word for c in conversations for m in c.messages for word in re.findall(r"\w+", m["content"])
    )
    assert not {word for word in asked if word not in documents | set(NOWHERE) and not word.isdigit()}


def test_places_that_do_not_exist_do_not(world):
    assert len(set(NOWHERE)) == len(NOWHERE)
    assert not set(NOWHERE) & {*LISTS["places"], *LISTS["far_places"]}
    assert len(set(NOUNS)) == len(NOUNS)
    assert all(reply.short != reply.polite for reply in MANNERS.values())


def test_a_conversation_depends_on_seed_split_and_index_alone(world):
    assert next(world.conversations(start=7)) == list(islice(World(0).conversations(), 8))[7]
    assert next(world.conversations("validation")) != next(world.conversations())
    with pytest.raises(ValueError, match="split must be"):
        next(world.conversations("test"))
    with pytest.raises(ValueError, match="task must be one of stories, facts"):
        world.cases("poems")


def test_conversations_and_talks_fit_a_row(world, conversations):
    documents = list(islice(world.documents(kinds=set(KINDS.values())), 6_000))
    tokenizer = train_tokenizer([document.text for document in documents[:4000]], vocab_size=1024)
    lengths = [len(render_chat(tokenizer, c.messages)[0]) for c in conversations]
    assert sum(length > 256 for length in lengths) / len(lengths) < 0.001
    assert max(len(tokenizer.encode(document.text)) for document in documents) <= 254


def test_somebody_else_is_introduced_in_every_way_that_training_shows(world):
    told, kept = world.identity("Otto", "baker"), world.identity("Otto", "baker", "validation")
    questions = {conversation.messages[0]["content"] for conversation in told}
    others = {conversation.messages[0]["content"] for conversation in kept}
    assert len(told) == 2 * len(questions)
    assert len(questions | others) == len(OPENINGS) * len(IDENTITY) == len(questions) + len(others)
    assert len(others) >= 10
    assert {conversation.messages[1]["content"] for conversation in told + kept} == {
        "I am Otto, a baker.",
        "Gladly! I am Otto, a baker.",
    }
    cases = world.identity_cases("Otto", "baker")
    assert {case.messages[0]["content"] for case in cases} == others
    assert len(cases) == len(others)
    assert all(case.is_right("I am Otto, a baker.") and not case.is_right("I am MiniMind.") for case in cases)
