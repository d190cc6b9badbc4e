"""What does attention know of order? Shuffle the tokens, with and without a mask, and see who notices.

First every output of one layer is compared before and after a shuffle, without positions and once with RoPE. Then
the last token's output after one, two and three causal layers. At the end we try to read a token's position from
what a causal layer hands it.

Run: python snippets/position_encoding/exp4_order.py [--sharpness 1] [--length 256] [--seed 0]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.model import apply_rope, dot_product_attention, rope_frequencies

args = experiment.flags(__doc__, length=64, sharpness=0.0, texts=600)
plots.style()
frequencies = rope_frequencies(32, theta=10_000.0)


def new_layer():
    """Matrices to query, key and value, as before training."""
    return torch.randn(3, 32, 32) / 32**0.5


def attend(x, layer, causal=False, rope=False, sharpness=1.0):
    """One attention layer on tokens (…, T, 32)."""
    q, k, v = (x @ matrix for matrix in layer)  # (…, T, 32) each
    length = x.shape[-2]
    if rope:
        q, k = (apply_rope(part, torch.arange(length), frequencies) for part in (q, k))
    mask = torch.ones(length, length, dtype=torch.bool).tril() if causal else None
    return dot_product_attention(sharpness * q, k, v, mask)


# --8<-- [end:setup]

# --8<-- [start:symmetry]
x, layer = torch.randn(12, 32), new_layer()  # twelve tokens
order = torch.randperm(12)
table = {}
for name, how in {"no mask": {}, "causal mask": {"causal": True}, "no mask, RoPE": {"rope": True}}.items():
    before, after = attend(x, layer, **how), attend(x[order], layer, **how)
    size = before.std()
    table[name] = {
        "same places": ((after - before).abs().max() / size).item(),
        "same tokens": ((after - before[order]).abs().max() / size).item(),
        "average": ((after.mean(0) - before.mean(0)).abs().max() / size).item(),
    }
print("largest change after a shuffle, in standard deviations of the outputs")
print(f"{'':15}" + "".join(f"{column:>14}" for column in table["no mask"]))
for name, row in table.items():
    print(
        f"{name:15}"
        + "".join(f"{change:14.0e}" if change < 1e-4 else f"{change:14.2f}" for change in row.values())
    )
# --8<-- [end:symmetry]


# --8<-- [start:last_token]
def last_output(x, layers):
    """What the last token carries after causal layers with residual connections."""
    for layer in layers:
        x = x + attend(x, layer, causal=True)
    return x[-1]


layers = [new_layer() for _ in range(3)]
shuffled = torch.cat((x[:-1][torch.randperm(11)], x[-1:]))  # the last token stays last
last_change = {}
for depth in (1, 2, 3):
    before, after = last_output(x, layers[:depth]), last_output(shuffled, layers[:depth])
    last_change[depth] = ((after - before).abs().max() / before.std()).item()
    moved = f"{last_change[depth]:.0e}" if last_change[depth] < 1e-4 else f"{last_change[depth]:.1f}"
    print(f"{depth} causal layer{'s' * (depth > 1)}: the last token's vector moves by {moved} std")
# --8<-- [end:last_token]

# --8<-- [start:by_hand]
values = torch.tensor([[1.0], [0.0], [0.0], [0.0], [0.0]])  # the start token hands over 1, the others 0
nothing = torch.zeros(5, 2)  # queries of zero: all scores are equal, the head looks at everything alike
share = dot_product_attention(nothing, nothing, values, torch.ones(5, 5, dtype=torch.bool).tril())  # (5, 1)
places = 1 / share.flatten()
print("share of the start token ", " ".join(f"{part:.2f}" for part in share.flatten().tolist()))
print("one over it, the place   ", " ".join(f"{place:.2f}" for place in places.tolist()))
# --8<-- [end:by_hand]

# --8<-- [start:length]
texts = torch.randn(args.texts, args.length, 32)  # random tokens, another text in every row, no start token
lengths = {
    name: attend(texts, layer, causal, sharpness=args.sharpness).norm(dim=-1)  # (texts, T)
    for name, causal in {"causal mask": True, "no mask": False}.items()
}
means = {name: values.mean(0) for name, values in lengths.items()}  # (T,)
shrink = (means["causal mask"][0] / means["causal mask"][-1]).item()
print(f"causal mask: the last output is {shrink:.1f} times shorter than the first")
# --8<-- [end:length]

# --8<-- [start:length_figure]
fig, ax = plt.subplots()
for (name, values), colour in zip(lengths.items(), (plots.BLUE, plots.ORANGE), strict=True):
    low, high = values.quantile(torch.tensor([0.1, 0.9]), dim=0)
    steps = range(1, args.length + 1)
    ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(steps, means[name], color=colour, label=name)
ax.set(xlabel="place of the token", ylabel="length of its output", ylim=(0, None))
plots.label_lines(ax)
experiment.show("length")
# --8<-- [end:length_figure]

# --8<-- [start:guess]
half = args.texts // 2
true = torch.arange(args.length)
blind = (true - true.float().median()).abs().mean().item()  # always say the middle
wrong = {}
for name, values in lengths.items():
    profile = values[:half].mean(0)  # (T,): the average length at each place, from half of the texts
    guess = (values[half:, :, None] - profile).abs().argmin(dim=-1)  # (texts, T): whose average is nearest
    wrong[name] = (guess - true).abs().float()  # (texts, T)
error = {name: distance.mean().item() for name, distance in wrong.items()}
early = wrong["causal mask"][:, :8].mean().item()
print(f"guess a token's place from the length of its output, among {args.length} places")
print(f"always the middle  wrong by {blind:.1f} places")
print(f"no mask            wrong by {error['no mask']:.1f} places")
print(f"causal mask        wrong by {error['causal mask']:.1f} places, the first eight by {early:.1f}")
# --8<-- [end:guess]

# --8<-- [start:claims]
plain, causal, rope = table.values()
experiment.claim("no mask: outputs move with their tokens (equivariant)", plain["same tokens"] < 1e-4)
experiment.claim("no mask: outputs at the same places change (not invariant)", plain["same places"] > 0.3)
experiment.claim("no mask: the average of all outputs stays (invariant)", plain["average"] < 1e-4)
experiment.claim(
    "causal mask, no positions: neither equivariant nor invariant, and the average moves too",
    min(causal.values()) > 0.05,
)
experiment.claim(
    "RoPE: neither equivariant nor invariant", min(rope["same places"], rope["same tokens"]) > 0.3
)
experiment.claim(
    "one causal layer: the last token does not notice a shuffle before it", last_change[1] < 1e-4
)
experiment.claim("two and three causal layers: it does", min(last_change[2], last_change[3]) > 0.1)
experiment.claim(
    "from the start token's share the place can be read", torch.allclose(places, torch.arange(1.0, 6))
)
experiment.claim("causal outputs get shorter along the text", shrink > 2)
if args.sharpness == 0:
    root = args.length**0.5
    experiment.claim("looking at all alike, as the root of the place", 0.9 * root < shrink < 1.1 * root)
    experiment.claim("a causal output's length tells much of the place", error["causal mask"] < 0.6 * blind)
    experiment.claim("most of it at the beginning", early < 0.4 * error["causal mask"])
experiment.claim("without a mask the length tells nothing", error["no mask"] > 0.9 * blind)
# --8<-- [end:claims]
