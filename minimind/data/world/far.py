"""Another country: the same questions, other places, and facts that no earlier training told.

An adapter learns it on top of a model that answers already. The towns there are called after people, with names that
documents are full of; in the tokenizer of the shipped models each is a token of its own. An invented name is made of
pieces that other words need too, and who teaches something new about a piece disturbs them all.

Every fact is asked in some way; three ways of asking in ten (an opening, a question and a place) are kept for test
time.
"""

from __future__ import annotations

import math
import random
from functools import cache

from .conversations import Case, Conversation, turn
from .facts import ASKED_BY, Facts
from .questions import OPENINGS, Answer, fact_about, is_test
from .words import LISTS

FAR = "far"
"""The task's name."""


@cache
def ways_of_asking(test: bool) -> list[tuple[str, str, str]]:
    """Opening, opener and place of each question: those that training never asks, or those that it does."""
    return [
        (opening, opener, place)
        for place in LISTS["far_places"]
        for opener in ASKED_BY
        for opening in OPENINGS
        if is_test(FAR, opening, opener, place) == test
    ]


def ask_far(way: tuple[str, str, str], facts: Facts) -> tuple[str, Answer]:
    """`Please tell me: Which river runs through Petra?`, and what is right."""
    opening, opener, place = way
    return f"{opening}{opener}{place}?", fact_about(facts, opener, place)


def converse_far(seed: int, split: str, index: int, facts: Facts) -> Conversation:
    """Write the conversation of this number."""
    rng = random.Random(f"{seed} far conversation {split} {index}")
    question, answers = ask_far(rng.choice(ways_of_asking(test=split == "validation")), facts)
    return Conversation(turn(question, rng.choice(answers)), FAR, math.log(2))


def far_cases(seed: int, count: int, facts: Facts) -> list[Case]:
    """Different questions that no training conversation asks."""
    ways = ways_of_asking(test=True)
    chosen = random.Random(f"{seed} cases of {FAR}").sample(ways, min(count, len(ways)))
    asked = [ask_far(way, facts) for way in chosen]
    return [Case(FAR, [{"role": "user", "content": question}], answers) for question, answers in asked]
