"""The reward of the path: a model made of a reader's own functions, trained for a minute, and ours beside it."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...config import ModelConfig
from ...data import World, encode_documents
from ...errors import UserError
from ...metrics import held_out, perplexity
from ...model import MiniMind
from ...progress import progress
from ...tokenizer import Tokenizer, train_tokenizer
from .desk import Desk
from .task import module_of

NEEDED = (
    "rms_norm", "rope_frequencies", "apply_rope", "causal_mask", "grouped_query_attention", "swiglu",
    "transformer_block", "language_model", "next_token_loss",
)  # fmt: skip
"""Exercises of which the model is made."""
FEWEST_STEPS = 12
"""Steps that are made however short the time is: fewer show nothing."""
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
    folder = desk.folder / "own_model"
    make_folder(folder)
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
    with readers_mistakes_in_a_line(desk):
        check_gradients(mine, own_loss(mine, rows[:1]))
        yours, your_seconds = train(mine, own_loss, rows, "your model, seconds", seconds=seconds)
    ours, our_seconds = train(theirs, our_loss, rows, "our model, steps", steps=len(yours))
    measured = held_out(tokenizer, islice(World(0).documents("validation"), 100))
    seen = [perplexity(model, measured) for model in (mine, theirs)]
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
    states = {name: desk.state(name) for name in NEEDED}
    missing = [name for name, state in states.items() if state not in ("passed", "changed")]
    changed = [name for name, state in states.items() if state == "changed"]
    if missing or changed:
        passed = len(NEEDED) - len(missing) - len(changed)
        words = [f"missing: {', '.join(missing)}"] * bool(missing)
        words += [f"changed since they passed, check them again: {', '.join(changed)}"] * bool(changed)
        raise UserError(f"{passed} of the {len(NEEDED)} parts are passed; {'; '.join(words)}")
    sys.path.insert(0, str(desk.folder.resolve()))
    modules = {
        name: vars(module_of(desk.file(name).read_text(encoding="utf-8-sig"), name, str(desk.file(name))))
        for name in NEEDED
    }
    functions = {name: module[name] for name, module in modules.items()}
    for module in modules.values():
        for name in set(NEEDED) & set(module):
            if callable(module[name]):  # and no module of that name, which is the reader's already
                module[name] = functions[name]
    return functions


@contextmanager
def readers_mistakes_in_a_line(desk: Desk) -> Iterator[None]:
    """Turn an exception in a reader's file into one line that names the file."""
    try:
        yield
    except Exception as error:
        home = str(desk.folder)
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).is_relative_to(home)
        ]
        if not frames:
            raise
        first = str(error).splitlines()[0] if str(error) else ""
        where = f"{frames[-1].filename}:{frames[-1].lineno}"
        raise UserError(f"{where}: {type(error).__name__}: {first}") from None


def check_gradients(model: nn.Module, loss: Tensor) -> None:
    """See that a loss teaches every weight.

    Raises:
        UserError: if it does not.
    """
    if loss.requires_grad:
        loss.backward()
    blind = [name for name, weight in model.named_parameters() if weight.grad is None]
    model.zero_grad()
    if blind:
        more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
        raise UserError(
            f"no gradient reaches {blind[0]}{more}: look for no_grad(), .detach() or .data in your parts"
        )


def make_folder(folder: Path) -> None:
    """Find out before the training whether its result can be kept.

    Raises:
        UserError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); your model would be lost") from None


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
        while (
            len(losses) < steps
            if steps is not None
            else len(losses) < FEWEST_STEPS or time.monotonic() - began < (seconds or 0)
        ):
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
