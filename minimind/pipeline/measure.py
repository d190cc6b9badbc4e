"""What the report says of each stage's model: figures on held-out data, and its answers to the same questions."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..data import World
from ..data.world import TASKS, Case
from ..evaluation import evaluate
from ..files import replace_text
from ..metrics import answer
from ..model import load
from ..settings import EvaluateSettings
from .stages import Stage

DOCUMENTS = 200
"""Held-out documents that perplexity is measured on."""
CASES = 100
"""Most questions a task that a model is asked which has learned to answer."""
LOOKED_THROUGH = 20
"""Cases of a task among which a short one is looked for."""
WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "tokenizer.json")
"""Files that are different where something else was learned."""


class Measures:
    """What was measured of the stages, kept in `pipeline.json`, so that a finished stage is measured once.

    Args:
        output: the pipeline's folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output / "pipeline.json"
        self.stages: dict[str, dict[str, Any]] = {}
        # What is missing or cannot be read is measured again.
        with suppress(FileNotFoundError, ValueError):
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            entries = kept.items() if isinstance(kept, dict) else ()
            whole = {"weights", "bases"}
            self.stages = {
                name: one for name, one in entries if isinstance(one, dict) and whole <= one.keys()
            }

    def take(self, stage: Stage, settings: Any) -> None:
        """Measure a stage that has just finished, or find what was measured of the very same weights."""
        if self.of(stage, settings) is not None:
            return
        measured: dict[str, Any] = {
            "weights": digest_of(Path(settings.output)),
            "bases": self._bases(stage),
        }
        if made := model_of(settings):
            print(f"measuring {stage.name} for the report", flush=True)
            run, adapters = made
            asked = EvaluateSettings(run, documents=DOCUMENTS, cases=CASES, adapter=adapters)
            measured["figures"] = evaluate(asked)
            measured["answers"] = answers(run, adapters, settings.seed)
        self.stages[stage.name] = measured
        replace_text(self.path, json.dumps(self.stages, indent=2))

    def of(self, stage: Stage, settings: Any) -> dict[str, Any] | None:
        """What was measured of the weights that are in a stage's folder now; None if nothing was."""
        measured = self.stages.get(stage.name)
        known = measured is not None and measured["weights"] == digest_of(Path(settings.output))
        return measured if known else None

    def other_base(self, stage: Stage, settings: Any) -> str | None:
        """The folder that a finished stage was made from, if another run is in it by now."""
        before = self.of(stage, settings)
        if before is None:
            return None  # Nobody has noted what this one was made from.
        now = self._bases(stage)
        return next((str(self.output / name) for name in now if before["bases"].get(name) != now[name]), None)

    def _bases(self, stage: Stage) -> dict[str, str]:
        return {name: digest_of(self.output / name) for name in stage.reads.values()}


def model_of(settings: Any) -> tuple[str, tuple[str, ...]] | None:
    """The run, and the adapters that it takes on, which a stage has made; None where no model was made.

    Args:
        settings: of the stage. One that makes an adapter has `from_weight`, the run that the adapter belongs to.
    """
    folder = Path(settings.output)
    if (folder / "config.json").exists():
        return str(folder), ()
    if (folder / "adapter_config.json").exists():
        return settings.from_weight, (str(folder),)
    return None


def digest_of(folder: Path) -> str:
    """A digest of what a stage has learned; that of nothing, where nothing is."""
    found = [folder / name for name in WEIGHTS if (folder / name).exists()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


@cache
def questions(seed: int) -> list[Case]:
    """One held-out question a task, without talk before it where the task allows that."""
    world = World(seed)
    cases = [world.cases(task, LOOKED_THROUGH) for task in TASKS]
    return [min(several, key=lambda case: len(case.messages)) for several in cases]


def answers(run: str, adapters: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
    """What a run's model says to each of the questions, and whether that is right.

    A model that was only pretrained is asked in the same form, so that one sees what fine-tuning has changed.
    """
    model, tokenizer = load(run, adapters)
    asked = questions(seed)
    replies = answer(model, tokenizer, [case.messages for case in asked])
    return [
        {"text": reply.text, "ended": reply.ended, "right": case.is_right(reply.text)}
        for case, reply in zip(asked, replies, strict=True)
    ]
