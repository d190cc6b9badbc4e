"""What is true in a world: facts about invented places, told in tours and asked in quizzes and conversations."""

from __future__ import annotations

import hashlib
import random

from .words import LISTS

HELD_OUT_SHARE = 10  # one in ten of whatever is held out


def held_out(*key: object) -> bool:
    """Whether something is kept for test time; a hash decides, so that no pattern gives it away."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_SHARE == 0


# Each fact about a place: the list its value comes from, how it is told, how it is asked.
FACTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "river": (
        "rivers",
        (" It lies on the river {}.", " The river there is the {}.", " The {} runs through it."),
        ("Which river runs through ", "What is the name of the river in "),
    ),
    "flag": (
        "colours",
        (" Its flag is {}.", " The flag there is {}.", " Every house has a {} flag."),
        ("What colour is the flag of ", "Which flag flies over "),
    ),
    "animal": (
        "kept",
        (" People there keep {}.", " Many {} live there.", " It is known for its {}."),
        ("Which animals do people keep in ", "What lives in "),
    ),
    "crop": (
        "crops",
        (" The fields are full of {}.", " The farmers grow {}.", " At noon everyone eats {}."),
        ("What do the farmers grow in ", "What do people eat in "),
    ),
    "craft": (
        "crafts",
        (" Its workshops make {}.", " The shops sell {}.", " Visitors buy {}."),
        ("What do the workshops make in ", "What do visitors buy in "),
    ),
    "mayor": (
        "girls",
        (" The mayor is {}.", " It is ruled by {}.", " The mayor is called {}."),
        ("Who is the mayor of ", "Who rules "),
    ),
}
ASKED_BY = {opener: fact for fact, (_, _, openers) in FACTS.items() for opener in openers}

# How a fact is said in one sentence, with the place in it.
SENTENCES = {
    "river": "The river in {place} is the {value}.",
    "flag": "The flag of {place} is {value}.",
    "animal": "People in {place} keep {value}.",
    "crop": "The farmers in {place} grow {value}.",
    "craft": "The workshops in {place} make {value}.",
    "mayor": "The mayor of {place} is {value}.",
}

Facts = dict[str, dict[str, str]]
"""Place -> fact -> value."""


def draw_facts(seed: int, places: str = "places") -> Facts:
    """What holds in the world of this seed.

    Args:
        seed: of the world.
        places: which places: `places` are those of documents and conversations, `far_places` are another country,
            of which conversations and documents say nothing.
    """
    key = f"facts of world {seed}" + f", {places}" * (places != "places")
    rng = random.Random(key)
    return {
        place: {fact: rng.choice(LISTS[values]) for fact, (values, _, _) in FACTS.items()}
        for place in LISTS[places]
    }


def said(place: str, fact: str, value: str) -> str:
    """A fact as a sentence.

    Examples:
        >>> said("Lasko", "flag", "red")
        'The flag of Lasko is red.'
    """
    return SENTENCES[fact].format(place=place, value=value)


def is_asked_in_quizzes(fact: str, place: str) -> bool:
    """One fact in ten is told in training and never asked."""
    return not held_out(fact, place)


def is_asked_in_conversations(fact: str, place: str) -> bool:
    """Four in ten are never asked in a conversation: those that no quiz asks, and others that a quiz does."""
    return is_asked_in_quizzes(fact, place) and not any(held_out(fact, place, more) for more in range(1, 6))
