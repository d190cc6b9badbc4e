"""Sums of the world, plain or told. One pair of numbers in ten never occurs in training."""

from __future__ import annotations

from .choices import Reader, Weighted, Writer
from .facts import held_out
from .words import NAMES, PLURALS

# The second numbers that training may show after each first one; written as text, since a choice is text.
PLUS = [[str(b) for b in range(100) if not held_out("+", a, b)] for a in range(100)]
MINUS = [[str(b) for b in range(a + 1) if not held_out("-", a, b)] for a in range(100)]
NUMBERS = tuple(map(str, range(100)))
SUM_OPENERS = Weighted(
    {f" {number}": 0.6 / len(NUMBERS) for number in NUMBERS}
    | {f" {name} had ": 0.4 / len(NAMES) for name in NAMES}
)


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
