"""The reward of the path: a model made of a reader's own functions, trained for a minute, and ours beside it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..data import World, encode_documents
from ..errors import UserError
from ..metrics import held_out, perplexity
from ..model import MiniMind
from ..progress import progress
from ..tokenizer import Tokenizer, train_tokenizer
from .desk import Desk
from .task import function_of

NEEDED = (
    "rms_norm", "rope_frequencies", "apply_rope", "causal_mask", "grouped_query_attention", "swiglu",
    "transformer_block", "language_model", "next_token_loss",
)  # fmt: skip
"""Exercises of which the model is made."""
DOCUMENTS, ROWS, ROW_LENGTH, RATE, WARMUP = 4000, 8, 128, 5e-3, 20


@dataclass
class Race:
    """What came of it.

    Attributes:
        folder: a Hugging Face model folder with the weights that the reader's functions trained.
        yours: loss of each step with the reader's functions, in nats per token.
        ours: the same steps with this package's model, from the same weights and rows.
        seconds: time of both.
        perplexity: held-out perplexity of both.
        floor: the lowest that is possible.
    """

    folder: Path
    yours: list[float]
    ours: list[float]
    seconds: tuple[float, float]
    perplexity: tuple[float, float]
    floor: float


def race(desk: Desk, seconds: float) -> Race:
    """Train the reader's model for some seconds, then ours for as many steps.

    Raises:
        UserError: if an exercise that the model is made of has not been passed.
    """
    functions = own_functions(desk)
    texts = [document.text for document in islice(World(0).documents(), DOCUMENTS)]
    tokenizer = train_tokenizer(texts[:1000], 1024)
    rows = cut_into_rows(tokenizer, texts)
    config = ModelConfig(
        vocab_size=1024, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=192, max_position_embeddings=512, rope_theta=1e4,
    )  # fmt: skip
    settings = asdict(config)

    def own_loss(model: nn.Module, ids: Tensor) -> Tensor:
        logits = functions["language_model"](ids, dict(model.named_parameters()), settings)
        return functions["next_token_loss"](logits, ids)

    def our_loss(model: nn.Module, ids: Tensor) -> Tensor:
        return model(ids, labels=ids).loss

    torch.manual_seed(0)
    mine = MiniMind(config)  # Its weights are trained by the reader's functions; its own are not called.
    theirs = MiniMind(config)
    theirs.load_state_dict(mine.state_dict())
    yours, your_seconds = train(mine, own_loss, rows, "your model, seconds", seconds=seconds)
    ours, our_seconds = train(theirs, our_loss, rows, "our model, steps", steps=len(yours))
    measured = held_out(tokenizer, islice(World(0).documents("validation"), 100))
    seen = [perplexity(model, measured) for model in (mine, theirs)]
    folder = desk.folder / "own_model"
    mine.save_pretrained(folder)
    tokenizer.save(folder)
    assert seen[0].floor_perplexity is not None
    draw(folder / "curve.png", yours, ours, math.log(seen[0].floor_perplexity))
    return Race(
        folder, yours, ours, (your_seconds, our_seconds), (seen[0].perplexity, seen[1].perplexity),
        seen[0].floor_perplexity,
    )  # fmt: skip


def own_functions(desk: Desk) -> dict[str, Callable[..., Any]]:
    """The reader's functions; each calls the reader's others, whatever it has imported.

    Raises:
        UserError: if one has not been passed as it is now.
    """
    missing = [name for name in NEEDED if desk.state(name) != "passed"]
    if missing:
        raise UserError(
            f"{len(NEEDED) - len(missing)} of the {len(NEEDED)} parts are passed; missing: {', '.join(missing)}"
        )
    sys.path.insert(0, str(desk.folder.resolve()))
    files = {name: desk.file(name) for name in NEEDED}
    functions = {
        name: function_of(file.read_text(encoding="utf-8-sig"), name, str(file))
        for name, file in files.items()
    }
    for function in functions.values():
        for name in set(NEEDED) & set(function.__globals__):
            if callable(
                function.__globals__[name]
            ):  # and no module of that name, which is the reader's already
                function.__globals__[name] = functions[name]
    return functions


def cut_into_rows(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """All documents one after the other, cut every `ROW_LENGTH` tokens: (N, ROW_LENGTH)."""
    stream = [token for ids in encode_documents(tokenizer, texts) for token in ids]
    count = len(stream) // ROW_LENGTH
    return torch.tensor(stream[: count * ROW_LENGTH]).view(count, ROW_LENGTH)


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module, Tensor], Tensor],
    rows: Tensor,
    what: str,
    seconds: float | None = None,
    steps: int | None = None,
) -> tuple[list[float], float]:
    """The training loop of the lab, for some seconds or some steps.

    Args:
        model: its parameters are trained in place.
        loss_of: loss of the model on ids (B, T), in nats per token.
        rows: (N, T). Step i reads the same rows whoever trains.
        what: for the bar.
        seconds: time after which no step begins.
        steps: steps to make, where there is no time.

    Returns:
        The loss of each step, and the time that all took.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    losses: list[float] = []
    began = time.monotonic()

    def times() -> Iterator[float]:
        """Make steps; give the time of each, or 1 where steps are counted."""
        while (len(losses) < steps) if steps is not None else (time.monotonic() - began < (seconds or 0)):
            started = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (len(losses) + 1) / WARMUP)
            loss = loss_of(model, rows[torch.randint(len(rows), (ROWS,), generator=generator)])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            yield time.monotonic() - started if steps is None else 1

    for _ in progress(times(), what, seconds if steps is None else steps, lambda size: size):
        pass
    return losses, time.monotonic() - began


def draw(path: Path, yours: list[float], ours: list[float], floor: float) -> None:
    """Both curves in one picture, above the floor."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from .. import plots

    plots.style()
    fig, ax = plt.subplots()
    ax.plot(ours, color=plots.SLATE, label="ours", linewidth=3, alpha=0.5)
    ax.plot(yours, color=plots.BLUE, label="yours", linewidth=1)
    ax.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, len(yours)), ylim=(0, None))
    plots.mark_floor(ax, floor, "floor")
    plots.label_lines(ax)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def story(result: Race) -> str:
    """The race in words and a small table."""
    count = len(result.yours)
    lines = [f"{'steps':>11}   yours    ours   (loss in nats per token)"]
    for part in range(min(8, count)):
        start, end = count * part // min(8, count), count * (part + 1) // min(8, count)
        means = [sum(losses[start:end]) / (end - start) for losses in (result.yours, result.ours)]
        lines.append(f"{start + 1:>5}-{end:<5}   {means[0]:5.3f}   {means[1]:5.3f}")
    tokens = count * ROWS * (ROW_LENGTH - 1)
    lines += [
        f"held-out perplexity: yours {result.perplexity[0]:.2f}, ours {result.perplexity[1]:.2f}, "
        f"floor {result.floor:.2f}",
        f"{count:,} steps: yours took {result.seconds[0]:.0f} s ({tokens / result.seconds[0]:,.0f} tokens/s), "
        f"ours {result.seconds[1]:.0f} s",
        f"{result.folder} holds your model and curve.png; `minimind generate {result.folder}` lets it write",
    ]
    return "\n".join(lines)
