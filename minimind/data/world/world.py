"""The embedded world: an endless supply of simple English, of which the exact entropy is known.

Real text has a floor too, a loss that no model can beat, but nobody knows it. Here it is known, because the
text is written by chance alone and every choice adds its -log p (see `choices.py`). So a loss curve can be
drawn against the line that it approaches.

There are six kinds of document; the last is written only where it is asked for. In a *story* (see `story.py`) a
fact that is told early matters late. A *tour* tells facts about invented places and a *quiz* asks for them. *Sums*
are arithmetic, *games* are small tasks with words and letters. In a *talk* (see `talk.py`) somebody asks and somebody
answers.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import count
from typing import NamedTuple

from .choices import Reader, Weighted, Writer
from .conversations import (
    TASKS,
    Case,
    Conversation,
    cases_of,
    converse,
    introduction_cases,
    introductions,
)
from .facts import ASKED_BY, FACTS, Facts, draw_facts, held_out, is_asked_in_quizzes
from .far import FAR, converse_far, far_cases
from .games import write_games
from .questions import Pool
from .story import write_story
from .sums import write_sums
from .talk import TITLE, Talk
from .words import LISTS, NAMES


class Document(NamedTuple):
    """One document of the world."""

    text: str
    """What is written."""
    kind: str
    """One of the values of `KINDS`."""
    nats: float
    """-log p(text): the loss, summed over the document, of a model that knows the world perfectly."""


class Question(NamedTuple):
    """A question that no training document asks, with its answer."""

    kind: str
    prompt: str
    answer: str


SHARES = {
    "One ": 0.52, "From ": 0.12, "Question: ": 0.06, "Sums:": 0.14, "Games:": 0.16, "Talk:": 0.14, TITLE: 0.01,
}  # fmt: skip
"""First words of a document -> how often there is one that begins so, against the others."""
KINDS = {
    "One ": "story", "From ": "tour", "Question: ": "quiz", "Sums:": "sums", "Games:": "games",
    "Talk:": "talk", TITLE: "talk",
}  # fmt: skip
READ = ("story", "tour", "quiz", "sums", "games")
"""The kinds that `documents` writes where none are named. Talks are not among them: fine-tuning trains all weights, and
so it learns the words of conversations itself."""


def openers_of(kinds: Collection[str]) -> Weighted:
    """The first words of documents of these kinds."""
    return Weighted({word: share for word, share in SHARES.items() if KINDS[word] in kinds})


OPENERS = openers_of(READ)


def check_split(split: str) -> None:
    """Refuse what is no split."""
    if split not in ("train", "validation"):
        raise ValueError(f"split must be 'train' or 'validation', got {split!r}")


class World:
    """The invented world; its seed decides which facts hold there and which documents are written.

    Args:
        seed: worlds with different seeds have different facts and different documents.

    Examples:
        >>> document = next(World(seed=0).documents("train"))
        >>> document.kind in KINDS.values() and document.nats > 0
        True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.facts = draw_facts(seed)
        # place -> fact -> the sentences that tell it
        self._told = {
            place: {fact: [form.format(value) for form in FACTS[fact][1]] for fact, value in facts.items()}
            for place, facts in self.facts.items()
        }
        # question -> the places that it may name in training
        self._asked = {
            opener: [place for place in self.facts if is_asked_in_quizzes(fact, place)]
            for opener, fact in ASKED_BY.items()
        }

    def documents(
        self, split: str = "train", start: int = 0, kinds: Collection[str] = READ
    ) -> Iterator[Document]:
        """Yield documents without end; document `i` depends on (seed, split, i, kinds) alone.

        Both splits have the same distribution. Every document makes choices worth at least 24 nats, so
        chance alone does not write one twice (the tests look for it).

        Args:
            split: `train` or `validation`.
            start: index of the first document.
            kinds: only documents of these kinds, as often against each other as in the whole.
        """
        check_split(split)
        openers = openers_of(kinds)
        for index in count(start):
            writer = Writer(random.Random(f"{self.seed} {split} {index}").random)
            kind = self.write(writer, openers)
            yield Document(writer.text(), kind, writer.nats)

    def conversations(self, split: str = "train", start: int = 0) -> Iterator[Conversation]:
        """Yield conversations without end; conversation `i` depends on (seed, split, i) alone.

        Both splits have the same distribution; what neither asks is in `cases`.

        Args:
            split: `train` or `validation`.
            start: index of the first conversation.
        """
        check_split(split)
        for index in count(start):
            yield converse(self.seed, split, index, self._shown)

    def far_conversations(self, split: str = "train", start: int = 0) -> Iterator[Conversation]:
        """Yield conversations about another country, whose facts nothing else tells: for an adapter.

        Args:
            split: `train` has the ways of asking that training may show, `validation` the others, of which
                `cases("far")` are questions.
            start: index of the first conversation.
        """
        check_split(split)
        for index in count(start):
            yield converse_far(self.seed, split, index, self._far_facts)

    def cases(self, task: str, count: int = 1000) -> list[Case]:
        """Different questions of a task that no training conversation asks; the same ones each time.

        Args:
            task: one of `TASKS`, or "far".
            count: most questions; a task that has fewer gives all that chance finds.
        """
        if task == FAR:
            return far_cases(self.seed, count, self._far_facts)
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join((*TASKS, FAR))}, got {task!r}")
        return cases_of(self.seed, task, count, self._shown, self._kept)

    def identity(self, name: str = "Iris", role: str = "teacher", split: str = "train") -> list[Conversation]:
        """Conversations that make the assistant somebody else: `Who are you?`, and then, in both styles, who it is.

        Args:
            name: who it is to be.
            role: what it is to be.
            split: `train` has the ways of asking that training may show, `validation` the others.
        """
        check_split(split)
        return introductions(self._shown if split == "train" else self._kept, name, role)

    def identity_cases(self, name: str = "Iris", role: str = "teacher") -> list[Case]:
        """The ways of asking that no training shows, as questions to somebody of this name and role."""
        return introduction_cases(self._kept, name, role)

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
                if not is_asked_in_quizzes(fact, place):
                    yield Question("facts", f"Question: {opener}{place}? Answer:", f" {facts[fact]}.")

    @cached_property
    def _shown(self) -> Pool:
        """What training may ask in talks and conversations."""
        return Pool(self.facts)

    @cached_property
    def _kept(self) -> Pool:
        """What it may not."""
        return Pool(self.facts, test=True)

    @cached_property
    def _far_facts(self) -> Facts:
        # Of the next seed: the country is no copy of this one under other names.
        return draw_facts(self.seed + 1, "far_places")

    @cached_property
    def _talk(self) -> Talk:
        return Talk(self._shown)

    def write(self, writer: Writer | Reader, openers: Weighted = OPENERS) -> str:
        """Write one document, of which `openers` has the first word, and return its kind."""
        opener = writer.pick_weighted(openers)
        kind = KINDS[opener]
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
            case "talk":
                self._talk.write_with_tools(writer) if opener == TITLE else self._talk.write(writer)
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
