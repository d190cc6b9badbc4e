"""Why expand and compress? Store facts in one feed-forward layer, and count how many come back.

A fact is a pair of random vectors: read the one, answer with the other. Layers of several widths learn the
same facts. Before that: what a wide layer without an activation is worth, and who sees whom.

Run: python snippets/feed_forward/exp1_feedforward.py [--facts 128] [--activation tanh] [--steps 1000] [--seed 0]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from minimind import ModelConfig
from minimind.course import experiment, plots
from minimind.model import FeedForward

args = experiment.flags(__doc__, facts=256, activation="relu", steps=250)
plots.style()
D = 16  # numbers in a token's vector
activation = getattr(F, args.activation)


def feed_forward(x, up, down, activation):
    """Expand, bend, compress."""
    return activation(x @ up) @ down  # (…, D) -> (…, hidden) -> (…, D)


def linear(x):
    """No activation: the numbers pass as they are."""
    return x


# --8<-- [end:setup]

# --8<-- [start:rank]
x = torch.randn(500, D, dtype=torch.float64)  # 500 tokens
up = torch.randn(D, 4 * D, dtype=torch.float64)  # expand: each column makes one feature
down = torch.randn(4 * D, D, dtype=torch.float64)  # compress
merged = up @ down  # (D, D): one matrix
gap = (feed_forward(x, up, down, linear) - x @ merged).abs().max().item()
print(f"no activation: two matrices and their product differ by {gap:.0e}")

rank = {
    name: torch.linalg.matrix_rank(bend(x @ up)).item()
    for name, bend in {"none": linear, args.activation: activation}.items()
}
for name, number in rank.items():
    print(f"activation {name:5} {number} of {4 * D} features are independent over 500 tokens")
# --8<-- [end:rank]

# --8<-- [start:facts]
RATES, SEEDS, STEPS = (1e-2, 3e-2), 3, args.steps  # learning rates, times of trying, updates
generator = torch.Generator().manual_seed(args.seed)
questions = torch.randn(SEEDS, 1, args.facts, D, generator=generator)  # a dimension for the learning rates
answers = torch.randn(SEEDS, 1, args.facts, D, generator=generator)


def store(hidden, layers=1, activation=activation):
    """Train layers of this hidden width; gives the share of facts that comes back, and how far each answer is off."""
    weights = []
    for _ in range(layers):
        for rows, columns in ((D, hidden), (hidden, D)):
            drawn = torch.randn(SEEDS, 1, rows, columns, generator=generator) / rows**0.5
            weights.append(drawn.repeat(1, len(RATES), 1, 1).requires_grad_())  # same start for both rates

    def answer():
        y = feed_forward(questions, weights[0], weights[1], activation)
        for up, down in zip(weights[2::2], weights[3::2], strict=True):  # further layers add to the stream
            y = y + feed_forward(y, up, down, activation)
        return y  # (SEEDS, RATES, facts, D)

    moments = [[torch.zeros_like(w), torch.zeros_like(w)] for w in weights]
    for step in range(STEPS):
        loss = (answer() - answers).square().mean((-1, -2)).sum()  # every seed and rate learns for itself
        with torch.no_grad():
            rate = torch.tensor(RATES)[:, None, None] * min(1, 2 - 2 * step / STEPS)
            for w, g, (m, v) in zip(weights, torch.autograd.grad(loss, weights), moments, strict=True):
                m.lerp_(g, 0.1)  # Adam, written out so that all seeds and rates run side by side
                v.lerp_(g * g, 0.01)
                w -= rate * m / (1 - 0.9 ** (step + 1)) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
    with torch.no_grad():
        y = answer()
    nearest = torch.cdist(y, answers).argmin(-1)  # (SEEDS, RATES, facts)
    right = (nearest == torch.arange(args.facts)).float().mean(-1)  # (SEEDS, RATES)
    off = (y - answers).norm(dim=-1) / answers.norm(dim=-1)  # (SEEDS, RATES, facts), in lengths of the answer
    better = right.mean(0).argmax()  # the better learning rate
    return right[:, better], off[:, better]  # (SEEDS,), (SEEDS, facts)


stored = {ratio: store(int(ratio * D)) for ratio in (0.25, 1, 2, 4)}
kept = {ratio: share for ratio, (share, _) in stored.items()}
off = {ratio: miss.quantile(0.05).item() for ratio, (_, miss) in stored.items()}  # 19 of 20 are off by more
kept_linear, _ = store(4 * D, activation=linear)
kept_stack, _ = store(D, layers=4)
print(f"{args.facts} facts, share that comes back (lowest and highest of {SEEDS} seeds)")
arms = {f"hidden width {int(ratio * D):2}": found for ratio, found in kept.items()}
arms |= {"hidden width 64, no activation": kept_linear, "four layers of width 16": kept_stack}
for name, found in arms.items():
    print(f"{name:31} {found.mean():5.1%}   ({found.min():.1%} to {found.max():.1%})")
print(f"hidden width {D}: 19 of 20 answers are off by {off[1]:.0%} of their length or more")
# --8<-- [end:facts]

# --8<-- [start:facts_figure]
fig, ax = plt.subplots()
ratios = list(kept)
ax.plot(ratios, [kept[r].mean() for r in ratios], color=plots.BLUE, label="one layer")
for ratio in ratios:
    ax.plot([ratio] * SEEDS, kept[ratio], "o", color=plots.BLUE, markersize=4)
ax.plot([4] * SEEDS, kept_linear, "x", color=plots.ORANGE)
ax.text(3.9, 0.06, "no activation", color=plots.ORANGE, ha="right")
ax.plot([1] * SEEDS, kept_stack, "s", color=plots.GREEN, markersize=5)
ax.text(1.1, kept_stack.mean(), "four layers\nof ratio 1", color=plots.GREEN, va="center")
ax.set(
    xlabel="hidden width / width of the vector", ylabel="share of facts that come back", ylim=(-0.03, 1.05)
)
plots.label_lines(ax)
experiment.show("facts")
# --8<-- [end:facts_figure]

# --8<-- [start:positions]
layer = FeedForward(ModelConfig(hidden_size=D, intermediate_size=3 * D, num_attention_heads=1))
sentence = torch.randn(1, 6, D, generator=generator)  # (B, T, D), six tokens
changed = sentence.clone()
changed[0, 2] = torch.randn(D, generator=generator)  # another third token
with torch.no_grad():
    moved = (layer(changed) - layer(sentence)).abs().amax(-1)[0]  # (T,)
print("change of each token's output:", "  ".join(f"{number:.3f}" for number in moved))
# --8<-- [end:positions]

# --8<-- [start:claims]
experiment.claim("without activation two matrices are one", gap < 1e-9)
experiment.claim("without activation, 16 independent features of 64", rank["none"] == D)
experiment.claim("with an activation, all 64 features are independent", rank[args.activation] == 4 * D)
experiment.claim("change a token: no other output moves at all", moved[2] > 0 and moved.sum() == moved[2])
experiment.claim("without activation nearly nothing comes back", kept_linear.max() < 0.1)
means = [found.mean() for found in kept.values()]
experiment.claim("a wider layer keeps more facts", means == sorted(means))
if args.facts == 256 and args.activation == "relu" and args.steps >= 250:
    experiment.claim("ratio 1 keeps less than 15 % of 256 facts", kept[1].max() < 0.15)
    experiment.claim("ratio 4 keeps more than 75 %", kept[4].min() > 0.75)
    experiment.claim(
        "four layers of ratio 1, as many weights, keep five times what one keeps",
        kept_stack.min() > 5 * kept[1].max(),
    )
    experiment.claim("at ratio 1, 19 of 20 answers are off by more than half their length", off[1] > 0.5)
# --8<-- [end:claims]
