"""Which pairs does a trained model use? Stop a quarter of the pairs, or take it out, and read held-out text.

A pair that stands still says nothing of positions any more; what it says of contents stays. A pair that is taken
out adds nothing to any score. The quarters go from the fastest four pairs of every head to the slowest four.

Run: python snippets/position_encoding/exp7_pairs_of_a_model.py [--documents 60] [--seed 0]
Tier: visualization · extra · about 5 s
"""

# --8<-- [start:setup]
from itertools import islice

import matplotlib.pyplot as plt
import torch

from minimind import experiment, load, plots
from minimind.data.world import World
from minimind.errors import UserError

args = experiment.flags(__doc__, documents=60)
plots.style()
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(
        f"{error}. This experiment needs a trained model: run `minimind pretrain` first."
    ) from None
frequencies = model.model.frequencies  # (16,) radians a token
documents = [document.text for document in islice(World(args.seed).documents("validation"), args.documents)]
rows = [
    torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]])
    for text in documents
]
# --8<-- [end:setup]


# --8<-- [start:stop]
silent = []  # pairs whose numbers are removed from every query


def remove_pairs(module, inputs, output):
    """After the norm of the queries: set both numbers of each silent pair to zero."""
    output = output.clone()  # (B, T, H, D)
    output[..., silent + [pair + 16 for pair in silent]] = 0
    return output


for layer in model.model.layers:
    layer.self_attn.q_norm.register_forward_hook(remove_pairs)


@torch.no_grad()
def nats(still=(), out=()):
    """Nats a token on the documents while some pairs stand still and some are out, in all layers and heads."""
    silent[:] = out
    model.model.frequencies = frequencies.clone()
    model.model.frequencies[list(still)] = 0
    outputs = [model(ids, labels=ids) for ids in rows]
    return (sum(output.loss_sum for output in outputs) / sum(output.label_count for output in outputs)).item()


whole = nats()
quarters = {f"pairs {first} to {first + 3}": list(range(first, first + 4)) for first in (0, 4, 8, 12)}
still, out = {}, {}
print(f"all pairs turn: {whole:.3f} nats a token; with four pairs")
for name, four in quarters.items():
    still[name], out[name] = nats(still=four) - whole, nats(out=four) - whole
    print(f"  {name:14} standing still {still[name]:+.3f}   taken out {out[name]:+.3f}")
everything = nats(still=range(16)) - whole
print(f"  all pairs      standing still {everything:+.3f}")
# --8<-- [end:stop]

# --8<-- [start:figure]
fig, ax = plt.subplots(figsize=(5.6, 2.8))
at = torch.arange(4)
for values, side, colour in ((still, -0.2, plots.BLUE), (out, 0.2, plots.ORANGE)):
    ax.bar(at + side, list(values.values()), 0.36, color=colour)
for label, place, height, colour in (
    ("standing still", -0.2, still["pairs 0 to 3"], plots.BLUE),
    ("taken out", 1.2, out["pairs 4 to 7"], plots.ORANGE),
):
    ax.annotate(label, (place, height), (0, 3), textcoords="offset points", color=colour, ha="center")
ax.set_xticks(at, list(quarters))
ax.set(ylabel="more nats a token", xlim=(-0.7, 3.6))
experiment.show("pairs")
# --8<-- [end:figure]

# --8<-- [start:claims]
fastest, *_, slowest = quarters
experiment.claim("standing still, the fastest quarter costs much", still[fastest] > 0.3)
experiment.claim("standing still, the slowest quarter costs nothing", abs(still[slowest]) < 0.01)
experiment.claim("taken out, the slowest quarter costs something: it is used", out[slowest] > 0.03)
experiment.claim("no pair turning costs more than any quarter", everything > max(still.values()))
# --8<-- [end:claims]
