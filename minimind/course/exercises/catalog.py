"""The exercises of the course, in the order of the path. Reading the list imports none of them."""

from __future__ import annotations

import difflib
from importlib import import_module

from ...errors import UserError
from .task import Task

MODULES: dict[str, tuple[str, ...]] = {
    "normalization": ("rms_norm", "layer_norm", "pre_norm"),
    "position_encoding": ("rope_frequencies", "apply_rope", "yarn_ramp"),
    "attention": (
        "scaled_dot_product_attention",
        "causal_mask",
        "multi_head_attention",
        "grouped_query_attention",
    ),
    "feed_forward": ("swiglu", "count_parameters"),
    "residual_connections": ("residual_block", "scaled_init", "logit_lens"),
    "transformer_block": ("transformer_block", "language_model", "next_token_loss"),
}
"""Names of the exercises of each module."""

NAMES = tuple(name for names in MODULES.values() for name in names)


def find_task(name: str) -> Task:
    """The exercise of that name, with - or _ in it.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    wanted = name.replace("-", "_")
    if wanted not in NAMES:
        near = difflib.get_close_matches(wanted, NAMES, n=1)
        advice = f"did you mean {near[0]}?" if near else "`minimind exercise list` shows them"
        raise UserError(f"no exercise {name!r}; {advice}")
    return import_module(f".tasks.{wanted}", __package__).TASK
