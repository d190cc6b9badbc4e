"""Talks: documents in which somebody asks and somebody answers.

What later stages say occurs here: the questions of conversations with their answers in both styles, calls of a
calculator, questions with four answers to choose from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ...tokenizer.chat_template import TOOLS_INTRODUCTION, TOOLS_RULE
from .choices import Weighted
from .facts import ASKED_BY, FACTS, said
from .questions import (
    ASSISTANT,
    MANNERS,
    OPENERS,
    OPENINGS,
    UNKNOWN,
    Answer,
    AnyWriter,
    Ask,
    Pool,
    answer,
    answer_manners,
    fact_about,
    result,
    who_is,
)
from .words import LISTS, NAMES

EXCHANGES = 3
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Works out a sum",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}
"""A tool that conversations may offer, as `render_chat` takes it."""
TOOLS = TOOLS_INTRODUCTION + json.dumps(CALCULATOR["function"]) + TOOLS_RULE
CALL = '<tool_call>\n{{"name": "calculator", "arguments": {{"expression": "{sum}"}}}}\n</tool_call>'
RESPONSE = "<tool_response>\n{total}\n</tool_response>"
TITLE = "# Tools"
LETTERS = ("A", "B", "C", "D")
SHARES = {
    "place": 0.3, "choose": 0.05, "sums": 0.1, "told sums": 0.1, "large sums": 0.06, "long sums": 0.03,
    "counting": 0.07, "lists": 0.07, "spelling": 0.06, "opposites": 0.06, "backwards": 0.03, "identity": 0.03,
    "manners": 0.02,
}  # fmt: skip
"""How often each kind of question is asked."""
USE_CALCULATOR = "Use the calculator: how much is "


class Talk:
    """Writes talks.

    Args:
        pool: what may be asked.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.sentences = [
            said(place, fact, value) for place, facts in pool.facts.items() for fact, value in facts.items()
        ]
        # One time in five the assistant is asked, else somebody with another name.
        self.others = {
            one: Weighted({ASSISTANT: 0.2} | {name: 0.8 / (len(NAMES) - 1) for name in NAMES if name != one})
            for one in NAMES
        }
        # A place that exists, or three times in ten one that does not: the same questions for both.
        self.places = {
            opener: Weighted(
                {place: 0.7 / len(places) for place in places}
                | {place: 0.3 / len(pool.nowhere) for place in pool.nowhere}
            )
            for opener, places in pool.asked.items()
        }
        kinds: dict[str, tuple[Sequence[str], Ask]] = {
            "place": (tuple(pool.asked), self._ask_place),
            "choose": ([f"Choose: {opener}" for opener in pool.asked], ask_to_choose),
            "manners": (tuple(MANNERS), answer_manners),
            **{task: OPENERS[task] for task in SHARES if task in OPENERS},
        }
        self.ask: dict[str, tuple[str, Ask | None]] = {
            question: (question, None) for question in pool.identity
        }
        weights = {question: SHARES["identity"] / len(pool.identity) for question in pool.identity}
        for kind, (openers, ask) in kinds.items():
            openings = ("",) if kind == "manners" else OPENINGS
            for opening in openings:
                for opener in openers:
                    self.ask[opening + opener] = (opener, ask)
                    weights[opening + opener] = SHARES[kind] / len(openers) / len(openings)
        self.openers = Weighted(weights)
        # A call of the calculator is long, so a talk has at most one.
        self.ask[USE_CALCULATOR] = (USE_CALCULATOR, ask_calculator)
        self.last_openers = Weighted(weights | {USE_CALCULATOR: 0.08})

    def write(self, writer: AnyWriter) -> None:
        """Write a talk, from after its first word "Talk:" on."""
        self._write_exchanges(writer, [self.openers] * (EXCHANGES - 1) + [self.last_openers])

    def write_with_tools(self, writer: AnyWriter) -> None:
        """Write what tools there are and a short talk, from after the title on."""
        writer.write(f"{TOOLS.removeprefix(TITLE)}\n\nTalk:")
        self._write_exchanges(writer, [self.openers])

    def _write_exchanges(self, writer: AnyWriter, openers: Sequence[Weighted]) -> None:
        writer.write(" ")
        one = writer.pick(NAMES)
        writer.write(" from ")
        writer.pick(LISTS["places"])
        writer.write(" and ")
        other = writer.pick_weighted(self.others[one])
        # Every fact is told here, those that nobody asks for too.
        writer.write(". ")
        writer.pick(self.sentences)
        style = None
        for choices in openers:
            writer.write(f" {one}: ")
            opener, ask = self.ask[writer.pick_weighted(choices)]
            answers = ask(writer, self.pool, opener) if ask else who_is(other)
            writer.write(f" {other}: ")
            if style is None:
                style = answers.index(writer.pick(answers))
            else:
                writer.write(answers[style])

    def _ask_place(self, writer: AnyWriter, pool: Pool, opener: str) -> Answer:
        place = writer.pick_weighted(self.places[opener])
        writer.write("?")
        return fact_about(pool.facts, opener, place) if place in pool.facts else UNKNOWN


def ask_calculator(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """A sum that a tool works out."""
    first = writer.pick(tuple(pool.large_sums))
    rest = writer.pick([f" {sign} {second}?" for sign, second in pool.large_sums[first]])
    total = result(first, rest)
    called = f"{CALL.format(sum=first + rest[:-1])} {RESPONSE.format(total=total)}"
    return Answer(f"{called} {total}.", f"{called} Gladly! {first}{rest[:-1]} = {total}.")


def ask_to_choose(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Choose: Which river runs through Lasko? A: Cray. B: Aln. C: Dell. D: Osk.`, and one of the four is right."""
    asked = opener.removeprefix("Choose: ")
    place = writer.pick(pool.asked[asked])
    writer.write("?")
    fact = ASKED_BY[asked]
    right = pool.facts[place][fact]
    wrong = [value for value in LISTS[FACTS[fact][0]] if value != right]
    letter = ""
    for position, name in enumerate(LETTERS):
        writer.write(f" {name}: ")
        share = 0.0 if letter else 1 / (len(LETTERS) - position)  # Each place in the row is as likely.
        shares = {right: share} | {other: (1 - share) / len(wrong) for other in wrong}
        value = writer.pick_weighted(Weighted({one: share for one, share in shares.items() if share}))
        writer.write(".")
        if value == right:
            letter = name
        else:
            wrong.remove(value)
    return answer(letter, f"It is {letter}.")
