"""Where should the norm stand? Train the same small Transformer with pre-norm and with post-norm.

A made-up language gives the task: eight symbols, and the chances of the next one depend on the last two. So the
lowest possible loss is known. Each placement gets its own best learning rate, with and without warm-up, with wide
and with narrow branches at the start. The sweep is a record; a small part of it runs live.

Run: python snippets/normalization/exp4_pre_or_post.py [--depth 4] [--narrow] [--seed 0]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
from itertools import product

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.course import experiment, plots
from minimind.model.rope import rope_frequencies, rotate, rotation

args = experiment.flags(__doc__, depth=12, steps=60, rate=0.005, narrow=False)
plots.style()
SYMBOLS, WIDTH, HEADS, ROWS, LENGTH = 8, 32, 2, 8, 16
TURN = rotation(torch.arange(LENGTH), rope_frequencies(WIDTH // HEADS, 100.0))  # RoPE of 16 places
# --8<-- [end:setup]


# --8<-- [start:placement]
def sublayer(stream, branch, gain, placement):
    """One addition to the stream, with the norm in its place. This is all in which the arms differ."""
    if placement == "pre":
        return stream + branch(norm(stream, gain))  # the branch reads a normalized copy
    return norm(stream + branch(stream), gain)  # the stream itself is normalized


def norm(x, gain):
    return F.rms_norm(x, x.shape[-1:]) * gain  # RMSNorm; each model of the stack has its own gain


# --8<-- [end:placement]


# --8<-- [start:model]
def draw_weights(runs, depth):
    """The weights of all models of a stack, one model a run; the same seed draws the same numbers."""
    models = []
    for run in runs:
        g = torch.Generator().manual_seed(run["seed"])
        shrink = (2 * depth) ** -0.5 if run["narrow"] else 1.0  # of what the branches write at the start
        models.append(
            {
                "embed": torch.randn(SYMBOLS, WIDTH, generator=g),
                "head": torch.randn(WIDTH, SYMBOLS, generator=g) / WIDTH**0.5,
                "qkv": torch.randn(depth, WIDTH, 3 * WIDTH, generator=g) / WIDTH**0.5,
                "out": torch.randn(depth, WIDTH, WIDTH, generator=g) / WIDTH**0.5 * shrink,
                "up": torch.randn(depth, WIDTH, 2 * WIDTH, generator=g) * (2 / WIDTH) ** 0.5,
                "down": torch.randn(depth, 2 * WIDTH, WIDTH, generator=g) / (2 * WIDTH) ** 0.5 * shrink,
                "gain": torch.ones(2 * depth + 1, 1, WIDTH),
            }
        )
    return {name: torch.stack([m[name] for m in models]).requires_grad_() for name in models[0]}


def forward(weights, tokens, placement):
    """Scores of the next symbol, (M, B, T, SYMBOLS), and the stream after each block; M models side by side."""
    count, depth = len(weights["up"]), weights["up"].shape[1]
    rows = tokens.reshape(count, -1, 1).expand(-1, -1, WIDTH)
    stream = weights["embed"].gather(1, rows)  # (M, B * T, WIDTH)
    streams = [stream]
    layers = {name: weights[name].unbind(1) for name in ("qkv", "out", "up", "down", "gain")}
    for i in range(depth):

        def attention(x, i=i):
            heads = (x @ layers["qkv"][i]).view(count * ROWS, LENGTH, 3, HEADS, WIDTH // HEADS)
            q, k, v = heads.permute(2, 0, 3, 1, 4)  # (M * B, HEADS, T, WIDTH / HEADS) each
            mixed = F.scaled_dot_product_attention(rotate(q, *TURN), rotate(k, *TURN), v, is_causal=True)
            return mixed.transpose(1, 2).reshape(count, -1, WIDTH) @ layers["out"][i]

        def feed_forward(x, i=i):
            return F.relu(x @ layers["up"][i]) @ layers["down"][i]

        stream = sublayer(stream, attention, layers["gain"][2 * i], placement)
        stream = sublayer(stream, feed_forward, layers["gain"][2 * i + 1], placement)
        streams.append(stream)
    last = norm(stream, layers["gain"][-1]) if placement == "pre" else stream
    return (last @ weights["head"]).view(count, ROWS, LENGTH, SYMBOLS), streams


# --8<-- [end:model]


# --8<-- [start:train]
def language(seed):
    """Chances of the next symbol for each pair of symbols before it, (SYMBOLS, SYMBOLS, SYMBOLS)."""
    g = torch.Generator().manual_seed(1000 + seed)
    return (3 * torch.randn(SYMBOLS, SYMBOLS, SYMBOLS, generator=g)).softmax(dim=-1), g


def write(chances, g):
    """Rows of the language, (B, T + 1)."""
    rows = torch.randint(SYMBOLS, (ROWS, 2), generator=g)
    for _ in range(LENGTH - 1):
        following = torch.multinomial(chances[rows[:, -2], rows[:, -1]], 1, generator=g)
        rows = torch.cat((rows, following), dim=1)
    return rows


def surprise(chances, rows):
    """What the language itself pays for these rows, in nats a symbol: no model can do better on average."""
    paid = chances[rows[:, :-2], rows[:, 1:-1]].gather(2, rows[:, 2:, None])
    return -paid.log().mean()


def train(placement, depth, runs, steps):
    """Train all runs side by side; gives the loss above the floor at each step, (steps, M).

    Adam, written out, since each model has its own learning rate. The rate falls to 0 in the second half.
    """
    weights = draw_weights(runs, depth)
    seeds = sorted({run["seed"] for run in runs})
    which = torch.tensor([seeds.index(run["seed"]) for run in runs])
    languages = [language(seed) for seed in seeds]
    rates = torch.tensor([run["rate"] for run in runs])  # (M,)
    warm = torch.tensor([steps // 4 if run["warm_up"] else 1 for run in runs])
    moments = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()}
    above = []
    for step in range(1, steps + 1):
        rows = torch.stack([write(*lang) for lang in languages])  # the same rows for all runs of a seed
        floor = torch.stack([surprise(lang[0], r) for lang, r in zip(languages, rows, strict=True)])
        tokens = rows[which]  # (M, B, T + 1)
        scores = forward(weights, tokens[:, :, :-1], placement)[0][:, :, 1:].flatten(0, 2)
        losses = F.cross_entropy(scores, tokens[:, :, 2:].flatten(), reduction="none").view(len(runs), -1)
        losses = losses.mean(dim=1)  # (M,)
        above.append((losses - floor[which]).detach())
        gradients = torch.autograd.grad(losses.sum(), list(weights.values()))
        now = rates * (step / warm).clamp(max=1) * min(1, 2 * (1 - (step - 1) / steps))  # (M,)
        for (name, w), gradient in zip(weights.items(), gradients, strict=True):
            mean, square = moments[name]
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient**2, 0.05)
            change = mean / (1 - 0.9**step) / ((square / (1 - 0.95**step)).sqrt() + 1e-8)
            w.data -= now.view(-1, *[1] * (w.dim() - 1)) * change
    return torch.stack(above)


# --8<-- [end:train]

# --8<-- [start:start]
PLACEMENTS = {"pre": "pre-norm", "post": "post-norm"}


def before_training(narrow, placement):
    """Twelve untrained models: what is left of the input, how alike tokens are, what gradient blocks get."""
    seeds = range(12 * args.seed, 12 * args.seed + 12)
    weights = draw_weights([{"seed": seed, "narrow": narrow} for seed in seeds], args.depth)
    rows = torch.stack([write(*language(seed)) for seed in seeds])  # (12, B, T + 1)
    scores, streams = forward(weights, rows[:, :, :-1], placement)
    F.cross_entropy(scores.flatten(0, 2), rows[:, :, 1:].flatten()).backward()
    size = weights["up"].grad.flatten(2).norm(dim=2).mean(dim=0)  # (depth,)
    directions = F.normalize(streams[-1], dim=-1)  # (12, B * T, WIDTH)
    return {
        "cosine": [F.cosine_similarity(s, streams[0], dim=-1).mean().item() for s in streams],
        "alike": (directions @ directions.transpose(1, 2)).mean().item(),  # cosine of any two tokens
        "gradient": (size[0] / size[-1]).item(),
    }


starts = {(p, narrow): before_training(narrow, p) for narrow, p in product((False, True), PLACEMENTS)}
print(f"before training, {args.depth} blocks     cosine with    cosine of     gradient of the")
print(f"{'':26}  the input   two tokens   first block / last")
for (placement, narrow), start in starts.items():
    name = f"{PLACEMENTS[placement]}, {'narrow' if narrow else 'wide'} branches"
    print(f"{name:26} {start['cosine'][-1]:10.2f} {start['alike']:12.2f} {start['gradient']:20.2f}")
# --8<-- [end:start]

# --8<-- [start:start_figure]
fig, ax = plt.subplots()
for (placement, narrow), start in starts.items():
    colour = plots.RESIDUAL if placement == "pre" else plots.SLATE
    label = PLACEMENTS[placement] + (", narrow" if narrow else "")
    ax.plot(start["cosine"], "--" if narrow else "-", color=colour, label=label)
ax.set(xlabel="blocks passed", ylabel="cosine with the input", ylim=(-0.05, 1.02))
plots.label_lines(ax)
experiment.show("survival")
# --8<-- [end:start_figure]

# --8<-- [start:live]
three = [
    {"seed": 3 * args.seed + s, "rate": args.rate, "warm_up": True, "narrow": args.narrow} for s in range(3)
]
live = {placement: train(placement, args.depth, three, args.steps) for placement in PLACEMENTS}
print(f"loss above the floor, three seeds        step 1             step {args.steps}")
for placement, above in live.items():
    first, last = (" ".join(f"{v:.2f}" for v in values) for values in (above[0], above[-5:].mean(dim=0)))
    print(f"{PLACEMENTS[placement]:36} {first:18} {last}")
# --8<-- [end:live]

# --8<-- [start:live_figure]
fig, ax = plt.subplots()
for placement, above in live.items():
    colour = plots.RESIDUAL if placement == "pre" else plots.SLATE
    for number, curve in enumerate(above.T):
        label = PLACEMENTS[placement] if number == 0 else None
        ax.plot(range(1, args.steps + 1), curve, color=colour, linewidth=1.2, label=label)
plots.mark_floor(ax, 0, "floor: the language's own surprise")
ax.set(xlabel="step", ylabel="loss above the floor (nats)", ylim=(-0.1, None))
plots.label_lines(ax)
experiment.show("live_curves")
# --8<-- [end:live_figure]


# --8<-- [start:record]
RATES = [0.0005, 0.002, 0.008, 0.032]
DEPTHS = [4, 12, 24]
SEEDS = [0, 1, 2]


def sweep(depths=DEPTHS, placements=PLACEMENTS):
    """Loss above the floor, mean of the last 20 of 150 steps: [warm-up][rate][seed] for each arm and depth."""
    kinds = list(product((False, True), (False, True), RATES, SEEDS))
    runs = [dict(zip(("narrow", "warm_up", "rate", "seed"), kind, strict=True)) for kind in kinds]
    result = {}
    for depth, placement in product(depths, placements):
        last = train(placement, depth, runs, 150)[-20:].mean(dim=0).view(2, 2, len(RATES), len(SEEDS))
        for narrow in (0, 1):
            result[f"{depth} {placement} {'narrow' if narrow else 'wide'}"] = last[narrow].tolist()
    return result


def blind(seed):
    """What one pays above the floor who knows how often each symbol comes, and looks at nothing."""
    chances, g = language(seed)
    rows = torch.cat([write(chances, g) for _ in range(500)])
    often = rows[:, 2:].flatten().bincount(minlength=SYMBOLS) / rows[:, 2:].numel()
    return (-(often * often.log()).sum() - surprise(chances, rows)).item()


record = experiment.recorded(
    "normalization/exp4_pre_or_post",
    lambda: {"blind": [blind(seed) for seed in SEEDS]} | sweep(),
    cell=lambda: sweep([4], ["post"]),
)
# --8<-- [end:record]

# --8<-- [start:depth_figure]
blind_level = sum(record["blind"]) / len(SEEDS)


def best(depth, placement, branches, warm_up):
    """The loss above the floor of each seed at the arm's best learning rate, and that rate."""
    by_rate = record[f"{depth} {placement} {branches}"][warm_up]
    number = min(range(len(RATES)), key=lambda i: sum(by_rate[i]))
    return by_rate[number], RATES[number]


def best_of_both(depth, placement, branches):
    """The same, with or without warm-up, whichever is better on average."""
    return min((best(depth, placement, branches, w) for w in (0, 1)), key=lambda found: sum(found[0]))


fig, ax = plt.subplots()
for placement, branches in product(PLACEMENTS, ("wide", "narrow")):
    colour = plots.RESIDUAL if placement == "pre" else plots.SLATE
    seeds = [best_of_both(depth, placement, branches)[0] for depth in DEPTHS]
    means = [sum(values) / len(values) for values in seeds]
    label = PLACEMENTS[placement] + (", narrow" if branches == "narrow" else "")
    ax.plot(DEPTHS, means, "o-" if branches == "wide" else "o--", color=colour, label=label)
    for depth, values in zip(DEPTHS, seeds, strict=True):
        ax.plot([depth] * len(values), values, ".", color=colour, markersize=4)
ax.hlines(blind_level, DEPTHS[0], DEPTHS[-1], color=plots.FLOOR, linestyle=":", linewidth=1.4)
ax.annotate(
    "looks at nothing", (4, blind_level), xytext=(0, 4), textcoords="offset points", color=plots.FLOOR
)
ax.set(xlabel="depth (blocks)", ylabel="loss above the floor (nats)", ylim=(0, 1.45), xticks=DEPTHS)
plots.label_lines(ax)
experiment.show("depth_sweep")
# --8<-- [end:depth_figure]

# --8<-- [start:rate_figure]
fig, ax = plt.subplots()
for placement, warm_up in product(PLACEMENTS, (0, 1)):
    colour = plots.RESIDUAL if placement == "pre" else plots.SLATE
    means = [sum(values) / len(values) for values in record[f"12 {placement} narrow"][warm_up]]
    label = PLACEMENTS[placement] + (", warm-up" if warm_up else "")
    ax.semilogx(RATES, means, "o-" if warm_up else "o--", color=colour, label=label)
ax.hlines(blind_level, RATES[0], RATES[-1], color=plots.FLOOR, linestyle=":", linewidth=1.4)
ax.set(xlabel="learning rate", ylabel="loss above the floor (nats)", ylim=(0, 1.45))
ax.set_xticks(RATES, [str(rate) for rate in RATES])
ax.minorticks_off()
plots.label_lines(ax)
experiment.show("rate_sweep")
# --8<-- [end:rate_figure]

# --8<-- [start:claims]


def mean(values):
    return sum(values) / len(values)


if (args.depth, args.steps, args.rate) == (12, 60, 0.005):
    wide, narrow = ({p: starts[p, slim] for p in PLACEMENTS} for slim in (False, True))
    experiment.claim("wide: pre-norm keeps a seventh to a fourth", 0.14 < wide["pre"]["cosine"][-1] < 0.27)
    experiment.claim(
        "wide: post-norm keeps nothing, in each of the last four blocks",
        all(abs(cosine) < 0.08 for cosine in wide["post"]["cosine"][-4:]),
    )
    experiment.claim(
        "wide: after four blocks the rule of thumb is right to within a tenth",
        abs(wide["pre"]["cosine"][4] - 1 / 3) < 0.1 and abs(wide["post"]["cosine"][4] - 1 / 16) < 0.1,
    )
    experiment.claim("wide: post-norm's tokens are nearly alike", wide["post"]["alike"] > 0.75)
    experiment.claim("wide: pre-norm's less so", wide["pre"]["alike"] < wide["post"]["alike"] - 0.1)
    experiment.claim("narrow: both keep over six tenths", all(n["cosine"][-1] > 0.6 for n in narrow.values()))
    experiment.claim(
        "the gradients before training do not tell: first and last block within a factor of 4",
        all(0.25 < start["gradient"] < 4 for start in starts.values()),
    )
    ends = {placement: above[-5:].mean(dim=0) for placement, above in live.items()}
    experiment.claim("live: pre-norm has learned much", ends["pre"].mean() < 0.85)
    if args.narrow:
        experiment.claim("live, narrow: so has post-norm", ends["post"].mean() < 0.95)
    else:
        experiment.claim(
            "live: post-norm stays behind it in every seed", (ends["post"] > ends["pre"] + 0.1).all()
        )
        experiment.claim("live: post-norm is still nearly blind", ends["post"].mean() > 0.95)

four = {(p, b): mean(best_of_both(4, p, b)[0]) for p, b in product(PLACEMENTS, ("wide", "narrow"))}
experiment.claim(
    "record: four blocks, narrow branches: less than 0.05 nats apart",
    abs(four["post", "narrow"] - four["pre", "narrow"]) < 0.05,
)
experiment.claim(
    "record: four blocks, wide branches: post-norm learns, somewhat worse",
    0.02 < four["post", "wide"] - four["pre", "wide"] < 0.2,
)
stuck = [best_of_both(depth, "post", "wide")[0] for depth in (12, 24)]
experiment.claim(
    "record: with 12 and 24 wide blocks post-norm learns next to nothing at any rate",
    all(mean(values) > 0.95 * blind_level for values in stuck),
)
experiment.claim(
    "record: with narrow branches post-norm learns at every depth, a little worse than pre-norm from 12 on",
    all(
        0.03
        < mean(best_of_both(depth, "post", "narrow")[0]) - mean(best_of_both(depth, "pre", "narrow")[0])
        < 0.2
        for depth in (12, 24)
    ),
)
experiment.claim(
    "record: pre-norm's best learning rate is no smaller, and its next larger one still learns",
    all(
        best(d, "pre", "narrow", 1)[1] >= best(d, "post", "narrow", 1)[1]
        and mean(record[f"{d} pre narrow"][1][RATES.index(best(d, "pre", "narrow", 1)[1]) + 1]) < 0.6
        for d in DEPTHS
    ),
)
experiment.claim(
    "record: warm-up lets post-norm with narrow branches use a rate that fails without it",
    mean(record["12 post narrow"][0][2]) > 0.95 * blind_level and mean(record["12 post narrow"][1][2]) < 0.4,
)
# --8<-- [end:claims]
