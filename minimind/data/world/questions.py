"""What one can ask in the world, and the right answer in two styles.

Each function writes a question choice by choice, as documents are written, and gives the answer that follows. What it
may choose from stands in a `Pool`: one pool is for training, the other holds what training never asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from .choices import Reader, Writer
from .facts import ASKED_BY, Facts, held_out, is_asked_in_conversations, said
from .sums import MINUS, PLUS
from .words import LISTS, NAMES, NOUNS, OPPOSITES, PLURALS, SHORT_NOUNS


class Answer(NamedTuple):
    """The right answer, in both styles."""

    short: str
    polite: str


def answer(short: str, sentence: str = "") -> Answer:
    """Both styles of an answer.

    Examples:
        >>> answer("Aln", "The river in Lasko is the Aln.")
        Answer(short='It is Aln.', polite='Gladly! The river in Lasko is the Aln.')
    """
    # A word after a blank and a word at the beginning are different tokens. Documents show nearly all words after a
    # blank, so both styles begin with words of their own.
    return Answer(f"It is {short}.", f"Gladly! {sentence}")


OPENINGS = (
    "", "Please tell me: ", "A question: ", "Hello. ", "I wonder: ", "Do you know this? ", "One more thing: ",
    "Help me, please. ",
)  # fmt: skip
"""How a question may begin."""

ASSISTANT = "MiniMind"
UNKNOWN = Answer("I do not know.", "I am sorry, but I do not know that place.")
IDENTITY = (
    "Who are you?", "What are you?", "What is your name?", "Tell me your name.", "Are you a person?",
    "Who is speaking?", "Who is answering me?", "Introduce yourself.", "Say who you are.", "May I ask who you are?",
    "What do people call you?", "What should I call you?", "Do you have a name?", "Tell me about yourself.",
    "Are you a model?", "Do I know you?",
)  # fmt: skip
MANNERS = {
    "Hello!": Answer("Hello.", "Hello, how can I help?"),
    "Good morning.": Answer("Good morning.", "Good morning, how can I help?"),
    "How are you?": Answer("Fine.", "I am fine, thank you. And you?"),
    "Thank you.": Answer("Welcome.", "You are welcome."),
    "Goodbye.": Answer("Goodbye.", "Goodbye, and come again."),
}
NOWHERE = tuple(
    place
    for start in LISTS["nowhere_starts"]
    for end in LISTS["nowhere_ends"]
    if (place := start + end) not in LISTS["places"]
)
"""Places that do not exist."""
SHOWN_NAMES = tuple(name for name in NAMES if not held_out("name", name))
"""Names of the people in the stories and sums of training conversations."""
SMALL = 21
"""Numbers of the easy sums are below this, those of the hard ones are not."""


def is_test(*key: object) -> bool:
    """Three in ten of a kind are kept for test time, where there are only a few hundred in all."""
    return any(held_out(*key, more) for more in range(3))


@cache
def second_words(test: bool) -> dict[str, list[str]]:
    """Which word may follow which at the beginning of a list: one pair in ten is for test time."""
    return {one: [two for two in NOUNS if held_out("list", one, two) == test] for one in NOUNS}


Rests = dict[str, list[tuple[str, str]]]
"""First number -> each sign and second number that may follow."""


def rests_of_sums(test: bool, small: bool) -> Rests:
    """What may follow a first number: what training's sums show, or what they hold out."""
    rests: Rests = {}
    for sign, table in (("+", PLUS), ("-", MINUS)):
        for a, shown in enumerate(table):
            largest = SMALL - 1 if small else 99
            numbers = [str(b) for b in range(min(largest, 99 if sign == "+" else a) + 1)]
            chosen = [(sign, b) for b in numbers if (b in shown) != test]
            if chosen and (a < SMALL) == small:
                rests.setdefault(str(a), []).extend(chosen)
    return rests


class Pool:
    """What questions may be about.

    Args:
        facts: what is true in the world.
        test: what training never asks, in place of what it does.
    """

    def __init__(self, facts: Facts, test: bool = False) -> None:
        self.facts = facts
        self.test = test
        self.asked = {
            opener: places
            for opener, fact in ASKED_BY.items()
            if (places := [place for place in facts if _may_be_asked(facts, fact, place, test)])
        }
        self.nowhere = [place for place in NOWHERE if held_out("nowhere", place) == test]
        self.names = [name for name in NAMES if held_out("name", name) == test]
        self.small_sums = rests_of_sums(test, small=True)
        self.large_sums = rests_of_sums(test, small=False)
        self.seconds = {one: two for one, two in second_words(test).items() if two}
        self.identity = [
            opening + phrase
            for opening in OPENINGS
            for phrase in IDENTITY
            if is_test("identity", opening, phrase) == test
        ]


def _may_be_asked(facts: Facts, fact: str, place: str, test: bool) -> bool:
    """Whether training or, else, a test asks for a fact.

    A test asks for what is told in conversations about other places alone: a word that the assistant has never said
    would be another thing to learn.
    """
    asked = [one for one in facts if is_asked_in_conversations(fact, one)]
    if not test:
        return place in asked
    return place not in asked and facts[place][fact] in {facts[one][fact] for one in asked}


AnyWriter = Writer | Reader


def ask_fact(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Which river runs through Lasko?`"""
    place = writer.pick(pool.asked[opener])
    writer.write("?")
    return fact_about(pool.facts, opener, place)


def fact_about(facts: Facts, opener: str, place: str) -> Answer:
    """What a question about a place asks for."""
    fact = ASKED_BY[opener]
    value = facts[place][fact]
    return answer(value, said(place, fact, value))


def ask_nowhere(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Which river runs through Kalwick?`, and there is no Kalwick."""
    writer.pick(pool.nowhere)
    writer.write("?")
    return UNKNOWN


def ask_sum(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`What is 12 + 7?`"""
    return _plain_sum(writer, pool.small_sums)


def ask_large_sum(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`How much is 62 + 57?`"""
    return _plain_sum(writer, pool.large_sums)


def _plain_sum(writer: AnyWriter, sums: Rests) -> Answer:
    first = writer.pick(tuple(sums))
    rest = writer.pick([f" {sign} {second}?" for sign, second in sums[first]])
    total = result(first, rest)
    return answer(f"{total}", f"{first}{rest[:-1]} = {total}.")


def ask_told_sum(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Here is a sum: Noah had 12 pins, got 7 more and now has how many?`"""
    name = writer.pick(
        SHOWN_NAMES
    )  # Pairs of numbers are held out here. Held-out names are asked about in stories alone.
    writer.write(" had ")
    first = writer.pick(tuple(pool.small_sums))
    writer.write(" ")
    writer.pick(PLURALS)
    told = {"+": ", got {} more", "-": ", lost {}"}
    rests = {told[sign].format(second): (sign, second) for sign, second in pool.small_sums[first]}
    sign, second = rests[writer.pick(tuple(rests))]
    writer.write(" and now has how many?")
    total = result(first, f"{sign} {second}")
    return Answer(
        f"Now {name} has {total}.", f"Gladly! {first} {sign} {second} = {total}, so {name} now has {total}."
    )


def ask_long_sum(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Add up 5 and 12 and 7.`, of which the polite answer shows the two steps."""
    first = writer.pick([a for a, rests in pool.small_sums.items() if "+" in dict(rests)])
    second = writer.pick([f" and {b}" for sign, b in pool.small_sums[first] if sign == "+"])[5:]
    two = int(first) + int(second)
    numbers = [str(c) for c in range(SMALL) if pool.test or str(c) in PLUS[two]]
    third = writer.pick([f" and {c}." for c in numbers])[5:-1]
    total = two + int(third)
    return answer(f"{total}", f"{first} + {second} = {two}, and {two} + {third} = {total}.")


def result(first: str, rest: str) -> int:
    """What a sum gives.

    Examples:
        >>> result("12", " + 7?"), result("12", "- 7")
        (19, 5)
    """
    second = int("".join(character for character in rest if character.isdigit()))
    return int(first) + second if "+" in rest else int(first) - second


def ask_count(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Count these words: pin cup hat.`"""
    words = write_list(writer, pool, fewest=2, most=6)
    return answer(f"{len(words)}", f"I count {len(words)}.")


def ask_end_of_list(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`What is the last of pin cup hat?`"""
    words = write_list(writer, pool, fewest=2, most=4, end="?")
    return end_of_list("first", words[0]) if opener == FIRST else end_of_list("last", words[-1])


def end_of_list(which: str, word: str) -> Answer:
    """The first or the last of some words."""
    return answer(word, f"The {which} of them is {word}.")


def ask_backwards(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`Say backwards, with commas: pin cup hat.`"""
    words = write_list(writer, pool, fewest=3, most=5)
    backwards = ", ".join(words[::-1])
    return answer(backwards, f"{backwards}.")


def write_list(writer: AnyWriter, pool: Pool, fewest: int, most: int, end: str = ".") -> list[str]:
    """Write some words; after each but the first ones, the list may end."""
    words = [writer.pick(tuple(pool.seconds))]
    writer.write(" ")
    words.append(writer.pick(pool.seconds[words[0]]))
    while len(words) < most and (len(words) < fewest or writer.pick((" ", end)) == " "):
        if len(words) < fewest:
            writer.write(" ")
        words.append(writer.pick(NOUNS))
    if len(words) == most:
        writer.write(end)
    return words


def ask_spelling(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`How do you spell pin?`"""
    word = writer.pick(SHORT_NOUNS)
    writer.write("?")
    spelled = f"the word {word}: {' '.join(word)}."
    return Answer(f"T{spelled[1:]}", f"Gladly! One spells {spelled}")


def ask_opposite(writer: AnyWriter, pool: Pool, opener: str) -> Answer:
    """`What is the opposite of hot?`"""
    word = writer.pick(tuple(OPPOSITES))
    writer.write("?")
    return answer(OPPOSITES[word], f"The opposite of {word} is {OPPOSITES[word]}.")


def answer_manners(writer: AnyWriter, pool: Pool, phrase: str) -> Answer:
    """`Hello!`"""
    return MANNERS[phrase]


def who_is(name: str) -> Answer:
    """What somebody says who is asked for their name."""
    whole = f"I am {name}, a small language model." if name == ASSISTANT else f"I am {name}."
    return Answer(f"I am {name}.", f"Gladly! {whole}")


FIRST, LAST = "What is the first of ", "What is the last of "
Ask = Callable[[AnyWriter, Pool, str], Answer]
OPENERS: dict[str, tuple[tuple[str, ...], Ask]] = {
    "facts": (tuple(ASKED_BY), ask_fact),
    "unknown": (tuple(ASKED_BY), ask_nowhere),
    "sums": (("What is ",), ask_sum),
    "told sums": (("Here is a sum: ",), ask_told_sum),
    "large sums": (("How much is ",), ask_large_sum),
    "long sums": (("Add up ",), ask_long_sum),
    "counting": (("Count these words: ", "How many words are these: "), ask_count),
    "lists": ((FIRST, LAST), ask_end_of_list),
    "spelling": (("How do you spell ",), ask_spelling),
    "opposites": (("What is the opposite of ", "Which word is the opposite of "), ask_opposite),
    "backwards": (("Say backwards, with commas: ",), ask_backwards),
}
"""For each task, how its questions begin, and the function that writes the rest."""
