"""How wide should a branch start? Draw deep models with three widths, measure their streams, and train them.

The matrices that write into the stream are drawn as wide as all others, narrower by the square root of the number
of branches (as the package does), or as zeros. All other weights, the data and their order are the same.

Run: python snippets/residual_connections/exp4_scaled_init.py [--hidden 256] [--seed 0]
Tier: visualization · extra · about 5 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch

from minimind.config import ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model import MiniMind
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, hidden=128)
plots.style()
ARMS = ("alike", "scaled", "zero")


def build(hidden, layers, arm, seed, vocabulary=300):
    """A model whose writing matrices are drawn as `arm` says; everything else is equal in all arms."""
    torch.manual_seed(seed)
    model = MiniMind(ModelConfig(hidden_size=hidden, num_hidden_layers=layers, vocab_size=vocabulary))
    times = {"alike": math.sqrt(2 * layers), "scaled": 1.0, "zero": 0.0}[arm]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight *= times  # MiniMind has drawn them with 0.02 / sqrt(2 * layers)
    return model


# --8<-- [end:setup]


# --8<-- [start:widths]
@torch.no_grad()
def width_at_the_end(model, ids):
    """RMS of the stream after the last block, before the final norm."""
    ends = []
    hook = model.model.norm.register_forward_hook(lambda module, inputs, output: ends.append(inputs[0]))
    model(ids)
    hook.remove()
    return ends[0].square().mean().sqrt().item()


DEPTHS = (2, 4, 8, 16, 32, 64)
ids = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(args.seed))
widths = {
    arm: [width_at_the_end(build(args.hidden, layers, arm, args.seed), ids) for layers in DEPTHS]
    for arm in ("alike", "scaled")
}
print("RMS of the stream after the last layer\nlayers", "".join(f"{layers:8}" for layers in DEPTHS))
for arm, row in widths.items():
    print(f"{arm:6}", "".join(f"{value:8.3f}" for value in row))
# --8<-- [end:widths]

# --8<-- [start:widths_figure]
fig, ax = plt.subplots()
for arm, colour in (("alike", plots.ORANGE), ("scaled", plots.RESIDUAL)):
    ax.loglog(DEPTHS, widths[arm], "o-", markersize=4, color=colour, label=arm)
ax.axhline(0.02, color=plots.FLOOR, linestyle=":")
ax.text(DEPTHS[-1], 0.0185, "embedding: 0.02", color=plots.FLOOR, ha="right", va="top")
ax.set_xticks(DEPTHS, map(str, DEPTHS))
ax.set_yticks((0.02, 0.05, 0.1, 0.2, 0.4), ("0.02", "0.05", "0.1", "0.2", "0.4"))
ax.minorticks_off()
ax.set(xlabel="layers of the model", ylabel="RMS of the stream at the end", ylim=(0.014, None))
plots.label_lines(ax)
experiment.show("width_by_depth")
# --8<-- [end:widths_figure]

# --8<-- [start:first_step]
moves = {}  # arm -> size of the gradient at step one, for a matrix that reads the stream and one that writes
for arm in ARMS:
    model = build(64, 4, arm, args.seed)
    model(ids, labels=ids).loss.backward()
    for name in ("up_proj", "down_proj"):
        moves[arm, name] = getattr(model.model.layers[0].mlp, name).weight.grad.norm().item()
    sizes = f"up_proj {moves[arm, 'up_proj']:.4f}, down_proj {moves[arm, 'down_proj']:.4f}"
    print(f"{arm:6} gradient at step one: {sizes}")
# --8<-- [end:first_step]

# --8<-- [start:training]
HIDDEN, LAYERS, BATCH, LENGTH = 48, 12, 8, 32
SHORT, LONG = 120, 600  # training steps
RATES, SEEDS = (1e-3, 3e-3, 1e-2), (0, 1, 2)


def token_rows():
    """Rows of the embedded world's training text, and of text that is held out: (N, 33) token ids each."""
    text = worlds.read_world(training=1500, held_out=100, vocab_size=300)
    return tuple(
        worlds.rows([ids[:-1] for ids in documents], LENGTH + 1)  # without end tokens
        for documents in (text.training, text.held_out)
    )


def train(arm, rate, seed, steps, rows, held_out):
    """The loss in each ten steps of training, and at last on held-out text."""
    model, losses = build(HIDDEN, LAYERS, arm, seed), []

    def objective(model, batch):
        loss = worlds.mean_loss(model, batch)
        losses.append(loss.sum.item())
        return loss

    def rate_at(step):  # up over 15 steps, and all the way down to zero
        return rate * min(1, (step + 1) / 15) * (1 - step / steps)

    # The schedule multiplies the optimizer's rate, which is 1: so it gives the rate itself.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95))
    scheduled = worlds.Scheduled(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate_at))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    batches = worlds.Chosen(rows, order[: steps * BATCH].view(steps, BATCH))  # no row comes twice
    settings = TrainingSettings(precision="fp32", threads=torch.get_num_threads())
    fit(model, batches, objective, settings, optimizer=scheduled, quiet=True)
    with torch.no_grad():
        final = model(held_out[:128], labels=held_out[:128]).loss.item()
    return {"curve": torch.tensor(losses).view(-1, 10).mean(dim=1).tolist(), "held out": final}


def sweep():
    """Three learning rates for each arm, in short trainings; then long ones at the best rate of each."""
    texts = token_rows()
    short = {
        arm: {str(rate): [train(arm, rate, seed, SHORT, *texts) for seed in SEEDS] for rate in RATES}
        for arm in ARMS
    }
    best = {arm: min(by_rate, key=lambda rate: mean_loss(by_rate[rate])) for arm, by_rate in short.items()}
    long = {
        arm: [train(arm, float(rate), seed, LONG, *texts) for seed in SEEDS] for arm, rate in best.items()
    }
    return {"short": short, "best": best, "long": long}


def mean_loss(runs):
    """Held-out loss, averaged over the seeds."""
    return sum(one["held out"] for one in runs) / len(runs)


trained = experiment.recorded(
    "residual_connections/exp4_scaled_init",
    sweep,
    cell=lambda: {"short": {"scaled": {"0.003": [train("scaled", 0.003, 0, SHORT, *token_rows())]}}},
)
# --8<-- [end:training]

# --8<-- [start:training_figure]
best = trained["best"]
quick = {arm: mean_loss(trained["short"][arm][best[arm]]) for arm in ARMS}
final = {arm: mean_loss(trained["long"][arm]) for arm in ARMS}
print(f"held-out loss, {LAYERS} layers: mean of three seeds (and each)")
for arm in ARMS:
    rows = {(SHORT, rate): runs for rate, runs in trained["short"][arm].items()}
    for (steps, rate), runs in (rows | {(LONG, best[arm]): trained["long"][arm]}).items():
        each = ", ".join(f"{one['held out']:.3f}" for one in runs)
        mark = "   <- best of three rates" if steps == SHORT and rate == best[arm] else ""
        print(f"{arm:6} {steps} steps, rate {rate:6} {mean_loss(runs):6.3f}  ({each}){mark}")
fig, ax = plt.subplots()
for arm, colour in (("alike", plots.ORANGE), ("scaled", plots.RESIDUAL), ("zero", plots.GREEN)):
    curves = torch.tensor([one["curve"] for one in trained["long"][arm]])
    steps = 10 * torch.arange(1, curves.shape[1] + 1) - 5
    ax.fill_between(steps, curves.amin(0), curves.amax(0), color=colour, alpha=0.15, linewidth=0)
    ax.plot(steps, curves.mean(0), color=colour, label=arm)
ax.set(xlabel="training step", ylabel="loss (nats per token)")
plots.label_lines(ax)
experiment.show("training_by_width")
# --8<-- [end:training_figure]

# --8<-- [start:claims]
if args.hidden >= 128:
    experiment.claim("alike: from 2 to 64 layers the end of the stream grows more than fivefold",
                     widths["alike"][-1] > 5 * widths["alike"][0])  # fmt: skip
experiment.claim("scaled: whatever the depth, it stays within a factor of two",
                 max(widths["scaled"]) < 2 * min(widths["scaled"]))  # fmt: skip
experiment.claim("zero: at step one only the matrices that write get a gradient",
                 moves["zero", "up_proj"] == 0 < moves["zero", "down_proj"])  # fmt: skip
experiment.claim("the best of the three rates is the middle one in all arms", set(best.values()) == {"0.003"})
early = {arm: [one["held out"] for one in trained["short"][arm][best[arm]]] for arm in ARMS}
late = {arm: [one["held out"] for one in trained["long"][arm]] for arm in ARMS}
spread = max(max(late[arm]) - min(late[arm]) for arm in ("alike", "scaled"))
experiment.claim("after the short training scaled is ahead of alike with every seed",
                 all(s < a for s, a in zip(early["scaled"], early["alike"], strict=True)))  # fmt: skip
experiment.claim("after the long one their means differ by less than a quarter of the spread over seeds",
                 abs(final["alike"] - final["scaled"]) < spread / 4)  # fmt: skip
experiment.claim("zero ends behind scaled with every seed",
                 all(z > s for z, s in zip(late["zero"], late["scaled"], strict=True)))  # fmt: skip
# --8<-- [end:claims]
