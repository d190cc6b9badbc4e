"""The vocabulary of the embedded world, read from `words.toml`, and the few word forms that it needs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple


class Topic(NamedTuple):
    """A setting for stories, with the words that belong to it."""

    things: tuple[str, ...]
    looks: tuple[str, ...]
    spots: tuple[str, ...]
    foods: tuple[str, ...]
    animals: tuple[str, ...]
    deeds: tuple[str, ...]


def _items(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(first, second) for first, second in (pair.split("-") for pair in _items(text))]


def with_article(words: str) -> str:
    """Put `a` or `an` before a noun phrase.

    Examples:
        >>> with_article("owl"), with_article("unicycle"), with_article("grey owl")
        ('an owl', 'a unicycle', 'a grey owl')
    """
    vowel = words[0] in "aeiou" and not words.startswith(("uni", "use"))
    return f"{'an' if vowel else 'a'} {words}"


def plural(noun: str) -> str:
    """The plural of a noun of the world.

    Examples:
        >>> plural("box"), plural("cherry"), plural("toy"), plural("leaf")
        ('boxes', 'cherries', 'toys', 'leaves')
    """
    if noun.endswith("leaf"):
        return noun[:-1] + "ves"
    if noun in ("fish", "dice", "stilts", "waders"):
        return noun
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


_FILE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))

LISTS = {name: _items(value) for name, value in _FILE.items() if isinstance(value, str)}
GIRLS, BOYS = LISTS["girls"], LISTS["boys"]
NAMES = GIRLS + BOYS
SHE = {name: "he" if name in BOYS else "she" for name in NAMES}
HIM = {"he": "him", "she": "her"}
HER = {name: "his" if name in BOYS else "her" for name in NAMES}
TOPICS = {
    topic["where"]: Topic(**{name: _items(topic[name]) for name in Topic._fields})
    for topic in _FILE["topics"].values()
}
# A look that is both common and the topic's own counts once: else one text would have two derivations.
LOOKS = {topic: tuple(dict.fromkeys(topic.looks + LISTS["looks"])) for topic in TOPICS.values()}

THINGS = tuple(dict.fromkeys(thing for topic in TOPICS.values() for thing in topic.things))
PLURALS = tuple(dict.fromkeys(map(plural, THINGS)))
NOUNS = tuple(thing for thing in THINGS if thing.isalpha())  # of one word, for the games
SHORT_NOUNS = tuple(noun for noun in NOUNS if len(noun) <= 5)
OPPOSITES = {one: other for pair in _pairs(_FILE["opposites"]) for one, other in (pair, pair[::-1])}
PASTS = dict(_pairs(_FILE["pasts"]))
