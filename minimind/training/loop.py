"""The training loop. Every stage runs this one; what differs is the objective and the data.

`fit` reads from top to bottom: set up, and then for each step the learning rate, the gradients, their mean,
the clip, the update, and what is written down about it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..device import peak_flops
from ..errors import UserError, is_out_of_memory
from ..progress import counted
from ..settings import TrainingSettings
from .batches import Batches
from .checkpoint import load_checkpoint, save_checkpoint
from .clip import clip_gradients
from .interrupt import StopSignals
from .limits import check_training
from .log import Log
from .numerics import choose_numerics, model_flops, present_threads, resume_numerics, use_numerics
from .objectives import Batch, Objective
from .optimizer import Updates, optimizer_for
from .schedule import rate_share
from .tally import Tally
from .threads import Threads
from .trouble import broken_step, memory_advice


@dataclass
class FitResult:
    """How a call of `fit` ended."""

    step: int
    """Updates made so far, over all sessions of the run."""
    finished: bool
    """Whether all steps are done."""
    reason: str
    """Why the loop was left: "finished", "max_seconds", "SIGINT" or "SIGTERM"."""
    rows: list[dict[str, Any]]
    """What was written down, oldest first: the rows of metrics.jsonl."""
    numerics: dict[str, Any]
    """How the numbers were computed, and when the number of threads changed."""


def fit(
    model: nn.Module,
    batches: Batches,
    objective: Objective,
    settings: TrainingSettings,
    folder: Path | None = None,
    validate: Callable[[], dict[str, Any]] | None = None,
    examine: Callable[[], dict[str, Any]] | None = None,
    sample: Callable[[], str] | None = None,
    describe_rows: Callable[[Batch], str] | None = None,
    optimizer: Updates | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train a model in place.

    Args:
        model: any module that the objective can call; its device is where the work is done.
        batches: gives the batches of each step.
        objective: gives the sum of the losses of a batch, their number, and figures of its own.
        settings: learning rate, schedule, clipping, precision and the rest.
        folder: where checkpoints, metrics.jsonl and report.html go. None writes nothing.
        validate: measures the model on held-out data; gives numbers by name.
        examine: more such numbers, for which the time of a look is too short: measured once, after the last step.
        sample: lets the model write something.
        describe_rows: says in words what is in a batch, for the message about a batch that breaks the
            training.
        optimizer: another rule by which the weights are changed. Default: what the settings say.
        quiet: print nothing.

    Returns:
        How it ended, and the measured rows.

    Raises:
        UserError: if the loss or a gradient stops being a number, or memory runs out. The weights and the
            last checkpoint are then those of the last good step.
    """
    check_training(settings)
    total = settings.steps if settings.steps is not None else batches.step_count
    if total is None:
        raise UserError("these batches have no end; set --steps")
    device = next(model.parameters()).device
    optimizer = optimizer or optimizer_for(model, settings)

    state = load_checkpoint(folder / "checkpoints", model, optimizer) if folder and settings.resume else None
    if state:
        numerics = resume_numerics(state["numerics"], settings, state["step"])
    else:
        numerics = choose_numerics(settings, device)
    autocast = use_numerics(model, numerics, device)
    if settings.compile:
        model.compile()
    step, tokens, seconds = (state["step"], state["tokens"], state["seconds"]) if state else (0, 0, 0.0)
    validate_every = settings.validate_every or max(1, total // 10)
    log_every = max(1, total // 100)
    flops = model_flops(model, settings.max_seq_len)
    peak = peak_flops(device)
    log = Log(folder, total, step, validate_every, settings.tensorboard, flops, peak, numerics, quiet)
    log.go_on_from(state)
    number = present_threads(numerics)
    if state and number != (before := present_threads(state["numerics"])):
        changed = f"{counted(number, 'thread')} instead of {before} from here on"
        log.say(f"{changed}; this can change the last bits of the weights")
    # A compiled model is compiled for its number of threads, and would be compiled again for another.
    fixed = numerics["pinned"] or device.type != "cpu" or settings.compile
    threads = Threads(numerics["threads"], number, fixed, log.say, numerics["changed_threads"])
    began = checkpointed = time.monotonic()

    def look() -> dict[str, Any]:
        """Held-out loss and a sample, without disturbing what the next step would have drawn."""
        devices = [device] if device.type == "cuda" else []
        model.eval()
        with log.aside(), torch.random.fork_rng(devices=devices), torch.no_grad(), autocast():
            seen = validate() if validate else {}
            if examine and step == total:
                seen |= examine()
            if sample and settings.sample_tokens:
                seen["sample"] = sample()
        model.train()
        return seen

    def checkpoint() -> None:
        if folder:
            progress = {
                "tokens": tokens,
                "seconds": seconds + time.monotonic() - began,
                "numerics": numerics,
                **log.unwritten(),
            }
            save_checkpoint(folder / "checkpoints", model, optimizer, step, **progress)

    with log, threads, StopSignals() as signals:
        model.train()
        threads.choose(step)
        if step == 0:
            log.before(look())
        reason = "finished"
        while step < total:
            started = time.monotonic()

            # 1. The learning rate depends on the step alone.
            optimizer.set_rate(rate_share(settings, step, total))

            # 2. The gradients of all batches of this step are added up, and so are their losses.
            optimizer.zero_grad()
            try:
                step_batches = list(batches.of_step(step))
                tally = add_gradients(model, objective, step_batches, device, autocast)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise UserError(memory_advice(settings, step)) from None
                raise

            # 3. One division by their number: the gradient of the mean, as one large batch would have it.
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= max(1, tally.count)

            # 4. A gradient that is too long is shortened; one that is not a number ends the run here.
            norm = float(clip_gradients(model.parameters(), settings.clip_norm))
            if not math.isfinite(norm + tally.loss):
                with torch.no_grad(), autocast():
                    raise UserError(broken_step(model, objective, step_batches, step, device, describe_rows))

            # 5. The update.
            optimizer.step()
            step += 1
            tokens += tally.tokens

            # 6. What is written down, and the number of threads. Neither changes what the next step does, but for
            #    the last bits, where they depend on the threads.
            stepped = time.monotonic() - started
            log.step(step, tally, norm, optimizer.rate, stepped)
            threads.step(step, stepped)
            if step % validate_every == 0 or step == total:
                log.look(look())
            if step % log_every == 0 or step % validate_every == 0 or step == total:
                log.row(tokens, seconds + time.monotonic() - began)
            now = time.monotonic()
            late = settings.max_seconds is not None and now - began >= settings.max_seconds
            if step == total or signals.received or late or now - checkpointed >= settings.checkpoint_seconds:
                checkpoint()
                checkpointed = now
            if step < total and (signals.received or late):
                reason = signals.received or "max_seconds"
                break
    return FitResult(step, step == total, reason, log.rows, numerics)


def add_gradients(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Tally:
    """Add the gradients of the summed losses of some batches to the parameters.

    Returns:
        The losses and figures of all batches, added up.
    """
    losses = []
    for batch in batches:
        batch = {name: column.to(device) for name, column in batch.items()}
        with autocast():
            losses.append(objective(model, batch))
        losses[-1].sum.backward()
    return Tally.of(losses)  # Only now: to look at a number makes a GPU wait for all that it was given.
