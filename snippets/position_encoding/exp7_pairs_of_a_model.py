"""Which pairs does a trained model use? Stop a quarter of the pairs, or take it out, and read held-out text.

A pair that stands still says nothing of positions any more; what it says of contents stays. A pair that is taken
out adds nothing to any score. The quarters go from the fastest four pairs of every head to the slowest four. A record
holds the same for ten trainings.

Run: python snippets/position_encoding/exp7_pairs_of_a_model.py [--documents 60] [--model shipped/pretrain]
Tier: visualization · extra · about 5 s
"""

# --8<-- [start:setup]
from contextlib import contextmanager
from itertools import islice

import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings

args = experiment.flags(__doc__, model="pretrain", documents=60)
plots.style()
model, tokenizer, world = experiment.load_model(args.model)
# --8<-- [end:setup]


# --8<-- [start:stop]
@contextmanager
def changed(model, still=(), out=()):
    """The model with some pairs standing still and some taken out, in all layers and heads."""

    def remove_pairs(module, inputs, queries):
        """After the norm of the queries (B, T, H, D): both numbers of each pair that is out become zero."""
        queries = queries.clone()
        half = queries.shape[-1] // 2  # number i and number i + D/2 are a pair
        queries[..., [*out, *(pair + half for pair in out)]] = 0
        return queries

    frequencies = model.model.frequencies  # (D/2,) radians per token
    stopped = frequencies.clone()
    stopped[list(still)] = 0
    model.model.frequencies = stopped
    hooks = [layer.self_attn.q_norm.register_forward_hook(remove_pairs) for layer in model.model.layers]
    yield
    model.model.frequencies = frequencies
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def nats(model, rows, **change):
    """Nats per token on the rows, with this change."""
    with changed(model, **change):
        outputs = [model(ids, labels=ids) for ids in rows]
    return (sum(output.loss_sum for output in outputs) / sum(output.label_count for output in outputs)).item()


def rows_of(tokenizer, world):
    """Held-out documents, a row (1, T) each, with start and end."""
    documents = islice(world.documents("validation"), args.documents)
    return [
        torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(document.text), tokenizer.eos_token_id]])
        for document in documents
    ]


def examine(model, tokenizer, world):
    """What the model loses, in nats per token, without the turning of a quarter of its pairs, or without them."""
    rows = rows_of(tokenizer, world)
    pairs = list(range(len(model.model.frequencies)))
    step = max(len(pairs) // 4, 1)
    quarters = [pairs[first : first + step] for first in range(0, len(pairs), step)]
    whole = nats(model, rows)
    return {
        "whole": whole,
        "longest": max(row.shape[1] for row in rows),
        "names": [f"pairs {four[0]} to {four[-1]}" for four in quarters],
        "still": [nats(model, rows, still=four) - whole for four in quarters],
        "out": [nats(model, rows, out=four) - whole for four in quarters],
        "nothing turns": nats(model, rows, still=pairs) - whole,
    }


found = examine(model, tokenizer, world)
still, out = found["still"], found["out"]
print(f"all pairs turn: {found['whole']:.3f} nats per token; with four pairs")
for name, stopped, removed in zip(found["names"], still, out, strict=True):
    print(f"  {name:14} standing still {stopped:+.3f}   taken out {removed:+.3f}")
print(f"  all pairs      standing still {found['nothing turns']:+.3f}")
# --8<-- [end:stop]

# --8<-- [start:figure]
fig, ax = plt.subplots(figsize=(5.6, 2.8))
at = torch.arange(len(still))
for label, values, side, colour, named in (
    ("standing still", still, -0.2, plots.BLUE, 0),
    ("taken out", out, 0.2, plots.ORANGE, min(1, len(still) - 1)),
):
    ax.bar(at + side, values, 0.36, color=colour)
    ax.annotate(
        label, (named + side, values[named]), (0, 3), textcoords="offset points", color=colour, ha="center"
    )
ax.set_xticks(at, found["names"])
ax.set(ylabel="more nats per token", xlim=(-0.7, len(still) - 0.4))
experiment.show("pairs")
# --8<-- [end:figure]

# --8<-- [start:trainings]
ten = experiment.recorded("position_encoding/exp7_pairs_of_a_model", lambda: over_trainings(examine))
slowest_still = max(abs(one["still"][-1]) for one in ten)
slowest_out = [one["out"][-1] for one in ten]
worse_still = sum(one["still"][0] > one["out"][0] for one in ten)
print(
    f"{len(ten)} trainings: the slowest quarter standing still costs at most {slowest_still:.3f} nats per token,"
)
print(f"  taken out {min(slowest_out):.3f} to {max(slowest_out):.3f};")
print(f"  in {worse_still} of them the fastest quarter costs more standing still than taken out")
# --8<-- [end:trainings]

# --8<-- [start:claims]
experiment.claim_of_model(
    "standing still, the fastest quarter costs most", still[0] > 1.5 * max(still[1:], default=0)
)
experiment.claim_of_model(
    "standing still, the two slower quarters cost next to nothing", max(map(abs, still[2:]), default=0) < 0.01
)
experiment.claim_of_model("taken out, every quarter costs something: all are used", min(out) > 0.03)
experiment.claim_of_model(
    "the fastest quarter costs more standing still than taken out", still[0] > out[0] + 0.1
)
experiment.claim_of_model(
    "the second quarter costs less standing still than taken out",
    len(still) > 1 and still[1] < out[1] - 0.1,
)
experiment.claim_of_model("no pair turning costs more than any quarter", found["nothing turns"] > max(still))
experiment.claim(
    "in every one of the ten the slowest quarter may stand still, and is missed when it is out",
    slowest_still < 0.01 < min(slowest_out),
)
# --8<-- [end:claims]
