"""How does a gradient reach layer 1? Send one back through many layers, with and without the addition.

Both networks have the same layers with the same weights. In one a layer's output replaces the vector that it
read; in the other it is added to it. Then the gradient is taken apart into the paths on which it came.

Run: python snippets/residual_connections/exp1_gradient_flow.py [--depth 48] [--gain 3] [--seed 0]
Tier: visualization · core · about 2 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from minimind.course import experiment, plots

args = experiment.flags(__doc__, depth=24, gain=1.0)
plots.style()
WIDTH, SAMPLES = 64, 64
seeds = [args.seed + number for number in range(3)]
SETUPS = {  # add, norm inside the branch
    "alone": (False, False), "added": (True, False), "added, norm": (True, True), "alone, norm": (False, True),
}  # fmt: skip


def draw(seed, depth, gain):
    """Samples, the way each is to move (the loss), and two nn.Linear for each layer, weights times `gain`."""
    torch.manual_seed(seed)
    x, direction = torch.randn(2, SAMPLES, WIDTH)
    layers = [(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)) for _ in range(depth)]
    for inner, outer in layers:
        inner.weight.data *= gain
        outer.weight.data *= gain
    return x.requires_grad_(), direction, layers


# --8<-- [end:setup]


# --8<-- [start:measure]
def measure(seed, add, depth=args.depth, gain=args.gain, norm=False):
    """How large the gradient is before each layer, and at the weights of the first."""
    h, direction, layers = draw(seed, depth, gain)
    streams = [h]  # what each layer reads, and last what comes out
    for inner, outer in layers:
        y = F.rms_norm(h, (WIDTH,)) if norm else h
        branch = outer(F.relu(inner(y)))  # (64, 64)
        h = h + branch if add else branch  # the only difference
        streams.append(h)
    weights = [inner.weight for inner, _ in layers]
    gradients = torch.autograd.grad((h * direction).sum(), [*streams, *weights])
    # In fp64, or the squares of tiny numbers would become zero.
    sizes = [gradient.double().norm().item() for gradient in gradients]
    return {
        "stream": [size / sizes[depth] for size in sizes[: depth + 1]],  # the end of the network is 1
        "weight": sizes[depth + 1] / sizes[-1],  # layer 1 against the last layer
        "rms": h.square().mean().sqrt().item(),  # of what comes out
    }


# --8<-- [end:measure]

# --8<-- [start:compare]
arms = {name: [measure(seed, add) for seed in seeds] for name, add in (("alone", False), ("added", True))}


def middle(runs, read):
    """The middle one of the seeds."""
    return sorted(read(one) for one in runs)[len(runs) // 2]


arrives = {name: middle(runs, lambda one: one["stream"][0]) for name, runs in arms.items()}
moves = {name: middle(runs, lambda one: one["weight"]) for name, runs in arms.items()}
print(f"{args.depth} layers      gradient before layer 1   weight gradient, layer 1 / {args.depth}")
for name in arms:
    print(f"output {name:8} {arrives[name]:22.2g} {moves[name]:29.2g}")
# --8<-- [end:compare]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for runs, colour in zip(arms.values(), (plots.SLATE, plots.RESIDUAL), strict=True):
    curves = torch.tensor([one["stream"] for one in runs], dtype=torch.float64)
    ax.fill_between(
        range(args.depth + 1), curves.amin(0), curves.amax(0), color=colour, alpha=0.25, linewidth=0
    )
    ax.semilogy(curves.median(0).values, color=colour)
ax.set(xlabel="layers passed by the signal", ylabel="size of the gradient (end = 1)")
at = args.depth // 3
for name, colour in (("alone", plots.SLATE), ("added", plots.RESIDUAL)):
    value = middle(arms[name], lambda one: one["stream"][at])
    ax.annotate(
        f"output {name}", (at, value), xytext=(10, -6), textcoords="offset points", color=colour, va="top"
    )
experiment.show("gradient_by_layer")
# --8<-- [end:figure]

# --8<-- [start:paths]
x, direction, layers = draw(args.seed, args.depth, args.gain)
h, awake = x, []  # awake: which entries ReLU lets through in each layer
for inner, outer in layers:
    wide = inner(h)
    awake.append(wide > 0)
    h = h + outer(F.relu(wide))
whole = torch.autograd.grad((h * direction).sum(), x)[0]  # (64, 64), as autograd finds it

by_length = [direction.double()] + [torch.zeros_like(direction.double())] * args.depth
with torch.no_grad():
    for (inner, outer), mask in zip(reversed(layers), reversed(awake), strict=True):
        into, out = inner.weight.double(), outer.weight.double()
        through = [(part @ out * mask) @ into for part in by_length]  # times the layer's own J
        # A path goes past the layer, and stays as long, or through it, and is one longer.
        longer = [torch.zeros_like(by_length[0]), *through[:-1]]
        by_length = [past + one for past, one in zip(by_length, longer, strict=True)]
missing = ((sum(by_length) - whole).norm() / whole.norm()).item()
sizes = [part.norm().item() / direction.norm().item() for part in by_length]
short = sum(size**2 for size in sizes[:4]) / sum(size**2 for size in sizes)
print("layers passed through:", *range(5), "...", args.depth)
print("size of that part:", *(f"{size:.2f}" for size in sizes[:5]), "...", f"{sizes[-1]:.1g}")
print(f"the parts sum up to autograd's gradient, up to {missing:.0e} of it")
# --8<-- [end:paths]

# --8<-- [start:paths_figure]
fig, ax = plt.subplots()
bars = ax.bar(range(args.depth + 1), sizes, color=plots.RESIDUAL, width=0.7)
bars[-1].set_color(plots.SLATE)
ax.set_yscale("log")
ax.set(xlabel="layers that the path goes through", ylabel="size of that part (end = 1)")
ax.annotate("all that there is\nwithout the addition", (args.depth, sizes[-1]), xytext=(args.depth + 0.4, 2e-3),
            ha="right", color=plots.SLATE, arrowprops={"arrowstyle": "->", "color": plots.SLATE})  # fmt: skip
experiment.show("paths")
# --8<-- [end:paths_figure]

# --8<-- [start:gains]
GAINS = (0.5, 1, 1.5, 2, 3, 4)
swept = {
    name: [[measure(seed, add, gain=gain, norm=norm) for seed in seeds] for gain in GAINS]
    for name, (add, norm) in SETUPS.items()
}
gradient = {
    name: [middle(runs, lambda one: one["stream"][0]) for runs in rows] for name, rows in swept.items()
}
rms = {name: [middle(runs, lambda one: one["rms"]) for runs in rows] for name, rows in swept.items()}
print("gradient before layer 1; weights times", "".join(f"{gain:9}" for gain in GAINS))
for name, row in gradient.items():
    print(f"{name:38}", "".join(f"{value:9.2g}" for value in row))
print(f"{'RMS of the stream: added, norm':38}", "".join(f"{value:9.2g}" for value in rms["added, norm"]))
# --8<-- [end:gains]

# --8<-- [start:gains_figure]
fig, ax = plt.subplots()
for name, colour in (("alone", plots.SLATE), ("added", plots.ORANGE), ("added, norm", plots.RESIDUAL)):
    ax.semilogy(GAINS, gradient[name], "o-", markersize=4, color=colour, label=name.replace(", ", ",\n"))
ax.axhline(1, color=plots.FLOOR, linewidth=0.8)
ax.set(xlabel="weights, times PyTorch's default", ylabel="gradient before layer 1 (end = 1)")
plots.label_lines(ax, gap=16)
experiment.show("gains")
# --8<-- [end:gains_figure]

# --8<-- [start:depths]
DEPTHS = (2, 6, 12, 24, 48)
deeper = {
    name: [[measure(seed, add, depth=depth, norm=norm) for seed in seeds] for depth in DEPTHS]
    for name, (add, norm) in SETUPS.items()
}
print(f"{'layers':38}", "".join(f"{depth:9}" for depth in DEPTHS))
for what, read in {
    "gradient before layer 1": lambda one: one["stream"][0],
    "weights, layer 1 / last": lambda one: one["weight"],
}.items():
    for name, rows in deeper.items():
        print(f"{what:24} {name:13}", "".join(f"{middle(runs, read):9.2g}" for runs in rows))
# --8<-- [end:depths]

# --8<-- [start:claims]
if args.gain == 1 and args.depth >= 24:
    experiment.claim(
        "alone: less than a billionth of the gradient arrives, in every seed",
        all(one["stream"][0] < 1e-9 for one in arms["alone"]),
    )
    experiment.claim(
        "added: the gradient arrives between 1 and 6 times as large",
        all(1 < one["stream"][0] < 6 for one in arms["added"]),
    )
    experiment.claim("alone: layer 1's weights get less than a billionth", moves["alone"] < 1e-9)
    experiment.claim("added: layer 1's weights get about as much", 0.5 < moves["added"] < 2)
if args.gain == 1:
    experiment.claim("the path through all layers brings next to nothing, as the network without additions does",
                     sizes[-1] < 100 * arrives["alone"])  # fmt: skip
    experiment.claim("paths through at most three layers carry most of it", args.depth > 24 or short > 0.6)
experiment.claim("the paths sum up to the gradient", missing < 1e-4)
if args.gain == 1:
    at_48 = {name: [one["stream"][0] for one in rows[-1]] for name, rows in deeper.items()}
    experiment.claim("at 48 layers: added, between 1 and 10; alone, below 1e-20",
                     1 < min(at_48["added"]) < max(at_48["added"]) < 10 and max(at_48["alone"]) < 1e-20)  # fmt: skip
if args.depth == 24:
    experiment.claim("alone: a factor of 8 in the weights is over 20 powers of ten",
                     gradient["alone"][-1] > 1e20 * gradient["alone"][0])  # fmt: skip
    experiment.claim("added without a norm, large weights explode the gradient", gradient["added"][-1] > 1e9)
    experiment.claim("with the norm in the branch it stays below 100", max(gradient["added, norm"]) < 100)
    experiment.claim("from the default weights on, a norm keeps it alive without the addition too",
                     all(0.005 < value < 100 for value in gradient["alone, norm"][1:]))  # fmt: skip
    experiment.claim(
        "with pre-norm the gradient grows about as the stream does",
        all(0.5 < g / r < 2 for g, r in zip(gradient["added, norm"], rms["added, norm"], strict=True)),
    )
# --8<-- [end:claims]
