"""Claims: findings with a name, each held against what was measured.

Where one does not hold, the compared values say by how much. They are found in the caller's own line: its source is
parsed, and both sides of each comparison in it are evaluated again.
"""

import ast
import itertools
import linecache
import reprlib
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

SIGNS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
LONGEST = 60
"""Characters of a value or a source text that are shown at most."""


class ClaimError(AssertionError):
    """A measured result contradicts what the script says about it."""


class Claim(NamedTuple):
    """One named statement, whether the measurement bore it out, and, where it did not, the compared values."""

    name: str
    holds: bool
    values: str = ""

    def __str__(self) -> str:
        """Two lines at most: the statement, and below it what was measured."""
        if self.holds:
            return f"claim holds: {self.name}"
        return f"claim does not hold: {self.name}" + (f"\n    measured: {self.values}" if self.values else "")


CLAIMS: list[Claim] = []
"""Every claim made in this process, in order. The site's build reads it after each block."""


def stop(claim: Claim) -> None:
    """What follows a claim that does not hold: an error, unless `when_false` is another function.

    Raises:
        ClaimError: always.
    """
    raise ClaimError(str(claim))


when_false: Callable[[Claim], None] = stop
"""Called with each claim that does not hold. The site's build puts `print` here: it lists all such claims of a page."""


def claim(name: str, holds: Any) -> None:
    """State a finding by name, and stop if the measurement does not bear it out.

    Args:
        name: the finding in words, as the page says it.
        holds: the condition on measured values; anything that has a truth value, a one-element tensor too.

    Raises:
        ClaimError: the condition is false.
    """
    made = Claim(name, True) if holds else Claim(name, False, _compared_values())
    CLAIMS.append(made)
    if made.holds:
        print(made)
    else:
        when_false(made)


def _compared_values() -> str:
    """The values behind the condition of the claim being made, such as "x = 0.3, expected > 0.5"; "" if unknown."""
    frame: FrameType | None = sys._getframe(1)
    # A helper beside `claim` that hands a condition on has it from its own caller.
    while frame and frame.f_globals.get("__name__") in (__name__, f"{__package__}.experiment"):
        frame = frame.f_back
    try:
        return describe(_condition(frame), frame.f_globals | frame.f_locals) if frame else ""
    except Exception:  # Whatever goes wrong while explaining a failure must not hide the failure.
        return ""


def _condition(frame: FrameType) -> ast.expr:
    """The second argument of the call that a frame is in the middle of."""
    call = ast.parse(f"({_source_of_call(frame.f_code, frame.f_lasti, frame.f_globals)})", mode="eval").body
    assert isinstance(call, ast.Call)
    named = [keyword.value for keyword in call.keywords if keyword.arg == "holds"]
    return named[0] if named else call.args[1]


def _source_of_call(code: CodeType, instruction: int, names: dict[str, Any]) -> str:
    """The source text of the call at an instruction; Python notes lines and bytes of each."""
    first, last, start, end = next(itertools.islice(code.co_positions(), instruction // 2, None))
    assert first is not None
    assert last is not None
    lines = [line.encode() for line in linecache.getlines(code.co_filename, names)[first - 1 : last]]
    lines[-1] = lines[-1][:end]  # first the end: both may lie on one line
    lines[0] = lines[0][start:]
    return b"".join(lines).decode()


def describe(condition: ast.expr, names: dict[str, Any]) -> str:
    """What a false condition compared.

    Args:
        condition: the parsed condition.
        names: the variables that it was evaluated with.

    Returns:
        For each comparison that failed its two sides, joined by semicolons; "" where nothing is compared.
    """
    return "; ".join(_parts(condition, names))


def _parts(node: ast.expr, names: dict[str, Any]) -> Iterator[str]:
    if isinstance(node, ast.BoolOp):
        # Of an "and" only what is false matters, and nothing behind it was asked; of an "or" everything does.
        for value in node.values:
            if not _evaluate(value, names):
                yield from _parts(value, names)
                if isinstance(node.op, ast.And):
                    return
    elif isinstance(node, ast.Compare):
        yield _comparison(node, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"{_shorten(ast.unparse(node.operand))} = {_show(_evaluate(node.operand, names))}, expected false"
    elif isinstance(node, ast.Call) and _is_all(node):
        yield from _first_exception(node.args[0], names)
    elif isinstance(node, ast.Call):
        for argument in node.args:
            if not isinstance(argument, ast.Constant):
                yield f"{_shorten(ast.unparse(argument))} = {_show(_evaluate(argument, names))}"


def _is_all(node: ast.Call) -> bool:
    """Whether a call is `all(... for ... in ...)`."""
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == "all"
        and isinstance(node.args[0], ast.GeneratorExp)
    )


def _first_exception(loop: ast.expr, names: dict[str, Any]) -> Iterator[str]:
    """The first round of a loop in which its condition is false, described with the loop's own variables."""
    assert isinstance(loop, ast.GeneratorExp)
    found = sorted(
        {name.id for part in loop.generators for name in ast.walk(part.target) if isinstance(name, ast.Name)}
    )
    rounds = ast.GeneratorExp(
        ast.Tuple([ast.Name(name, ast.Load()) for name in found], ast.Load()),
        [*loop.generators[:-1], _only_where_false(loop.generators[-1], loop.elt)],
    )
    values = next(iter(_evaluate(rounds, names)))
    yield from _parts(loop.elt, names | dict(zip(found, values, strict=True)))


def _only_where_false(part: ast.comprehension, condition: ast.expr) -> ast.comprehension:
    refused = ast.UnaryOp(ast.Not(), condition)
    return ast.comprehension(part.target, part.iter, [*part.ifs, refused], part.is_async)


def _comparison(node: ast.Compare, names: dict[str, Any]) -> str:
    """ "x = 0.3, expected > 0.5" for one comparison, "y = 7, expected 1 < y < 5" for a chain."""
    sides = [node.left, *node.comparators]
    signs = [SIGNS[type(sign)] for sign in node.ops]
    texts = [_shorten(ast.unparse(side)) for side in sides]
    # Text and value, of what does not show its value by itself.
    told = [
        text if _is_plain(side) else f"{text} = {_show(_evaluate(side, names))}"
        for text, side in zip(texts, sides, strict=True)
    ]
    if len(sides) == 2:
        return f"{told[0]}, expected {signs[0]} {told[1]}"
    rest = " ".join(f"{sign} {text}" for sign, text in zip(signs, texts[1:], strict=True))
    values = [both for both, text in zip(told, texts, strict=True) if both != text]
    return f"{', '.join(values)}, expected {texts[0]} {rest}"


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression shows its value by itself, such as -1 or 5 / 3."""
    return not any(isinstance(inner, ast.Name | ast.Call) for inner in ast.walk(node))


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    # All names as globals: a loop inside an expression does not see the locals around it.
    return eval(compile(ast.fix_missing_locations(ast.Expression(node)), "<claim>", "eval"), names)


def _show(value: Any) -> str:
    """A value in a few characters; a tensor of one element as its number."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}"
    return _shorten(" ".join(reprlib.repr(value).split()))


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
