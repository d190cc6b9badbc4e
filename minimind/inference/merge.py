"""`minimind merge`: an adapter becomes part of its model, which is then a plain one that any program reads.

A merge can go wrong without a word: the wrong folder, matrices of zeros, a difference that rounding swallows. So the
logits before and after are compared, and a model that is still the old one is not written.
"""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path

import torch

from ..data import World
from ..errors import UserError
from ..files import replace_text, write_aside
from ..model import load
from ..model.loading import base_of, put_on
from ..runs import find_run, is_adapter, read_run
from ..settings import MergeSettings

TOKENS = 256
"""Length of the text on which the logits are compared."""


def merge(settings: MergeSettings) -> float:
    """Write a model with adapters folded in, as a plain Hugging Face folder.

    Args:
        settings: what `minimind merge --help` lists.

    Returns:
        The largest change of a logit on a text of the embedded world.

    Raises:
        UserError: if something is missing, an adapter is another model's, no logit changes, or the output is there.
    """
    output = Path(settings.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: is there already; choose another --output")
    adapters = [find_run(name) for name in settings.adapters]
    if not adapters:
        raise UserError("name the adapter: a folder such as runs/lora")
    for adapter in adapters:
        if not is_adapter(adapter):
            raise UserError(f"{adapter}: holds no adapter, so there is nothing to merge")
    base = find_run(settings.base) if settings.base is not None else base_of(adapters[0])
    if is_adapter(base):
        raise UserError(f"{base}: is an adapter itself; merge that one first")
    model, tokenizer = load(base)
    text = " ".join(document.text for document in islice(World().documents("validation"), 4))
    ids = torch.tensor([tokenizer.encode(text)[: min(TOKENS, model.config.max_position_embeddings)]])
    with torch.no_grad():
        before = model(ids).logits  # (1, T, V)
        for adapter in adapters:
            put_on(model, adapter, base)
        change = float((model(ids).logits - before).abs().max())
    names = " and ".join(map(str, adapters))
    if not math.isfinite(change):
        raise UserError(f"{names}: gives logits that are no numbers; nothing was written")
    if change == 0:
        raise UserError(
            f"{names}: changes no logit of {base}, as if it had learned nothing; nothing was written"
        )

    try:
        with write_aside(output) as aside:
            model.save_pretrained(aside)
            tokenizer.save(aside)
            run = read_run(base)  # what the model is and knows, but for what the adapter taught
            if run is not None:
                run["merged"] = [str(adapter) for adapter in adapters]
                replace_text(aside / "run.json", json.dumps(run, indent=2))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error})") from None
    print(f"{output}: {base} with {names}; the largest change of a logit is {change:.3g}")
    return change
