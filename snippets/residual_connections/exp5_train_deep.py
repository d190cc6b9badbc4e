"""Does the addition help to train? Three ways to set up a deep network, each with and without it.

The task: which of two spirals does a point lie on? Every network gets the same points; five learning rates and
three seeds each. Live, the script asks what the gradients are worth before training: do neighbours agree?

Run: python snippets/residual_connections/exp5_train_deep.py [--depth 48] [--seed 0]
Tier: visualization · extra · about 2 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.course import experiment, plots

args = experiment.flags(__doc__, depth=24)
plots.style()
WIDTH, BATCH, STEPS = 32, 64, 300
DEPTHS, RATES, SEEDS = (4, 12, 24, 48), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (0, 1, 2)
SETUPS = {"PyTorch's init": (False, False), "Kaiming": (True, False), "Kaiming, norm": (True, True)}
# --8<-- [end:setup]


# --8<-- [start:network]
def draw(depth, kaiming, seed, enter=2):
    """Weights and biases, layer by layer: an entry, `depth` layers of two matrices, an exit."""
    draws = torch.Generator().manual_seed(seed)

    def matrix(rows, columns, gain):
        if kaiming:  # keeps the size of the signal; gain sqrt(2) before ReLU, which halves the mean square
            weight = torch.randn(rows, columns, generator=draws) * gain / math.sqrt(rows)
            return [weight, torch.zeros(1, columns)]
        uniform = torch.rand(rows + 1, columns, generator=draws) * 2 - 1  # as nn.Linear draws them
        return list((uniform / math.sqrt(rows)).split([rows, 1]))

    layers = [part for _ in range(depth) for gain in (2**0.5, 1) for part in matrix(WIDTH, WIDTH, gain)]
    return [*matrix(enter, WIDTH, 1), *layers, *matrix(WIDTH, 2, 1)]


def forward(parts, x, add, norm):
    """Scores (M, N, 2) of M networks side by side; x is (M, N, entries)."""
    h = torch.baddbmm(parts[1], x, parts[0])  # (M, N, 32)
    for i in range(2, len(parts) - 2, 4):
        y = F.rms_norm(h, (WIDTH,)) if norm else h
        wide = torch.baddbmm(parts[i + 1], y, parts[i]).relu()
        branch = torch.baddbmm(parts[i + 3], wide, parts[i + 2])
        h = h + branch if add else branch  # the only difference
    return torch.baddbmm(parts[-1], F.rms_norm(h, (WIDTH,)) if norm else h, parts[-2])


# --8<-- [end:network]


# --8<-- [start:training]
def spirals(count, draws):
    """Points (N, 2), and on which of the two arms of a spiral each one lies."""
    radius = 0.1 + 0.9 * torch.rand(count, generator=draws)
    arm = torch.randint(2, (count,), generator=draws)
    angle = 3 * math.pi * radius + math.pi * arm  # one turn and a half
    return 2 * torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), arm


def train(depth, add, kaiming, norm):
    """Loss on fresh points after training, a row for each learning rate, a column for each seed."""
    drawn = [draw(depth, kaiming, seed) for seed in SEEDS]
    parts = [
        torch.stack([one[i] for _ in RATES for one in drawn]).requires_grad_() for i in range(len(drawn[0]))
    ]
    mean, square = ([torch.zeros_like(part) for part in parts] for _ in range(2))
    rates = torch.tensor([rate for rate in RATES for _ in SEEDS]).view(-1, 1, 1)
    draws = [torch.Generator().manual_seed(100 + seed) for seed in SEEDS]
    for step in range(1, STEPS + 1):
        x, arm = map(torch.stack, zip(*(spirals(BATCH, one) for one in draws), strict=True))
        scores = forward(parts, x.repeat(len(RATES), 1, 1), add, norm)  # (15, 64, 2)
        loss = F.cross_entropy(scores.flatten(0, 1), arm.repeat(len(RATES), 1).flatten(), reduction="sum")
        gradients = torch.autograd.grad(loss / BATCH, parts)  # no network has a part in another's loss
        with torch.no_grad():  # Adam, written out: each network has a learning rate of its own
            torch._foreach_lerp_(mean, gradients, 0.1)
            torch._foreach_mul_(square, 0.999)
            torch._foreach_addcmul_(square, gradients, gradients, 0.001)
            rate = rates * min(1, step / 20) * (1 - (step - 1) / STEPS)  # warm-up, then down to zero
            for part, m, s in zip(parts, mean, square, strict=True):
                part -= rate * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8)
    with torch.no_grad():
        x, arm = spirals(1000, torch.Generator().manual_seed(99))
        scores = forward(parts, x.expand(len(rates), -1, -1), add, norm)  # (15, 1000, 2)
        losses = F.cross_entropy(scores.transpose(1, 2), arm.expand(len(rates), -1), reduction="none").mean(1)
    return losses.view(len(RATES), len(SEEDS)).tolist()


def sweep(depths=DEPTHS):
    """Every depth, set-up and learning rate, with and without the addition, over three seeds."""
    return {
        name: {
            kind: {str(depth): train(depth, add, kaiming, norm) for depth in depths}
            for kind, add in (("alone", False), ("added", True))
        }
        for name, (kaiming, norm) in SETUPS.items()
    }


losses = experiment.recorded("residual_connections/exp5_train_deep", sweep, cell=lambda: sweep(DEPTHS[:1]))
# --8<-- [end:training]

# --8<-- [start:table_figure]
CHANCE = math.log(2)
best = {}  # (set-up, kind) -> at each depth the loss at the best rate, and at how many rates it trains
for name, kinds in losses.items():
    for kind, by_depth in kinds.items():
        rows = [torch.tensor(table).median(dim=1).values for table in by_depth.values()]  # (5,) each
        best[name, kind] = [(row.min().item(), int((row < 0.1).sum())) for row in rows]
print("loss at the best of 5 rates (rates with a loss below 0.1)")
print(f"{'layers':24}", "".join(f"{depth:12}" for depth in DEPTHS))
for (name, kind), cells in best.items():
    print(f"{name:15} {kind:8}", "".join(f"{loss:8.3f} ({count})" for loss, count in cells))
fig, axes = plt.subplots(1, 3, sharey=True, figsize=(5.6, 2.8))
for ax, name in zip(axes, SETUPS, strict=True):
    for kind, colour in (("alone", plots.SLATE), ("added", plots.RESIDUAL)):
        counts = [count for _, count in best[name, kind]]
        ax.plot(range(len(DEPTHS)), counts, "o-", color=colour, markersize=5)
        below = kind == "added" and counts[2] < best[name, "alone"][2][1]
        ax.annotate(kind, (2, counts[2]), xytext=(-3, -14 if below else 7), textcoords="offset points",
                    ha="right", color=colour)  # fmt: skip
    ax.set_xticks(range(len(DEPTHS)), map(str, DEPTHS))
    ax.set(title=name, xlabel="layers", ylim=(-0.6, 5.6))
axes[0].set_ylabel("learning rates that train, of 5")
experiment.show("rates_that_train")
# --8<-- [end:table_figure]


# --8<-- [start:agree]
def agreement(depth, add, norm, seed):
    """How alike the gradients of two inputs are that lie five degrees apart, before training."""
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, WIDTH, generator=generator)
    angle = torch.linspace(0, math.pi / 2, 91)[:, None]  # a quarter of a turn, degree by degree
    x = (one * angle.cos() + other * angle.sin())[None].requires_grad_()  # (1, 91, 32)
    parts = [part[None] for part in draw(depth, True, seed, enter=WIDTH)]
    scores = forward(parts, x, add, norm)
    gradient = torch.autograd.grad(scores[..., 0].sum(), x)[0][0]  # (91, 32)
    return F.cosine_similarity(gradient[:-5], gradient[5:], dim=-1).mean().item()


seeds = [10 * args.seed + number for number in range(10)]
agree = {
    kind: torch.tensor([agreement(args.depth, add, True, seed) for seed in seeds])
    for kind, add in (("alone", False), ("added", True))
}
print(f"{args.depth} layers, Kaiming init and norm: cosine of two gradients, five degrees apart")
for kind, values in agree.items():
    print(f"{kind:6} {values.median():.2f} (10 seeds: {values.min():.2f} to {values.max():.2f})")
# --8<-- [end:agree]

# --8<-- [start:claims]
trains = {key: [count for _, count in cells] for key, cells in best.items()}


def at_the_start(kaiming, norm, add, seed):
    """The gradient before the first of 24 untrained layers, against the one after the last.

    Every point gets a copy of the network: then a bias, which is added to the stream, has the stream's gradient.
    """
    parts = [part.expand(64, -1, -1).clone().requires_grad_() for part in draw(24, kaiming, seed)]
    x, _ = spirals(64, torch.Generator().manual_seed(seed))
    scores = forward(parts, x[:, None], add, norm)  # (64, 1, 2)
    first, last = torch.autograd.grad(scores[..., 0].sum(), (parts[1], parts[-3]))  # (64, 1, 32) each
    return (first.norm() / last.norm()).item()


untrained = {  # (set-up, kind) -> median of the seeds
    (name, kind): torch.tensor([at_the_start(*setup, add, seed) for seed in seeds]).median().item()
    for name, setup in SETUPS.items()
    for kind, add in (("alone", False), ("added", True))
}
experiment.claim("Kaiming and norm: before training the gradient is there, with the addition and without",
                 all(0.1 < untrained["Kaiming, norm", kind] < 100 for kind in ("alone", "added")))  # fmt: skip
experiment.claim("Kaiming alone, without norm or addition: before training it has about its size",
                 0.1 < untrained["Kaiming", "alone"] < 10)  # fmt: skip
experiment.claim("Kaiming with the addition and no norm: before training it arrives over 500 times as large",
                 untrained["Kaiming", "added"] > 500)  # fmt: skip
experiment.claim("4 layers train in all set-ups, with the addition and without",
                 all(counts[0] > 0 for counts in trains.values()))  # fmt: skip
experiment.claim("PyTorch's init, alone: from 12 layers on no rate is better than chance",
                 all(abs(loss - CHANCE) < 0.01 for loss, _ in best["PyTorch's init", "alone"][1:]))  # fmt: skip
experiment.claim("PyTorch's init, added: at 12 to 48 layers three rates train at least",
                 min(trains["PyTorch's init", "added"][1:]) >= 3)  # fmt: skip
experiment.claim("Kaiming and norm, alone: no rate trains 12, 24 or 48 layers",
                 max(trains["Kaiming, norm", "alone"][1:]) == 0)  # fmt: skip
experiment.claim("Kaiming and norm, added: at every depth three rates train at least",
                 min(trains["Kaiming, norm", "added"]) >= 3)  # fmt: skip
experiment.claim("Kaiming alone, without norm or addition, trains 48 layers at a small enough rate",
                 trains["Kaiming", "alone"][3] > 0)  # fmt: skip
experiment.claim("Kaiming with the addition and no norm trains 48 layers at no rate",
                 trains["Kaiming", "added"][3] == 0)  # fmt: skip
rates_in_all = {key: sum(counts) for key, counts in trains.items()}
experiment.claim("norm and addition together train at more rates than any other set-up",
                 all(rates_in_all["Kaiming, norm", "added"] > count for key, count in rates_in_all.items()
                     if key != ("Kaiming, norm", "added")))  # fmt: skip
if args.depth >= 24:
    experiment.claim("alone, gradients of neighbours agree less than with the addition",
                     agree["alone"].median() < agree["added"].median() - 0.15)  # fmt: skip
# --8<-- [end:claims]
