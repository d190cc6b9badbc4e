"""Small tasks with words and letters."""

from __future__ import annotations

from collections.abc import Sequence

from .choices import Reader, Writer
from .words import LISTS, NOUNS, OPPOSITES, PASTS, SHORT_NOUNS, THINGS, plural

GAMES = (
    " The last of ", " The first of ", " Count ", " Spell ", " The opposite of ",
    " Today we ", " After ", " Before ", " One ",
)  # fmt: skip
LETTERS = LISTS["letters"]


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
