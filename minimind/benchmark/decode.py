"""Decoding speed at batch 1: new tokens a second, the plain baseline and ours in turn."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import MiniMind
from .plain import PlainModel
from .rounds import Row, in_turn, machine

PROMPT_LENGTH = 32


class Wrapped(nn.Module):
    """A linear layer in another module, as adapters have it: all that can be done with it is to call it."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def wrap_linears(model: MiniMind) -> MiniMind:
    """Put each linear layer of the blocks into a `Wrapped`; gives the model back."""
    for block in model.model.layers:
        for part in block.modules():
            for name, child in list(part.named_children()):
                if type(child) is nn.Linear and not isinstance(part, Wrapped):
                    setattr(part, name, Wrapped(child))
    return model


def decode_rows(name: str, config: ModelConfig, new_tokens: int, rounds: int) -> list[Row]:
    """Continue one prompt greedily with the baseline and with ours: in fp32, in bf16, and in fp32 with wrapped layers.

    Args:
        name: of the size, for the rows.
        config: shape of all of them.
        new_tokens: tokens that each writes in a round.
        rounds: the median of this many is taken.

    Returns:
        A row for each of ours: tokens a second, prompt included in the time, and the ratio. That of the wrapped one
        says in `of_unwrapped`, too, what is left of the speed without wrappers.
    """
    torch.manual_seed(0)
    full = MiniMind(config).eval()
    plain = PlainModel(config).eval()
    plain.load_state_dict(full.state_dict())
    half = copy.deepcopy(full).to(torch.bfloat16)
    wrapped = wrap_linears(copy.deepcopy(full))
    prompt = torch.randint(0, config.vocab_size, (1, PROMPT_LENGTH))

    def speed(write: Callable[[], Tensor]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            write()
            return new_tokens / (time.perf_counter() - start)

        return measure

    def ours(model: MiniMind) -> Callable[[], Tensor]:
        return lambda: model.generate(prompt, max_new_tokens=new_tokens, temperature=0, eos_token_id=None)

    writers = [lambda: plain.generate(prompt, new_tokens), ours(full), ours(half), ours(wrapped)]
    arms = [speed(write) for write in writers]
    for arm in arms:
        arm()
    baseline, fp32, bf16, in_wrappers = in_turn(arms, rounds, f"decode {name}")

    def row(kind: str, value: float, precision: str, **more: float) -> Row:
        facts = {**machine(precision, "sdpa"), **more}
        return Row(f"decode {name} {kind}", value, baseline, "tokens/s", facts)

    return [
        row("fp32", fp32, "fp32"),
        row("bf16", bf16, "bf16"),
        row("fp32 wrapped", in_wrappers, "fp32", of_unwrapped=in_wrappers / fp32),
    ]
