"""Decoding speed at batch 1: new tokens a second, the plain baseline and ours in turn."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..config import ModelConfig
from ..model import MiniMind
from .plain import PlainModel
from .rounds import Row, in_turn, machine

PROMPT_LENGTH = 32


def decode_rows(name: str, config: ModelConfig, new_tokens: int, rounds: int) -> list[Row]:
    """Continue one prompt greedily with the baseline, with ours in fp32 and with ours in bf16.

    Args:
        name: of the size, for the rows.
        config: shape of all three.
        new_tokens: tokens that each writes in a round.
        rounds: the median of this many is taken.

    Returns:
        A row for fp32 and one for bf16: tokens a second, prompt included in the time, and the ratio.
    """
    torch.manual_seed(0)
    full = MiniMind(config).eval()
    plain = PlainModel(config).eval()
    plain.load_state_dict(full.state_dict())
    half = MiniMind(config).eval()
    half.load_state_dict(full.state_dict())
    half.to(torch.bfloat16)
    prompt = torch.randint(0, config.vocab_size, (1, PROMPT_LENGTH))

    def speed(write: Callable[[], torch.Tensor]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            write()
            return new_tokens / (time.perf_counter() - start)

        return measure

    def ours(model: MiniMind) -> Callable[[], torch.Tensor]:
        return lambda: model.generate(prompt, max_new_tokens=new_tokens, temperature=0, eos_token_id=None)

    arms = [speed(lambda: plain.generate(prompt, new_tokens)), speed(ours(full)), speed(ours(half))]
    for arm in arms:
        arm()
    baseline, fp32, bf16 = in_turn(arms, rounds, f"decode {name}")
    return [
        Row(f"decode {name} {precision}", value, baseline, "tokens/s", machine(precision, "sdpa"))
        for precision, value in (("fp32", fp32), ("bf16", bf16))
    ]
