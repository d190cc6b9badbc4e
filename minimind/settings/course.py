"""Settings of the commands of the course, and of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass
class RunSettings:
    """Run a module's experiments (scripts of snippets/) in order."""

    module: Positional[str]
    """Name of a folder in snippets/, for example normalization."""
    all: bool = False
    """Run the long experiments and the extras too, not the core alone."""


@dataclass
class RecordSettings:
    """Measure long experiments anew and keep what they find beside their scripts."""

    names: Positional[tuple[str, ...]] = ()
    """Names of scripts, such as `normalization/exp4_pre_or_post`; none stands for all whose code has changed."""
    check: bool = False
    """Measure nothing, say which records are of other code than today's; the exit status is 1 if there are any."""
    confirm: bool = False
    """Measure a part again first; where it is the same to the bit, keep the rest and only renew the digest."""


@dataclass
class ExerciseSettings:
    """Write a piece of the model yourself, and have it checked."""

    what: Positional[Literal["list", "start", "check", "hint", "solution", "train"]]
    """list shows all. start writes a file to complete. check runs it and names the mistake. hint gives the next of
    three hints. solution asks first. train makes a model of what you have passed, and trains it beside ours."""
    name: Positional[str | None] = None
    """Name of the exercise."""
    folder: str = "exercises"
    """Folder with your files."""
    yes: bool = False
    """Show a solution without asking."""
    seconds: float = 60.0
    """How long `train` trains your model."""
    json: bool = False
    """Print the list as JSON."""


@dataclass
class DoctorSettings:
    """Look at this machine: what a run would use, and what stands in its way."""

    json: bool = False
    """Print one JSON object."""
