"""The list of the stages. A new stage joins the pipeline by one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..arguments import command_line
from ..settings import LoraSettings, PipelineSettings, PretrainSettings, SftSettings, TokenizerSettings
from ..training import FitResult, lora, pretrain, sft, tokenizer


@dataclass(frozen=True)
class Size:
    """How long a stage is in one of the pipeline's sizes."""

    seconds: float
    """What it takes on two cores, about."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """The stage's settings that are not the defaults."""


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline."""

    name: str
    """Of its folder in the pipeline's `--output`, and in the report."""
    verb: str
    """The command that does the same by hand."""
    run: Callable[[Any], FitResult | None]
    """The stage's function: takes its settings, and gives a `FitResult` or None."""
    settings: type[Any]
    """The dataclass of these settings; it has `output`, `seed` and `overwrite`."""
    sizes: Mapping[str, Size]
    """One for each of `quick`, `default` and `ship`."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """Which of its settings names the folder of which earlier stage. In size `ship` that stage's model is shipped by
    then, and this one starts from the shipped one."""
    shipped: str | None = None
    """Under which name what it makes comes with the package; None if it does not."""

    def settings_for(self, given: PipelineSettings) -> Any:
        """The stage's settings in a pipeline of these settings."""
        output = Path(given.output)
        values = {"output": str(output / self.name), "seed": given.seed, "threads": given.threads}
        values |= {setting: str(output / name) for setting, name in self.reads.items()}
        values |= self.sizes[given.size].changes
        known = {one.name for one in fields(self.settings)}  # A tokenizer has no threads to choose.
        return self.settings(**{name: value for name, value in values.items() if name in known})

    def command(self, settings: Any) -> str:
        """What to type to do the same by hand."""
        return command_line(self.verb, settings)


def adapter(subject: str) -> Stage:
    """The stage of an adapter that learns a subject of the embedded world. It is short in every size."""
    told = {"subject": subject}
    return Stage(
        name=f"lora_{subject}",
        verb="lora",
        run=lora,
        settings=LoraSettings,
        sizes={
            "quick": Size(40, {**told, "steps": 300, "replay": 0.9}),
            "default": Size(95, told),
            "ship": Size(130, {**told, "from_weight": "shipped/full_sft"}),
        },
        reads={"from_weight": "sft"},
        shipped=f"lora_{subject}",
    )


STAGES = (
    Stage(
        name="tokenizer",
        verb="tokenizer",
        run=tokenizer,
        settings=TokenizerSettings,
        sizes=dict.fromkeys(("quick", "default", "ship"), Size(4, {"what": "train"})),
    ),
    Stage(
        name="pretrain",
        verb="pretrain",
        run=pretrain,
        settings=PretrainSettings,
        sizes={
            "quick": Size(70, {"steps": 640}),
            "default": Size(220, {"steps": 2000}),
            # The command on the card must make the same model: it trains the tokenizer itself, on the same text.
            "ship": Size(1000, {"steps": 8000, "tokenizer": None}),
        },
        reads={"tokenizer": "tokenizer"},
        shipped="pretrain",
    ),
    Stage(
        name="sft",
        verb="sft",
        run=sft,
        settings=SftSettings,
        sizes={
            "quick": Size(60, {"steps": 400}),
            "default": Size(130, {"steps": 1200}),
            "ship": Size(600, {"steps": 5000, "from_weight": "shipped/pretrain"}),
        },
        reads={"from_weight": "pretrain"},
        shipped="full_sft",
    ),
    adapter("identity"),
    adapter("far"),
)
"""All stages, in the order in which they are run. A stage reads from stages above it."""
