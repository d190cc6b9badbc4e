"""What an exercise is: a piece of the model to write, what must be true of it, and the ways it goes wrong.

A task's file shows the solution first. Everything else hangs on that source: the empty file that a reader starts
with is the solution without its body, and a known mistake is a line of the solution changed. So neither can fall
behind it.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

Case = dict[str, Any]
"""The arguments of one call, by name; tensors of a few numbers, so that a failing one can be read."""


@dataclass
class Property:
    """Something that is true of a right answer.

    Attributes:
        words: the property as a sentence.
        cases: calls that show it, the smallest first.
        observe: what to compare for a case: called with the reader's function and the arguments. Default: what
            the function returns.
        compares: what `observe` gives, in words, where it is not what the function returns.
        tolerance: largest relative difference that counts as rounding.
    """

    words: str
    cases: Sequence[Case]
    observe: Callable[..., Any] = lambda function, **case: function(**case)
    compares: str = ""
    tolerance: float = 1e-5


@dataclass
class Mistake:
    """A wrong version that people write.

    Attributes:
        words: completes "This is what you would get if …".
        edits: pairs of text of the solution and what stands there instead.
        look: where to look, or why it matters: one sentence.
    """

    words: str
    edits: Sequence[tuple[str, str]]
    look: str


@dataclass
class Task:
    """One exercise.

    Attributes:
        name: of the exercise and of the function.
        module: the page's module that it belongs to.
        minutes: what it takes, with the lesson just read.
        solution: the function, as we would write it.
        properties: what the check goes through, in this order.
        mistakes: what the check compares a wrong answer with.
        hints: three, each telling more than the one before.
        core: on the path that everyone walks; else an extra.
    """

    name: str
    module: str
    minutes: int
    solution: Callable[..., Any]
    properties: Sequence[Property]
    mistakes: Sequence[Mistake]
    hints: tuple[str, str, str]
    core: bool = True
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.source = textwrap.dedent(inspect.getsource(self.solution))

    @property
    def title(self) -> str:
        """The first sentence of the solution's docstring."""
        return (self.solution.__doc__ or "").strip().splitlines()[0]

    def start(self) -> str:
        """The file that a reader starts with: imports, signature and docstring, and no body."""
        return "\n\n".join((self._head(), _without_body(self.source)))

    def solved(self) -> str:
        """A file with the solution."""
        return "\n\n".join((self._head(), self.source))

    def wrong(self, *mistakes: Mistake) -> str:
        """A file with these mistakes in it.

        Raises:
            ValueError: if a text to change is not in the solution exactly once.
        """
        source = self.source
        for mistake in mistakes:
            for old, new in mistake.edits:
                if source.count(old) != 1:
                    raise ValueError(f"{self.name}: {old!r} stands {source.count(old)} times in the solution")
                source = source.replace(old, new)
        return "\n\n".join((self._head(), source))

    def _head(self) -> str:
        """Those imports of the solution's file that the solution uses."""
        home = inspect.getmodule(self.solution)
        assert home is not None
        tree = ast.parse(inspect.getsource(home))
        imports = [
            node
            for node in tree.body
            if isinstance(node, ast.Import)
            or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
        ]
        names = {node.id for node in ast.walk(ast.parse(self.source)) if isinstance(node, ast.Name)}
        if "Tensor" in names:
            names.add("torch")  # A reader may want it where the solution does not.
        for node in imports:
            if isinstance(node, ast.ImportFrom) and node.level:  # A reader's file lies outside the package.
                node.module = resolve_name("." * node.level + (node.module or ""), home.__package__ or "")
                node.level = 0
            node.names = [name for name in node.names if (name.asname or name.name).split(".")[0] in names]
        lines = [ast.unparse(node) for node in imports if node.names]
        return "\n".join(lines) + "\n"


def function_of(source: str, name: str, origin: str) -> Callable[..., Any]:
    """Run a file's text and give the function of that name in it.

    Args:
        source: Python text.
        name: of the function.
        origin: what tracebacks call the file.

    Raises:
        AttributeError: if there is no such function.
    """
    return getattr(module_of(source, name, origin), name)


def module_of(source: str, name: str, origin: str) -> ModuleType:
    """Run a file's text as a module of its own; arguments as in `function_of`."""
    linecache.cache[origin] = len(source), None, source.splitlines(keepends=True), origin
    module = ModuleType(f"exercise {name}")  # no name that a reader could import by chance
    module.__file__ = origin
    sys.modules[module.__name__] = module  # a dataclass looks there for what its file has imported
    exec(compile(source, origin, "exec"), vars(module))
    return module


def _without_body(source: str) -> str:
    """A function's text up to the end of its docstring, then `...`."""
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    docstring = function.body[0]
    assert ast.get_docstring(function), f"{function.name} has no docstring"
    kept = source.splitlines()[: docstring.end_lineno]
    return "\n".join([*kept, "    ...", ""])
