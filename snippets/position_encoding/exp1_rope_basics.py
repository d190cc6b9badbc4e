"""Why RoPE? Shuffle a sentence, then shift it, and see what attention notices.

Without positions a word meets the same words in any order. RoPE turns each query and key by its position times
a fixed angle, so that of two positions a score sees the difference alone.

Run: python snippets/position_encoding/exp1_rope_basics.py [--forget-keys] [--shift 1000] [--seed 0]
Tier: visualization · core · about 3 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.model import apply_rope, dot_product_attention, rope_frequencies

args = experiment.flags(__doc__, seed=42, shift=100, forget_keys=False)
plots.style()
to_query, to_key, to_value = torch.randn(3, 32, 32) / 32**0.5  # an untrained head
vocabulary = {word: torch.randn(32) for word in ("dog", "bites", "man")}
frequencies = rope_frequencies(32, theta=10_000.0)  # (16,) radians per position, for each pair


def rotate(q, k, positions):
    """RoPE: queries and keys are turned by their positions; values never are."""
    q = apply_rope(q, positions, frequencies)
    return q, k if args.forget_keys else apply_rope(k, positions, frequencies)


# --8<-- [end:setup]


# --8<-- [start:order]
def attend(sentence, rope=False, causal=False):
    """One attention head; gives the vector with which each word leaves it."""
    x = torch.stack([vocabulary[word] for word in sentence.split()])  # (T, D)
    q, k, v = x @ to_query, x @ to_key, x @ to_value  # (T, D) each
    if rope:
        q, k = rotate(q, k, torch.arange(len(x)))
    mask = torch.ones(len(x), len(x), dtype=torch.bool).tril() if causal else None
    return dict(zip(sentence.split(), dot_product_attention(q, k, v, mask), strict=True))


def difference(**how):
    """By how much the words' vectors differ between the two orders (largest number)."""
    one, other = attend("dog bites man", **how), attend("man bites dog", **how)
    return max((one[word] - other[word]).abs().max().item() for word in vocabulary)


unaware, causal, aware = difference(), difference(causal=True), difference(rope=True)
print('"dog bites man" against "man bites dog": largest change of a word\'s vector')
print(f"no positions                {unaware:.1g}")
print(f"no positions, causal mask   {causal:.2f}")
print(f"RoPE                        {aware:.2f}")
# --8<-- [end:order]

# --8<-- [start:rotation]
q = torch.randn(32)
turned = apply_rope(q.expand(8, 32), torch.arange(8), frequencies)  # (8, 32): at 8 positions
stretch = (turned.norm(dim=-1) / q.norm() - 1).abs().max().item()
print(f"a rotation changes the length of a query by at most {stretch:.0e} of it")

flat = torch.cat(
    (torch.ones(16), torch.zeros(16))
)  # 16 pairs, numbers i and i + 16, each an arrow to the right
arrows = apply_rope(flat.expand(8, 32), torch.arange(8), frequencies)  # (8, 32)
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9))
for ax, pair in zip(axes, (0, 2), strict=True):
    for position, arrow in enumerate(arrows):
        tip = arrow[[pair, pair + 16]]  # (2,)
        ax.annotate("", tip.tolist(), (0, 0), arrowprops={"arrowstyle": "->", "color": plots.QUERY})
        ax.text(*(1.18 * tip).tolist(), str(position), ha="center", va="center")
    ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal", xticks=[], yticks=[])
    ax.set_xlabel(f"pair {pair}: {frequencies[pair].rad2deg():.1f}° per position")
    ax.spines[:].set_visible(False)
experiment.show("rotation")
# --8<-- [end:rotation]

# --8<-- [start:shift]
generator = torch.Generator().manual_seed(args.seed)  # the same numbers whatever was drawn before
x = torch.randn(8, 32, generator=generator)  # eight words
table = torch.randn(args.shift + 8, 32, generator=generator)  # a table of positions, not trained


def scores(start, rope):
    """All scores between the eight words when the first of them stands at position `start`."""
    positions = start + torch.arange(8)  # (T,)
    h = x if rope else x + table[positions]  # (T, D)
    q, k = h @ to_query, h @ to_key
    if rope:
        q, k = rotate(q, k, positions)
    return q @ k.T / 32**0.5  # (T, T)


starts = range(args.shift + 1)
curves, change = {}, {}
for name, rope in {"position table": False, "RoPE": True}.items():
    maps = torch.stack([scores(start, rope) for start in starts])  # (starts, T, T)
    curves[name] = maps[:, 5, 2]  # word 5 asks word 2, three words back
    change[name] = ((maps[-1] - maps[0]).abs().max() / maps[0].std()).item()
    print(f"{name:19} shifted by {args.shift}, scores move by up to {change[name]:.1g} std")

never_round = int((256 * frequencies < 2 * torch.pi).sum())
print(f"pairs that do not come round once in 256 positions: {never_round} of 16")
# --8<-- [end:shift]

# --8<-- [start:shift_figure]
fig, ax = plt.subplots()
ax.plot(starts, curves["position table"], color=plots.SLATE, label="position table\n(random)", linewidth=1)
ax.plot(starts, curves["RoPE"], color=plots.QUERY, label="RoPE")
ax.set(xlabel="position of the first word", ylabel="score, word 5 to word 2")
plots.label_lines(ax, gap=24)
experiment.show("shift")
# --8<-- [end:shift_figure]

# --8<-- [start:claims]
experiment.claim("without positions a word leaves attention the same in both orders", unaware < 1e-5)
experiment.claim("a causal mask alone gives some order away", causal > 0.05)
experiment.claim("with RoPE the order shows", aware > 0.05)
experiment.claim("a rotation keeps the length", stretch < 1e-5)
experiment.claim("a random table of positions: scores change with a shift", change["position table"] > 0.5)
if args.forget_keys:
    experiment.claim("with unrotated keys scores change with a shift", change["RoPE"] > 0.5)
else:
    experiment.claim(
        "RoPE: a shift changes no score beyond rounding", change["RoPE"] < 1e-6 * (args.shift + 100)
    )
experiment.claim("9 of 16 pairs do not come round once in 256 positions", never_round == 9)
# --8<-- [end:claims]
