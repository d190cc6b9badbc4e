"""The embedded world: an endless supply of simple English, of which the exact entropy is known.

Real text has a floor too, a loss that no model can beat, but nobody knows it. Here it is known, because the
text is written by chance alone and every choice adds its -log p (see `choices.py`). So a loss curve can be
drawn against the line that it approaches.

There are five kinds of document. In a *story* (see `story.py`) a fact that is told early matters late. A
*tour* tells facts about invented places and a *quiz* asks for them. *Sums* are arithmetic, *games* are
small tasks with words and letters.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from .choices import Reader, Weighted, Writer
from .story import write_story
from .words import LISTS, NAMES, NOUNS, OPPOSITES, PASTS, PLURALS, SHORT_NOUNS, THINGS, plural

HELD_OUT_SHARE = 10  # one sum in ten and one fact in ten is never asked in training


class Document(NamedTuple):
    """One document of the world."""

    text: str
    """What is written."""
    kind: str
    """`story`, `tour`, `quiz`, `sums` or `games`."""
    nats: float
    """-log p(text): the loss, summed over the document, of a model that knows the world perfectly."""


class Question(NamedTuple):
    """A question that no training document asks, with its answer."""

    kind: str
    prompt: str
    answer: str


KINDS = {"One ": "story", "From ": "tour", "Question: ": "quiz", "Sums:": "sums", "Games:": "games"}
OPENERS = Weighted({"One ": 0.52, "From ": 0.12, "Question: ": 0.06, "Sums:": 0.14, "Games:": 0.16})

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


def held_out(*key: object) -> bool:
    """Whether a sum or a fact is kept for test time; a hash decides, so that no pattern gives it away."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_SHARE == 0


# The second numbers that training may show after each first one; written as text, since a choice is text.
PLUS = [[str(b) for b in range(100) if not held_out("+", a, b)] for a in range(100)]
MINUS = [[str(b) for b in range(a + 1) if not held_out("-", a, b)] for a in range(100)]
NUMBERS = tuple(map(str, range(100)))
SUM_OPENERS = Weighted(
    {f" {number}": 0.6 / len(NUMBERS) for number in NUMBERS}
    | {f" {name} had ": 0.4 / len(NAMES) for name in NAMES}
)
GAMES = (
    " The last of ", " The first of ", " Count ", " Spell ", " The opposite of ",
    " Today we ", " After ", " Before ", " One ",
)  # fmt: skip
LETTERS = LISTS["letters"]


class World:
    """The invented world; its seed decides which facts hold there and which documents are written.

    Args:
        seed: worlds with different seeds have different facts and different documents.

    Examples:
        >>> document = next(World(seed=0).documents("train"))
        >>> document.kind in ("story", "tour", "quiz", "sums", "games") and document.nats > 0
        True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = random.Random(f"facts of world {seed}")
        self.facts = {
            place: {fact: rng.choice(LISTS[values]) for fact, (values, _, _) in FACTS.items()}
            for place in LISTS["places"]
        }
        # place -> fact -> the sentences that tell it
        self._told = {
            place: {fact: [form.format(value) for form in FACTS[fact][1]] for fact, value in facts.items()}
            for place, facts in self.facts.items()
        }
        # question -> the places that it may name in training
        self._asked = {
            opener: [place for place in self.facts if not held_out(fact, place)]
            for opener, fact in ASKED_BY.items()
        }

    def documents(self, split: str = "train", start: int = 0) -> Iterator[Document]:
        """Yield documents without end; document `i` depends on (seed, split, i) alone.

        Both splits have the same distribution. Every document makes choices worth at least 25 nats, so
        chance alone does not write one twice (the tests look for it).

        Args:
            split: `train` or `validation`.
            start: index of the first document.
        """
        if split not in ("train", "validation"):
            raise ValueError(f"split must be 'train' or 'validation', got {split!r}")
        for index in count(start):
            writer = Writer(random.Random(f"{self.seed} {split} {index}").random)
            kind = self.write(writer)
            yield Document(writer.text(), kind, writer.nats)

    def questions(self) -> Iterator[Question]:
        """Yield every held-out sum and fact as a prompt in the form of the training documents."""
        for a in range(100):
            for b in range(100):
                if held_out("+", a, b):
                    yield Question("sums", f"Sums: {a} + {b} =", f" {a + b}.")
                if b <= a and held_out("-", a, b):
                    yield Question("sums", f"Sums: {a} - {b} =", f" {a - b}.")
        for opener, fact in ASKED_BY.items():
            for place, facts in self.facts.items():
                if held_out(fact, place):
                    yield Question("facts", f"Question: {opener}{place}? Answer:", f" {facts[fact]}.")

    def write(self, writer: Writer | Reader) -> str:
        """Write one document and return its kind."""
        kind = KINDS[writer.pick_weighted(OPENERS)]
        match kind:
            case "story":
                write_story(writer)
            case "tour":
                self._write_tour(writer)
            case "quiz":
                self._write_quiz(writer)
            case "sums":
                write_sums(writer)
            case "games":
                write_games(writer)
        return kind

    def _write_tour(self, writer: Writer | Reader) -> None:
        places = list(self.facts)
        places.remove(writer.pick(places))
        writer.write(", ")
        writer.pick(NAMES)
        writer.write(" the ")
        writer.pick(LISTS["roles"])
        for stop in range(4):
            writer.write(" Next came " if stop else " travelled to ")
            place = writer.pick(places)
            places.remove(place)
            writer.write(".")
            told = list(self._told[place].values())
            for _ in range(2):
                sentence = writer.pick([sentence for sentences in told for sentence in sentences])
                told = [sentences for sentences in told if sentence not in sentences]

    def _write_quiz(self, writer: Writer | Reader) -> None:
        for number in range(6):
            if number:
                writer.write(" Question: ")
            opener = writer.pick(tuple(ASKED_BY))
            place = writer.pick(self._asked[opener])
            writer.write(f"? Answer: {self.facts[place][ASKED_BY[opener]]}.")


def write_sums(writer: Writer | Reader) -> None:
    """Write five sums, plain or told: ` 12 + 7 = 19.` or ` Ada had 12 pins, lost 7 and now has 5.`"""
    for _ in range(5):
        opener = writer.pick_weighted(SUM_OPENERS)
        if opener[1].isdigit():
            a = int(opener)
            plus, minus, end = " + ", " - ", (" = ", " = ")
        else:
            a = int(writer.pick(NUMBERS))
            writer.write(" ")
            writer.pick(PLURALS)
            plus, minus, end = ", got ", ", lost ", (" more and now has ", " and now has ")
        sign = writer.pick((plus, minus) if MINUS[a] else (plus,))
        if sign == plus:
            b = int(writer.pick(PLUS[a]))
            writer.write(f"{end[0]}{a + b}.")
        else:
            b = int(writer.pick(MINUS[a]))
            writer.write(f"{end[1]}{a - b}.")


def write_games(writer: Writer | Reader) -> None:
    """Write six small tasks with words and letters."""
    for _ in range(6):
        match writer.pick(GAMES):
            case " The last of ":
                words = _write_several(writer, NOUNS, 3)
                writer.write(f" is {words[-1]}.")
            case " The first of ":
                words = _write_several(writer, NOUNS, 3)
                writer.write(f" is {words[0]}.")
            case " Count ":
                words = [writer.pick(NOUNS)]
                while len(words) < 6 and writer.pick((" ", ": ")) == " ":
                    words.append(writer.pick(NOUNS))
                writer.write(": " * (len(words) == 6) + f"{len(words)}.")
            case " Spell ":
                word = writer.pick(SHORT_NOUNS)
                writer.write(f": {' '.join(word)}.")
            case " The opposite of ":
                writer.write(f" is {OPPOSITES[writer.pick(tuple(OPPOSITES))]}.")
            case " Today we ":
                writer.write(f", yesterday we {PASTS[writer.pick(tuple(PASTS))]}.")
            case " After ":
                letter = writer.pick(LETTERS[:-1])
                writer.write(f" comes {LETTERS[LETTERS.index(letter) + 1]}.")
            case " Before ":
                letter = writer.pick(LETTERS[1:])
                writer.write(f" comes {LETTERS[LETTERS.index(letter) - 1]}.")
            case " One ":
                thing = writer.pick(THINGS)
                writer.write(f", many {plural(thing)}.")


def _write_several(writer: Writer | Reader, options: Sequence[str], number: int) -> list[str]:
    chosen = []
    for position in range(number):
        writer.write(" " * (position > 0))
        chosen.append(writer.pick(options))
    return chosen
