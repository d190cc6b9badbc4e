"""The training loop. Every stage runs this one; what differs is the objective and the data.

`fit` reads from top to bottom: set up, and then for each step the learning rate, the gradients, their mean,
the clip, the update, and what is written down about it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..command import is_out_of_memory
from ..device import peak_flops, supports_bfloat16
from ..errors import UserError
from ..settings import TrainingSettings
from .batches import Batches
from .checkpoint import load_checkpoint, save_checkpoint
from .clip import clip_gradients
from .interrupt import StopSignals
from .log import Log
from .objectives import Batch, Objective
from .optimizer import Optimizer, split_parameters
from .schedule import cosine_schedule, wsd_schedule

REFERENCE_RATE, REFERENCE_WIDTH = 0.006, 128
"""Learning rate that was tuned at this width; a matrix that is twice as wide gets half of it."""
MANUAL_ATTENTION_LENGTH = 512
"""Longest row for which attention written as two matrix products beats the fused one on a processor in
bf16."""


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


def fit(
    model: nn.Module,
    batches: Batches,
    objective: Objective,
    settings: TrainingSettings,
    folder: Path | None = None,
    validate: Callable[[], dict[str, Any]] | None = None,
    sample: Callable[[], str] | None = None,
    describe_rows: Callable[[Batch], str] | None = None,
) -> FitResult:
    """Train a model in place.

    Args:
        model: any module that the objective can call; its device is where the work is done.
        batches: gives the batches of each step.
        objective: gives the sum of the losses of a batch and their number.
        settings: learning rate, schedule, clipping, precision and the rest.
        folder: where checkpoints, metrics.jsonl and report.html go. None writes nothing.
        validate: measures the model on held-out data; gives at least `validation_loss`.
        sample: lets the model write something.
        describe_rows: says in words what is in a batch, for the message about a batch that breaks the
            training.

    Returns:
        How it ended, and the measured rows.

    Raises:
        UserError: if the loss or a gradient stops being a number, or memory runs out. The weights and the
            last checkpoint are then those of the last good step.
    """
    total = settings.steps if settings.steps is not None else batches.step_count
    if total is None or total < 1:
        raise UserError(f"steps must be at least 1, got {total}")
    device = next(model.parameters()).device
    rate = settings.learning_rate or default_learning_rate(model)
    embedding_rate = settings.embedding_learning_rate or rate * (5 / 3 if settings.optimizer == "muon" else 1)
    optimizer = Optimizer(model, settings.optimizer, rate, embedding_rate, settings.weight_decay)

    state = load_checkpoint(folder / "checkpoints", model, optimizer) if folder and settings.resume else None
    numerics = state["numerics"] if state else choose_numerics(settings, device)
    autocast = use_numerics(model, numerics, device)
    if settings.compile:
        model.compile()
    step, tokens, seconds = (state["step"], state["tokens"], state["seconds"]) if state else (0, 0, 0.0)
    validate_every = settings.validate_every or max(1, total // 10)
    log_every = max(1, total // 100)
    log = Log(
        folder,
        total,
        step,
        settings.tensorboard,
        model_flops(model, settings.max_seq_len),
        peak_flops(device),
    )
    began = checkpointed = time.monotonic()

    def look() -> dict[str, Any]:
        """Held-out loss and a sample, without disturbing what the next step would have drawn."""
        model.eval()
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.no_grad(),
            autocast(),
        ):
            seen = validate() if validate else {}
            if sample and settings.sample_tokens:
                seen["sample"] = sample()
        model.train()
        return seen

    def checkpoint() -> None:
        if folder:
            spent = seconds + time.monotonic() - began
            save_checkpoint(
                folder / "checkpoints",
                model,
                optimizer,
                step,
                tokens=tokens,
                seconds=spent,
                numerics=numerics,
            )

    with log, StopSignals() as signals:
        model.train()
        if step == 0:
            log.look(look())
        reason = "finished"
        while step < total:
            started = time.monotonic()
            # 1. The learning rate depends on the step alone.
            optimizer.set_rate(rate_share(settings, step, total))

            # 2. The gradients of all batches of this step are added up, and so are their losses and labels.
            optimizer.zero_grad()
            loss_sum = torch.zeros((), device=device)
            label_count = torch.zeros((), device=device)
            try:
                for batch in batches.of_step(step):
                    batch = {name: column.to(device) for name, column in batch.items()}
                    with autocast():
                        batch_loss, batch_labels = objective(model, batch)
                    batch_loss.backward()
                    loss_sum += batch_loss.detach()
                    label_count += batch_labels
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise UserError(memory_advice(settings, step)) from None
                raise

            # 3. One division makes them the gradient of the mean over labels, as one large batch would have
            # it.
            parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            torch._foreach_div_(gradients, label_count)

            # 4. A gradient that is too long is shortened. One that is not a number ends the run before the
            # update.
            norm = clip_gradients(parameters, settings.clip_norm)
            if not math.isfinite(norm.item() + loss_sum.item()):
                raise UserError(broken_step(model, objective, batches, step, device, describe_rows))

            # 5. The update.
            optimizer.step()
            step += 1
            tokens += int(label_count)

            # 6. What is written down. None of it changes what the next step does.
            peak_share = rate_share(settings, step - 1, total)
            log.step(
                step,
                float(loss_sum),
                int(label_count),
                float(norm),
                rate * peak_share,
                time.monotonic() - started,
            )
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
    return FitResult(step, step == total, reason, log.rows)


def rate_share(settings: TrainingSettings, step: int, total: int) -> float:
    """The learning rate of a step as a share of its peak."""
    warmup = math.ceil(settings.warmup * total)
    if settings.schedule == "cosine":
        return cosine_schedule(step, total, warmup, 1.0, settings.floor)
    return wsd_schedule(step, total, warmup, math.ceil(settings.decay * total), 1.0, settings.floor)


def default_learning_rate(model: nn.Module) -> float:
    """Wider matrices get smaller steps, so that what they give changes by about as much."""
    width = getattr(getattr(model, "config", None), "hidden_size", REFERENCE_WIDTH)
    return REFERENCE_RATE * REFERENCE_WIDTH / max(width, REFERENCE_WIDTH)


def choose_numerics(settings: TrainingSettings, device: torch.device) -> dict[str, Any]:
    """Decide, by what the device can do and never by timing, how the numbers are computed. A resumed run
    keeps it."""
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if supports_bfloat16(device) else "fp32"
    manual = device.type == "cpu" and precision == "bf16" and settings.max_seq_len <= MANUAL_ATTENTION_LENGTH
    return {
        "precision": precision,
        "attention_path": "manual" if manual else "sdpa",
        "threads": torch.get_num_threads(),
    }


def use_numerics(
    model: nn.Module, numerics: dict[str, Any], device: torch.device
) -> Callable[[], AbstractContextManager[Any]]:
    """Set thread count and attention path; gives the context in which the model is called."""
    if torch.get_num_threads() != numerics["threads"]:
        torch.set_num_threads(numerics["threads"])
    choose_path = getattr(model, "set_attention_path", None)
    if choose_path is not None:
        choose_path(numerics["attention_path"])
    if numerics["precision"] == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def model_flops(model: nn.Module, row_length: int) -> float:
    """Floating-point operations that training spends on one token: forward, and twice as much backward.

    Each number of a matrix is multiplied and added once a token. Attention adds 2 x T x width a layer in the
    forward pass, half of it behind the causal mask. The output layer counts, the embedding look-up does not.
    """
    config = getattr(model, "config", None)
    if config is None:
        return 0.0
    matrices, _ = split_parameters(model)
    multiplied = sum(matrix.numel() for matrix in matrices) + config.vocab_size * config.hidden_size
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim * row_length
    return 6.0 * (multiplied + attention)


def memory_advice(settings: TrainingSettings, step: int) -> str:
    """What to lower when memory runs out."""
    rows = settings.batch_size
    advice = f"lower --batch-size (now {rows}) and raise --accumulation-steps as much, " if rows > 1 else ""
    return (
        f"out of memory at step {step + 1}; {advice}or lower --max-seq-len (now {settings.max_seq_len}) "
        "or the model's size; the last checkpoint is kept"
    )


def broken_step(
    model: nn.Module,
    objective: Objective,
    batches: Batches,
    step: int,
    device: torch.device,
    describe_rows: Callable[[Batch], str] | None,
) -> str:
    """Find the rows whose loss is not a number by asking for each of them alone."""
    bad: list[Batch] = []
    count = 0
    with torch.no_grad():
        for batch in batches.of_step(step):
            for row in range(len(next(iter(batch.values())))):
                count += 1
                alone = {name: column[row : row + 1].to(device) for name, column in batch.items()}
                if not math.isfinite(float(objective(model, alone)[0])):
                    bad.append(alone)
    if bad and len(bad) < count:
        words = f": {'; '.join(describe_rows(row) for row in bad[:3])}" if describe_rows else ""
        which = f"{len(bad)} of the {count} rows of this batch{words}"
    else:
        words = f" ({describe_rows(next(batches.of_step(step)))})" if describe_rows else ""
        which = f"no single row, but the weights or the gradient of the whole batch{words}"
    return (
        f"step {step + 1}: the loss or its gradient is not a finite number. To blame: {which}. "
        "No update was made and the last checkpoint is kept; look at these rows, or lower --learning-rate"
    )
