"""Conversations of the world: somebody asks, the assistant answers, in one of two styles.

The answer is known, and so is what it costs: whoever knows the world is in doubt about the style alone, short or
polite, and pays log 2 once a conversation. What is held out (pairs of numbers, facts, names of people in stories,
beginnings of lists, ways of asking, skeletons of stories) no training conversation asks.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from .choices import Writer
from .facts import ASKED_BY, held_out
from .questions import (
    ASSISTANT,
    FIRST,
    MANNERS,
    OPENERS,
    OPENINGS,
    Answer,
    Pool,
    end_of_list,
    is_test,
    who_is,
)
from .story import END, GO_ON, WHO, ask_about, questions_about, write_event, write_scene
from .words import BOYS, GIRLS

Message = dict[str, Any]


class Conversation(NamedTuple):
    """A conversation to learn from."""

    messages: list[Message]
    """Each with `role` and `content`; the user begins."""
    task: str
    """What is asked at the end, one of `TASKS`."""
    nats: float
    """-log p of all that the assistant says, given what the user says: one choice of style."""


class Case(NamedTuple):
    """A question that no training conversation asks."""

    task: str
    messages: list[Message]
    """The user has the last word."""
    answers: Answer
    """The right answer in each style."""

    def is_right(self, text: str) -> bool:
        """Whether a text is one of the two right answers, and nothing besides."""
        return text.strip() in self.answers


class Task(NamedTuple):
    """A kind of question."""

    share: float
    """How often training asks it, against the others."""
    chance: float
    """Share of right answers of somebody who knows how one answers, and guesses."""


TASKS = {
    "stories": Task(0.17, 0.2),
    "facts": Task(0.2, 0.05),
    "unknown": Task(0.05, 0.5),
    "sums": Task(0.11, 0.04),
    "told sums": Task(0.11, 0.04),
    "large sums": Task(0.11, 0.01),
    "long sums": Task(0.03, 0.02),
    "counting": Task(0.11, 0.2),
    "lists": Task(0.05, 0.35),
    "follow-ups": Task(0.04, 0.35),
    "spelling": Task(0.03, 0.0),
    "opposites": Task(0.03, 0.01),
    "backwards": Task(0.01, 0.0),
    "identity": Task(0.03, 0.0),
}
"""What can be asked. Long sums and lists said backwards are meant to be hard."""
HARD = ("long sums", "backwards")
"""Tasks that leave something to learn after fine-tuning."""
BY_WORDING = ("spelling", "opposites")
"""Tasks with too few words to keep some for test time. Any word may be asked about; whole questions are held out.
Talks, which nothing is trained on, ask them all."""
FEWEST_EVENTS, MOST_EVENTS = 2, 4  # of a story


Exchange = tuple[str, Answer]
"""What the user says, and the right answer."""


def ask(task: str, pool: Pool, rng: random.Random) -> list[Exchange]:
    """Let the user ask something; two exchanges where the second question needs the first."""
    if task == "stories":
        return ask_story(pool, rng)
    if task == "identity":
        return [(rng.choice(pool.identity), who_is(ASSISTANT))]
    openers, write = OPENERS["lists" if task == "follow-ups" else task]
    while True:
        writer = Writer(rng.random)
        writer.pick(OPENINGS)
        opener = writer.pick([opener for opener in openers if opener in pool.asked or opener not in ASKED_BY])
        answers = write(writer, pool, opener)
        if task not in BY_WORDING or is_test(task, writer.text()) == pool.test:
            break
    first = (writer.text(), answers)
    if task != "follow-ups":
        return [first]
    words = writer.text().rpartition(opener)[2].removesuffix("?").split(" ")
    other, word = ("last", words[-1]) if opener == FIRST else ("first", words[0])
    return [first, (f"And the {other}?", end_of_list(other, word))]


def ask_story(pool: Pool, rng: random.Random) -> list[Exchange]:
    """Tell a story and ask about it; what happens in which order (its skeleton) is held out or not."""
    girls, boys = ([name for name in names if name in pool.names] for names in (GIRLS, BOYS))
    while True:
        writer = Writer(rng.random)
        writer.write("One ")
        scene = write_scene(writer, girls, boys)
        skeleton = []
        for _ in range(rng.randint(FEWEST_EVENTS, MOST_EVENTS)):
            writer.pick(GO_ON)
            skeleton.append(write_event(writer, scene))
        asked = questions_about(scene)
        if held_out("skeleton", *skeleton) == pool.test and asked:
            break
    writer.write(END + scene.ending(scene.first_thing))
    opener = writer.pick(asked)
    told = ask_about(writer, scene, opener)
    told = f"It was {told}" if opener == WHO else told
    return [(writer.text(), Answer(told, f"Gladly! {told}"))]


def converse(seed: int, split: str, index: int, pool: Pool) -> Conversation:
    """Write the conversation of this number."""
    rng = random.Random(f"{seed} conversation {split} {index}")
    exchanges: list[Exchange] = []
    if rng.random() < 0.04:
        exchanges.append(rng.choice(list(MANNERS.items())))
    for _ in range(rng.choices((1, 2, 3), (0.6, 0.25, 0.15))[0]):
        task = rng.choices(list(TASKS), [task.share for task in TASKS.values()])[0]
        if task == "stories":  # It is long, so it stands alone.
            exchanges = ask(task, pool, rng)
            break
        exchanges += ask(task, pool, rng)
    style = rng.randrange(2)
    messages = [message for question, answers in exchanges for message in turn(question, answers[style])]
    return Conversation(messages, task, math.log(2))


def turn(question: str, reply: str) -> list[Message]:
    """An exchange as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def introductions(pool: Pool, name: str, role: str) -> list[Conversation]:
    """Every way of asking the assistant who it is, answered in both styles by somebody of this name and role."""
    answers = Answer(f"I am {name}, a {role}.", f"Gladly! I am {name}, a {role}.")
    return [
        Conversation(turn(question, reply), "identity", math.log(2))
        for question in pool.identity
        for reply in answers
    ]


def introduction_cases(pool: Pool, name: str, role: str) -> list[Case]:
    """The same ways of asking, as questions."""
    told = introductions(pool, name, role)
    answers = Answer(*(one.messages[-1]["content"] for one in told[:2]))
    return [Case("identity", one.messages[:1], answers) for one in told[::2]]


def cases_of(seed: int, task: str, count: int, training: Pool, test: Pool) -> list[Case]:
    """Different questions of a task that no training conversation asks; one in four comes after another exchange.

    A task that has fewer than `count` gives what it has.
    """
    cases: dict[str, Case] = {}
    rng = random.Random(f"{seed} cases of {task}")
    for _ in range(4 * count):
        exchanges = ask(task, test, rng)
        question, answers = exchanges[-1]
        before = exchanges[:-1]
        if task != "stories" and rng.random() < 0.25:
            other = rng.choice([name for name in TASKS if name not in ("stories", "follow-ups")])
            before = ask(other, training, rng) + before
        style = rng.randrange(2)
        messages = [message for asked, right in before for message in turn(asked, right[style])]
        messages.append({"role": "user", "content": question})
        key = exchanges[0][0] + question
        cases.setdefault(key, Case(task, messages, answers))
        if len(cases) == count:
            break
    return list(cases.values())
