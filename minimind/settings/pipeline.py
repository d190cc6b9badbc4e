"""Settings of the command that runs every stage of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UserError

Size = Literal["quick", "default", "ship"]
"""How much the pipeline trains."""


@dataclass
class PipelineSettings:
    """Train every stage in order, each on what the one before it made, and write one report of all.

    A stage that is finished is left as it is, and one that was stopped goes on: the same command again continues.
    """

    output: str = "runs"
    """Folder for the stages' runs, one folder each, and for pipeline.html, the report."""
    quick: bool = False
    """Train less: done in a few minutes, and each stage still learns what it is there for."""
    ship: bool = False
    """Train as long as the models that come with the package were trained, and put them in their place."""
    threads: int | None = None
    """Threads of the processor. A number is kept: then a run that was stopped and continued ends with the same weights,
    to the last bit. Default: one a core, and fewer while other programs are busy."""
    seed: int = 0
    """Start of every random choice, and the seed of the embedded world."""
    overwrite: bool = False
    """Delete the stages' runs that are in --output, and begin anew."""

    def __post_init__(self) -> None:
        if self.quick and self.ship:
            raise UserError("--quick trains less and --ship trains more; give one of them")

    @property
    def size(self) -> Size:
        """How much is trained."""
        return "quick" if self.quick else "ship" if self.ship else "default"
