"""Why do signals fade or explode? Twenty layers without biases, four sizes of the weights, four kinds of network.

A layer is one matrix after ReLU, h -> W relu(h). Its weights are drawn with std gain / sqrt(width). The same draws
serve every arm; only the gain, a norm in front of ReLU, and an addition around the layer differ.

Run: python snippets/normalization/exp2_depth_and_gain.py [--layers 40] [--gain 1.5] [--seed 0]
Tier: visualization · core · about 3 s
"""

# --8<-- [start:setup]
import math
from itertools import product

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.course import experiment, plots
from minimind.model import RMSNorm
from minimind.model.fast import speed_up

args = experiment.flags(__doc__, layers=20, width=256, gain=1.5)
plots.style()
x = torch.randn(128, args.width)  # 128 samples, RMS 1
draws = [torch.randn(args.width, args.width) / args.width**0.5 for _ in range(args.layers)]
direction = torch.randn(128, args.width) / x.numel() ** 0.5  # the loss: each sample is to move its own way
norm = RMSNorm(args.width)


def rms(tensor):
    return tensor.detach().square().mean().sqrt().item()


# --8<-- [end:setup]


# --8<-- [start:forward]
def run(gain, normalize=False, residual=False):
    """Send x through all layers and a gradient back; what is found at each layer."""
    weights = [(gain * draw).requires_grad_() for draw in draws]
    h = x.clone().requires_grad_()
    signals = [h]
    for weight in weights:
        branch = F.linear(F.relu(norm(h) if normalize else h), weight)  # (128, width)
        h = h + branch if residual else branch
        h.retain_grad()
        signals.append(h)
    (h * direction).sum().backward()
    last = rms(h.grad)
    return {
        "signal": [rms(signal) for signal in signals],  # what goes up: layers + 1 numbers
        "back": [rms(signal.grad) / last for signal in signals],  # what comes down, the loss's own as 1
        "weights": [weight.grad.norm().item() for weight in weights],  # what moves each layer's weights
    }


GAINS = {"0.5": 0.5, "1": 1.0, "√2": 2**0.5, "2": 2.0}
plain = {name: run(gain) for name, gain in GAINS.items()}
print(f"{args.layers} layers    signal at    gradient at    weight gradient of the")
print(f"{'':12}  the end      the start    first layer     last")
for name, arm in plain.items():
    first, last = arm["weights"][0], arm["weights"][-1]
    print(f"gain {name:6}{arm['signal'][-1]:10.2g}{arm['back'][0]:15.2g}{first:15.2g}{last:9.2g}")
# --8<-- [end:forward]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for (name, arm), colour in zip(plain.items(), plots.PALETTE, strict=False):
    ax.semilogy(arm["signal"], color=colour, label=f"gain {name}")
ax.set(xlabel="layers passed", ylabel="RMS of the signal")
ax.xaxis.get_major_locator().set_params(integer=True)
plots.label_lines(ax)
experiment.show("signal")
# --8<-- [end:figure]

# --8<-- [start:weights_figure]
mild = plain["1"]
fig, ax = plt.subplots()
layer = range(1, args.layers + 1)
ax.semilogy(layer, mild["signal"][:-1], color=plots.BLUE, label="signal\nthat comes in")
ax.semilogy(layer, mild["back"][1:], color=plots.ORANGE, label="gradient\nthat comes back")
scale = mild["weights"][0] / (mild["signal"][0] * mild["back"][1])
product_of_both = [weight / scale for weight in mild["weights"]]
ax.semilogy(layer, product_of_both, color=plots.GREEN, label="weight gradient\n(scaled)")
ax.set(xlabel="layer", ylabel="size, gain 1")
ax.xaxis.get_major_locator().set_params(integer=True)
plots.label_lines(ax, gap=26)
experiment.show("weight_gradients")
# --8<-- [end:weights_figure]

# --8<-- [start:arms]
KINDS = {
    "plain": {},
    "norm": {"normalize": True},
    "residual": {"residual": True},
    "norm + residual": {"normalize": True, "residual": True},
}
arms = {(kind, name): run(gain, **KINDS[kind]) for kind, (name, gain) in product(KINDS, GAINS.items())}
print("largest weight gradient " + "".join(f"{'gain ' + name:>12}" for name in GAINS))
for kind in KINDS:
    sizes = [max(arms[kind, name]["weights"]) for name in GAINS]
    print(f"{kind:23} " + "".join(f"{size:12.2g}" for size in sizes))
asked = run(args.gain)  # --gain: any other size of the weights
print(f"gain {args.gain}, plain: signal at the end {asked['signal'][-1]:.2g}")
# --8<-- [end:arms]


# --8<-- [start:record]
RATES = [0.0003, 0.001, 0.003, 0.01]


def measure(kinds=KINDS, rates=RATES):
    """How many of three trainings tell two spirals apart, for each kind, gain and learning rate."""
    return {
        f"{kind}, {name}": [
            sum(solves(gain, rate, seed, **KINDS[kind]) for seed in (0, 1, 2)) for rate in rates
        ]
        for kind, (name, gain) in product(kinds, GAINS.items())
        if name != "1"
    }


def solves(gain, rate, seed, normalize=False, residual=False):
    """Whether 20 layers of 64 get 98 % of new points right after 250 steps of Adam; no biases, no warm-up."""
    g = torch.Generator().manual_seed(seed)
    narrow = RMSNorm(64).requires_grad_(False)
    speed_up(narrow)  # its derivative written out, as in every training of the package
    lift = torch.randn(64, 3, generator=g) / 3**0.5
    weights = [torch.randn(64, 64, generator=g) * gain / 8 for _ in range(20)]
    weights.append(torch.randn(2, 64, generator=g) / 8)
    optimizer = torch.optim.Adam([weight.requires_grad_() for weight in weights], lr=rate)

    def scores(points):
        h = F.linear(points, lift)
        for weight in weights[:-1]:
            branch = F.linear(F.relu(narrow(h) if normalize else h), weight)
            h = h + branch if residual else branch
        return F.linear(narrow(h) if normalize else h, weights[-1])

    for _ in range(250):
        points, arms_of_points = spirals(128, g)
        optimizer.zero_grad()
        F.cross_entropy(scores(points), arms_of_points).backward()
        optimizer.step()
    points, arms_of_points = spirals(1000, g)
    with torch.no_grad():
        return (scores(points).argmax(dim=1) == arms_of_points).float().mean().item() > 0.98


def spirals(count, g):
    """Points on two spirals, and on which; the third coordinate is 1, since the layers have no biases."""
    turn, arm = torch.rand(count, generator=g), torch.randint(2, (count,), generator=g)
    angle = 2.5 * math.pi * turn + math.pi * arm
    points = torch.stack((angle.cos(), angle.sin()), dim=1) * (0.2 + turn[:, None])
    noisy = points + 0.03 * torch.randn(count, 2, generator=g)
    return F.pad(noisy, (0, 1), value=1.0), arm


record = experiment.recorded(
    "normalization/exp2_depth_and_gain", measure, cell=lambda: measure(["norm"], RATES[:1])
)
# --8<-- [end:record]

# --8<-- [start:claims]
factors = {name: gain / 2**0.5 for name, gain in GAINS.items()}  # what a layer does to the size


def per_layer(arm):
    return (arm["signal"][-1] / arm["signal"][0]) ** (1 / args.layers)


experiment.claim(
    "each layer multiplies the signal by gain / sqrt(2)",
    all(abs(per_layer(plain[name]) / factor - 1) < 0.05 for name, factor in factors.items()),
)
experiment.claim(
    "and the gradient on its way back too",
    all(abs(plain[name]["back"][0] ** (1 / args.layers) / f - 1) < 0.05 for name, f in factors.items()),
)
experiment.claim(
    "without biases all layers of a plain network get about the same weight gradient",
    all(max(arm["weights"]) < 3 * min(arm["weights"]) for arm in plain.values()),
)
sizes = {kind: [max(arms[kind, name]["weights"]) for name in GAINS] for kind in KINDS}
experiment.claim("with a norm the gain does not matter", max(sizes["norm"]) < 1.02 * min(sizes["norm"]))
experiment.claim("a residual alone never fades", min(sizes["residual"]) > 1)
experiment.claim("but it explodes", max(sizes["residual"]) > 1000 * min(sizes["residual"]))
experiment.claim(
    "norm and residual together stay within a factor of 3",
    max(sizes["norm + residual"]) < 3 * min(sizes["norm + residual"]),
)
grown = arms["norm + residual", "2"]["signal"][-1] / (1 + 2 * args.layers) ** 0.5
experiment.claim("their stream grows as the square root of depth", abs(grown - 1) < 0.2)
solved = {arm: sum(counts) for arm, counts in record.items()}  # of 12
experiment.claim("record: plain layers with gain 0.5 hardly ever train", solved["plain, 0.5"] <= 2)
experiment.claim("record: a good init alone trains at three learning rates", solved["plain, √2"] >= 8)
experiment.claim("record: a norm alone does no better", solved["norm, √2"] <= solved["plain, √2"])
experiment.claim(
    "record: a residual alone nearly always trains",
    all(solved[f"residual, {name}"] >= 10 for name in ("0.5", "√2", "2")),
)
totals = {kind: sum(solved[f"{kind}, {name}"] for name in ("0.5", "√2", "2")) for kind in KINDS}  # of 36
experiment.claim("record: a norm alone often fails", totals["norm"] <= 28)
experiment.claim(
    "record: a residual alone trains more often than a norm alone",
    totals["residual"] >= totals["norm"] + 5,
)
experiment.claim(
    "record: norm and residual together always train",
    all(solved[f"norm + residual, {name}"] == 12 for name in ("0.5", "√2", "2")),
)
# --8<-- [end:claims]
