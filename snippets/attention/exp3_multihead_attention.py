"""Why several heads: one look-up or two at once, with one head or many, and as many numbers in each model.

A query names two tokens, and their two contents are the answer, in order. All arms have the same matrices; they
differ in how many heads the matrices are cut into. Small runs are live; the sweep over heads, rates and seeds,
with and without a feed-forward layer, with two and with four look-ups at once, is a record.

Run: python snippets/attention/exp3_multihead_attention.py [--heads 1 2] [--wanted 1]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from minimind.course import experiment, plots
from minimind.model import dot_product_attention

args = experiment.flags(__doc__, heads=[1, 2], wanted=2, steps=300)
plots.style()
V, WIDTH = 8, 32  # names, and as many contents; numbers a token
# Both contents found, but not which is which: ln 2, save where both are the same (one time in eight).
MIXED = (1 - 1 / V) * math.log(2)
# --8<-- [end:setup]


# --8<-- [start:task]
def samples(wanted, generator, count=128):
    """Eight tokens with a name and a content each, and a query that wants some of the names, in order."""
    name = torch.rand(count, V, generator=generator).argsort(dim=-1)  # (count, V), each name once
    content = torch.randint(V, (count, V), generator=generator)
    asked = torch.rand(count, V, generator=generator).argsort(dim=-1)[:, :wanted]  # (count, wanted), places
    return name, content, name.gather(1, asked), content.gather(1, asked)


class Model(nn.Module):
    """One attention layer, read out for each of the wanted contents."""

    def __init__(self, heads, wanted, feed_forward=False):
        super().__init__()
        self.heads = heads
        self.name, self.content = nn.Embedding(V, WIDTH), nn.Embedding(V, WIDTH)
        self.ask = nn.ModuleList(nn.Embedding(V, WIDTH) for _ in range(wanted))
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.ffn = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
        self.ffn = self.ffn if feed_forward else None
        self.read = nn.ModuleList(nn.Linear(WIDTH, V) for _ in range(wanted))

    def forward(self, name, content, asked):
        x = self.name(name) + self.content(content)  # (B, V tokens, WIDTH)
        query = sum(ask(one) for ask, one in zip(self.ask, asked.T, strict=True))[:, None]  # (B, 1, WIDTH)
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1 or V, WIDTH / heads)
            for y in (self.q(query), self.k(x), self.v(x))
        )
        found = dot_product_attention(q, k, v).transpose(1, 2).flatten(1)  # (B, WIDTH), heads side by side
        found = self.o(found)
        if self.ffn is not None:
            found = found + self.ffn(found)
        return torch.stack([read(found) for read in self.read], dim=1)  # (B, wanted, V)


def train(heads, wanted, rate, seed, steps, feed_forward=False):
    """The loss for each wanted content at the end, and the number of parameters."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Model(heads, wanted, feed_forward)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    curve = []
    for _ in range(steps):
        *given, answer = samples(wanted, generator)
        loss = F.cross_entropy(model(*given).flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve, sum(weight.numel() for weight in model.parameters())


# --8<-- [end:task]


# --8<-- [start:live]
curves, sizes = {}, {}
for heads in args.heads:
    curves[heads], sizes[heads] = train(heads, args.wanted, 0.01, args.seed, args.steps)
    print(
        f"{heads} head(s) of {WIDTH // heads}: {sizes[heads]:,} parameters, loss {sum(curves[heads][-20:]) / 20:.2f}"
    )
print(f"knowing nothing: ln {V} = {math.log(V):.2f}; which of the two is not known: {MIXED:.2f}")
# --8<-- [end:live]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for heads, colour in zip(curves, plots.PALETTE, strict=False):
    ax.plot(curves[heads], color=colour, label=f"{heads} head" + "s" * (heads > 1))
plots.mark_floor(ax, math.log(V), "knowing nothing: ln 8")
if args.wanted == 2:
    plots.mark_floor(ax, MIXED, "both found, not which is which")
ax.set(xlabel="training step", ylabel="loss a wanted content (nats)", ylim=(0, 2.5))
plots.label_lines(ax)
experiment.show("one_head_or_two")
# --8<-- [end:figure]


# --8<-- [start:sweep]
def sweep(choices=(1, 2, 4, 8), seeds=3):
    """Each arm at its best of two rates, three seeds: two or four wanted, without and with a feed-forward layer."""
    result = {}
    for feed_forward in (False, True):
        for wanted in (2, 4):
            for heads in choices:
                tried = [
                    [
                        sum(train(heads, wanted, rate, seed, 500, feed_forward)[0][-50:]) / 50
                        for seed in range(seeds)
                    ]
                    for rate in (0.003, 0.01)
                ]
                result[f"{wanted} wanted, {heads} heads{', FFN' * feed_forward}"] = min(tried, key=sum)
    return result


swept = experiment.recorded("attention/exp3_multihead_attention", sweep, cell=lambda: sweep([2], seeds=1))
print(f"{'loss, three seeds':28}  two wanted     four wanted")
for ending in ("", ", FFN"):
    for heads in (1, 2, 4, 8):
        ranges = [swept[f"{wanted} wanted, {heads} heads{ending}"] for wanted in (2, 4)]
        label = f"{heads} of width {WIDTH // heads}{ending}"
        print(f"{label:28}", *(f"{min(losses):5.2f} to {max(losses):.2f} " for losses in ranges))
# --8<-- [end:sweep]

# --8<-- [start:claims]
only_one = math.log(V) / 2  # one content known, nothing of the other
ends = {heads: sum(curve[-20:]) / 20 for heads, curve in curves.items()}
experiment.claim("all arms have as many parameters", len(set(sizes.values())) == 1)
if args.wanted == 2 and args.heads == [1, 2]:
    between = MIXED - 0.1 < ends[1] < only_one + 0.1
    experiment.claim("one head knows one content, or both without their order", between)
    experiment.claim("two heads learn both look-ups", ends[2] < 0.1)
if args.wanted == 1:
    experiment.claim("one look-up is learned with any number of heads", max(ends.values()) < 0.1)
one_head, many = ([swept[f"2 wanted, {heads} heads"] for heads in some] for some in ([1], [2, 4, 8]))
experiment.claim("in the sweep too, one head does not get both in order", min(one_head[0]) > MIXED - 0.05)
experiment.claim("two heads and more learn two look-ups in all seeds", max(map(max, many)) < 0.05)
helped = swept["2 wanted, 1 heads, FFN"]
experiment.claim("a feed-forward layer untangles two look-ups of one head", max(helped) < 0.1)
alone = swept["4 wanted, 1 heads, FFN"]
experiment.claim("but not four", min(alone) > 0.2)
wide = [max(swept[f"4 wanted, {heads} heads"]) for heads in (4, 8)]
experiment.claim("four heads and more learn four look-ups without it", max(wide) < 0.1)
few = [min(swept[f"4 wanted, {heads} heads"]) for heads in (1, 2)]
experiment.claim("fewer heads than look-ups do not", min(few) > 0.4)
# --8<-- [end:claims]
