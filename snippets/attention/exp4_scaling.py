"""Why attention divides by the root of d: the size of a score, what softmax makes of it, and the gradient.

Random queries and keys with entries of size 1, in heads of 4 to 1,024 numbers, divided by sqrt(d), by nothing,
and by d. Then the scores of new models of this package, before any training. The record trains a look-up with
and without the division.

Run: python snippets/attention/exp4_scaling.py [--keys 256]
Tier: visualization · core · about 3 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind import MiniMind, ModelConfig
from minimind.course import experiment, plots

args = experiment.flags(__doc__, keys=256, queries=300)
plots.style()
# --8<-- [end:setup]

# --8<-- [start:measure]
widths = [4, 16, 64, 256, 1024]  # d, numbers in a head
divisors = {"nothing": lambda d: 1.0, "√d": math.sqrt, "d": float}


def measure(d, divisor):
    """Variance of the scores, entropy of the weights, and how much gradient comes through the softmax."""
    q, k = torch.randn(args.queries, d), torch.randn(args.keys, d)  # entries of size 1
    scores = (q @ k.T / divisor).requires_grad_()  # (queries, keys)
    weights = scores.softmax(dim=-1)
    entropy = -(weights * weights.clamp(min=1e-30).log()).sum(dim=-1)  # (queries,), ln keys if all are equal
    weights.backward(torch.randn_like(weights))  # somebody wants to change the weights, in a random direction
    return {
        "variance": scores.var().item(),
        "largest": scores.abs().max().item(),
        "entropy": entropy.mean().item(),
        "gradient": scores.grad.norm(dim=-1).median().item(),  # what reaches the scores of a typical query
    }


found = {name: [measure(d, divisor(d)) for d in widths] for name, divisor in divisors.items()}
print(f"{'divided by':>10} {'d':>5} {'variance':>9} {'entropy':>8} {'gradient':>9}")
for name, rows in found.items():
    for d, row in zip(widths, rows, strict=True):
        print(f"{name:>10} {d:5} {row['variance']:9.3f} {row['entropy']:8.2f} {row['gradient']:9.1e}")
print(f"all {args.keys} keys alike: entropy {math.log(args.keys):.2f}")
# --8<-- [end:measure]

# --8<-- [start:figure]
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9))
colours = {"nothing": plots.ORANGE, "√d": plots.BLUE, "d": plots.PURPLE}
for ax, quantity in zip(axes, ("entropy", "gradient"), strict=True):
    for name, rows in found.items():
        ax.plot(widths, [row[quantity] for row in rows], "o-", color=colours[name], markersize=3)
    ax.set(xscale="log", xlabel="numbers in a head, d", xticks=[4, 64, 1024], xticklabels=["4", "64", "1024"])
    ax.minorticks_off()
axes[0].set(ylabel="entropy of the weights (nats)", ylim=(0, None))
axes[1].set(ylabel="gradient at the scores", yscale="log")
for name, shift in {"nothing": 0.3, "√d": -0.5, "d": 0.15}.items():
    axes[0].text(200, found[name][3]["entropy"] + shift, name, color=colours[name], fontweight="bold")
for name, place, factor in (("nothing", 50, 0.15), ("√d", 400, 1.2), ("d", 5, 0.6)):
    axes[1].text(place, found[name][3]["gradient"] * factor, name, color=colours[name], fontweight="bold")
experiment.show("softmax_saturation")
# --8<-- [end:figure]

# --8<-- [start:overflow]
largest = found["nothing"][-1]["largest"]  # of all scores at d = 1,024
huge = torch.tensor([10000.0, 9999.0, 0.0]).softmax(dim=-1)
print(f"largest score without the division, d = 1,024: {largest:.0f}; float16 holds up to 65,504")
print("softmax of 10000, 9999, 0:", *(f"{weight:.2f}" for weight in huge))
# --8<-- [end:overflow]

# --8<-- [start:models]
raw = {}  # standard deviation of q · k, before the division
for qk_norm in (True, False):
    for d in (32, 128):
        config = ModelConfig.preset("nano", vocab_size=256, hidden_size=4 * d, qk_norm=qk_norm)
        attention = MiniMind(config).model.layers[0].self_attn
        x = torch.randn(200, 4 * d)  # what RMSNorm hands to the layer: entries of size 1
        with torch.no_grad():
            q = attention.q_norm(attention.q_proj(x)[:, :d])  # (200, d), the first head
            k = attention.k_norm(attention.k_proj(x)[:, :d])
        raw[qk_norm, d] = (q @ k.T).std().item()
        print(
            f"new model, {'with' if qk_norm else 'no':>4} QK-norm, d = {d:3}: scores of size {raw[qk_norm, d]:.2f}"
        )
# --8<-- [end:models]

# --8<-- [start:learn]
T, RUNS, WIDTH = 16, 3, 256  # tokens a sample, seeds, numbers in the one head
RATES = [0.001, 0.003, 0.01, 0.03, 0.1]
ARMS = ["divided by √d", "not divided", "smaller init instead"]


def learn(arm, rate, steps=150):
    """Each token finds the token whose name it wants; the loss of each seed at the end."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    divisor = math.sqrt(WIDTH) if arm == "divided by √d" else 1.0
    narrow = 1 / math.sqrt(WIDTH) if arm == "smaller init instead" else 1.0
    queries, keys = (torch.randn(RUNS, 1, 3 * T, WIDTH) / (3 * T) ** 0.5 for _ in range(2))
    values = torch.randn(RUNS, 1, 3 * T, T) / (3 * T) ** 0.5
    weights = [matrix.requires_grad_() for matrix in (queries * narrow, keys, values)]
    optimizer = torch.optim.Adam(weights, lr=rate)
    losses = []
    for _ in range(steps):
        name = torch.rand((RUNS, 32, T), generator=generator).argsort(dim=-1)
        content = torch.randint(T, (RUNS, 32, T), generator=generator)
        parts = name.roll(1, dims=-1), name, content  # the name it wants, its own name, its content
        x = 4 * torch.cat([F.one_hot(part, T).float() for part in parts], dim=-1)  # entries of RMS 1
        q, k, v = (x @ matrix for matrix in weights)  # (RUNS, 32, T, WIDTH), v (RUNS, 32, T, T)
        logits = (q @ k.mT / divisor).softmax(dim=-1) @ v
        answer = content.roll(1, dims=-1)
        loss = F.cross_entropy(logits.flatten(1, 2).mT, answer.flatten(1), reduction="none").mean(dim=1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)[-20:].mean(dim=0).tolist()


learned = experiment.recorded(
    "attention/exp4_scaling",
    lambda: {arm: [learn(arm, rate) for rate in RATES] for arm in ARMS},
    cell=lambda: {arm: [learn(arm, RATES[0])] for arm in ARMS},
)
print(f"loss after 150 steps, head of {WIDTH}; knowing nothing: {math.log(T):.2f}")
print(f"{'':22}", *(f"{rate:>12}" for rate in RATES))
for arm, rows in learned.items():
    print(f"{arm:22}", *(f"{min(row):6.2f}–{max(row):.2f}" for row in rows))
# --8<-- [end:learn]

# --8<-- [start:claims]
plain, scaled, too_much = (found[name] for name in divisors)
for d, row in zip(widths, plain, strict=True):
    experiment.claim(f"the variance of a raw score is d = {d}", abs(row["variance"] / d - 1) < 0.35)
experiment.claim("divided by √d it is 1 at every d", all(abs(row["variance"] - 1) < 0.35 for row in scaled))
few = plain[-1]["entropy"] < 0.15 * math.log(args.keys)
experiment.claim("undivided at d = 1,024, softmax all but picks one key", few)
kept = all(row["entropy"] > 0.8 * math.log(args.keys) for row in scaled)
experiment.claim("divided by √d, the weights stay spread at every d", kept)
experiment.claim(
    "undivided, a typical query's gradient all but vanishes",
    plain[-1]["gradient"] < plain[0]["gradient"] / 20,
)
if args.keys == 256:  # with few keys the gradient goes sooner
    lost = plain[2]["entropy"] < 0.25 * math.log(args.keys)
    experiment.claim("undivided at d = 64, most of the spread is lost", lost)
    still = plain[2]["gradient"] > scaled[2]["gradient"]
    experiment.claim("undivided at d = 64, the gradient is not smaller than divided", still)
experiment.claim(
    "divided by √d, it stays within a factor of two", 0.5 < scaled[-1]["gradient"] / scaled[0]["gradient"] < 2
)
experiment.claim(
    "divided by d, the weights are all but equal", too_much[-1]["entropy"] > 0.99 * math.log(args.keys)
)
experiment.claim("without the division no score comes near to float16's limit", largest < 655)
experiment.claim("softmax takes scores of 10,000", huge.isfinite().all() and abs(huge[0] - 0.73) < 0.01)
experiment.claim(
    "with QK-norm a new model's raw scores have size √d",
    all(abs(raw[True, d] / d**0.5 - 1) < 0.2 for d in (32, 128)),
)
experiment.claim("without QK-norm, a narrow new model's raw scores are small", raw[False, 32] < 0.6)
LEARNED = 0.15  # nats; a rate is good if all seeds come below it
steady = {arm: sum(max(row) < LEARNED for row in rows) for arm, rows in learned.items()}
experiment.claim("with the division three of five rates teach it to all seeds", steady["divided by √d"] == 3)
experiment.claim("a smaller init does so at one rate", steady["smaller init instead"] == 1)
experiment.claim("without either it happens at none", steady["not divided"] == 0)
undivided = min(map(max, learned["not divided"]))  # the worst seed at the best rate
experiment.claim("undivided, at the best rate all seeds learn most of it", undivided < math.log(T) / 2)
# --8<-- [end:claims]
