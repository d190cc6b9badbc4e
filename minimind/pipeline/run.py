"""The pipeline: go through the stages, leave out what is finished, go on with what was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..progress import minutes
from ..runs import changed_settings, delete_run, read_run
from ..settings import PipelineSettings, TrainingSettings
from ..ship import is_shipped_as, ship
from ..training import FitResult
from ..training.limits import check_training
from .measure import Measures
from .report import write_report
from .stages import STAGES, Stage


def pipeline(settings: PipelineSettings, stages: Sequence[Stage] = STAGES) -> FitResult | None:
    """Train every stage in order, and write one report of all of them, anew after each.

    Each stage has a run's folder of its own in `--output`. So whoever is stopped, by Ctrl-C or the power, says the same
    command again: what is finished is left as it is, and a run that was begun goes on from its last checkpoint.

    Args:
        settings: what `minimind pipeline --help` lists.
        stages: in the order in which they are run.

    Returns:
        How the training of a stage was left before its end; None if all are finished.

    Raises:
        UserError: if a folder holds a run with other settings, before anything is trained; or from a stage, with its
            name. The stages before it stay whole.
    """
    planned = [(stage, stage.settings_for(settings)) for stage in stages]
    measures = Measures(Path(settings.output))
    for _, given in planned:
        if isinstance(given, TrainingSettings):
            check_training(given)  # before anything is deleted
    if settings.overwrite:
        for _, given in planned:
            start_over(Path(given.output))
    else:
        for stage, given in planned:
            refuse_another_run(stage, given, measures)
    print_plan(settings, planned)
    for number, (stage, given) in enumerate(planned, start=1):
        folder = Path(given.output)
        if not is_finished(folder):
            print(f"\n[{number} of {len(planned)}] {stage.command(given)}", flush=True)
            left = train(stage, given, settings.overwrite)
            if left is not None and not left.finished:
                write_report(settings, planned, measures)
                command = "the same command without --overwrite" if settings.overwrite else "the same command"
                print(f"the pipeline was left in stage {stage.name}; {command} goes on with it")
                return left
        # Stages below start from what is shipped, so it is shipped at once.
        if settings.ship and stage.shipped and not is_shipped_as(folder, stage.shipped):
            print(f"measuring {stage.name} for its card", flush=True)
            print(f"{ship(folder, stage.shipped)} is shipped", flush=True)
        measures.take(stage, given)
        report = write_report(settings, planned, measures)
    print(f"\nfinished: {report} shows all stages")
    return None


def is_finished(folder: Path) -> bool:
    """Whether a stage has done all of its work."""
    return (read_run(folder) or {}).get("status") == "finished"


def start_over(folder: Path) -> None:
    """Delete a stage's run, whatever is in it; what is no run is left for the stage to refuse."""
    if (folder / "run.json").exists():
        delete_run(folder)


def refuse_another_run(stage: Stage, given: Any, measures: Measures) -> None:
    """A run with other settings, or of another base, is no part of this pipeline.

    Raises:
        UserError: which says what differs.
    """
    run = read_run(Path(given.output))
    if run is None:
        return
    advice = "choose another --output, or --overwrite to begin all stages anew"
    if changed := changed_settings(run, given):
        raise UserError(f"{given.output}: holds a run with other settings: {'; '.join(changed)}; {advice}")
    if other := measures.other_base(stage, given):
        raise UserError(f"{given.output}: was made from another {other} than the one that is there; {advice}")


def train(stage: Stage, given: Any, overwrite: bool) -> FitResult | None:
    """Begin a stage, or go on with it.

    Args:
        stage: which.
        given: its settings.
        overwrite: whether what lies in its folder may be replaced.
    """
    begun = read_run(Path(given.output)) is not None
    if "resume" in {field.name for field in fields(given)}:
        given = replace(given, resume=True)  # Where nothing is there yet, this begins.
    else:
        given = replace(given, overwrite=overwrite or begun)  # It is short, and begins again.
    try:
        return stage.run(given)
    except UserError as error:
        raise UserError(f"stage {stage.name}: {error}") from error


def print_plan(settings: PipelineSettings, planned: Sequence[tuple[Stage, Any]]) -> None:
    """Say what comes, and how long it will take."""
    seconds = {stage.name: stage.sizes[settings.size].seconds for stage, _ in planned}
    finished = {stage.name for stage, given in planned if is_finished(Path(given.output))}
    left = sum(seconds[name] for name in seconds if name not in finished)
    print(f"{len(planned)} stages into {settings.output}, about {minutes(left)} on two cores")
    for stage, given in planned:
        begun = "begun" if read_run(Path(given.output)) else ""
        state = "finished" if stage.name in finished else begun
        print(f"  {stage.name:<12} about {minutes(seconds[stage.name]):>5}  {state}".rstrip())
