"""What does the gate add? ReLU, GELU and SwiGLU with equally many weights, each at its best learning rate.

First the curves themselves. Then the record of 64 small language models. At the end the gates of a trained model.

Run: python snippets/feed_forward/exp2_activations.py [--beta 1] [--model shipped/pretrain] [--seed 0]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math
from functools import cache
from itertools import islice

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from minimind import ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model import MiniMind
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, model="pretrain", beta=1.0)
plots.style()
# --8<-- [end:setup]

# --8<-- [start:curves]
z = torch.linspace(-6, 3, 9001)
silu = z * (args.beta * z).sigmoid()  # with beta = 1
curves = {"ReLU": F.relu(z), "GELU": F.gelu(z), "SiLU": silu, "sigmoid": z.sigmoid()}
for name, curve in curves.items():
    at = curve.argmin()
    print(f"{name:8} lowest {curve[at]:6.3f} at {z[at]:5.2f}, at 3 it gives {curve[-1]:.2f}")
# --8<-- [end:curves]

# --8<-- [start:curves_figure]
fig, ax = plt.subplots(figsize=(5.6, 2.9))
colours = (plots.SLATE, plots.GREEN, plots.BLUE, plots.MUTED)
for (name, curve), colour in zip(curves.items(), colours, strict=True):
    ax.plot(z, curve, color=colour, label=name, linestyle=":" if name == "sigmoid" else "-")
ax.axhline(0, color=plots.MUTED, linewidth=0.6)
ax.set(xlabel="what goes in", ylabel="what comes out", ylim=(-0.5, 3.1))
plots.label_lines(ax)
experiment.show("curves")
# --8<-- [end:curves_figure]

# --8<-- [start:arms]
D = 64  # numbers in a token's vector


class TwoMatrices(nn.Module):
    """Expand four times, bend, compress."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation
        self.up_proj = nn.Linear(D, 4 * D, bias=False)
        self.down_proj = nn.Linear(4 * D, D, bias=False)

    def forward(self, x):
        return self.down_proj(self.activation(self.up_proj(x)))


class Gated(nn.Module):
    """Three matrices, so 8/3 in place of 4: the weights are as many (171 is 8/3 of 64, rounded up)."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation
        self.gate_proj = nn.Linear(D, 171, bias=False)
        self.up_proj = nn.Linear(D, 171, bias=False)
        self.down_proj = nn.Linear(171, D, bias=False)

    def forward(self, x):
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


ARMS = {
    "ReLU": lambda: TwoMatrices(F.relu),
    "GELU": lambda: TwoMatrices(F.gelu),
    "SwiGLU": lambda: Gated(F.silu),
    "SwiGLU without SiLU": lambda: Gated(nn.Identity()),
}
sizes = {arm: sum(w.numel() for w in make().parameters()) for arm, make in ARMS.items()}
print("weights of one layer:", sizes)
# --8<-- [end:arms]

# --8<-- [start:training]
RATES, TRIAL_SEEDS, SEEDS = (0.005, 0.01, 0.02, 0.04), (100, 101), tuple(range(10, 18))
STEPS, T = 300, 64  # updates, tokens a row


@cache
def text():
    """Token ids to learn from, held-out rows (N, T) of them, and the floor in nats a token."""
    world = worlds.read_world(training=5000, held_out=200, vocab_size=512)
    predicted = sum(len(ids) - 1 for ids in world.held_out)  # all but each document's start token
    floor = sum(document.nats for document in world.documents) / predicted
    return worlds.stream(world.training), worlds.rows(world.held_out, T), floor


def train(arm, rate, seed):
    """Train a model with one kind of feed-forward layer; its loss on the held-out rows."""
    tokens, unseen, _ = text()
    torch.manual_seed(seed)
    model = MiniMind(
        ModelConfig(
            hidden_size=D, num_attention_heads=4, num_key_value_heads=4, num_hidden_layers=2, vocab_size=512,
            rope_theta=1e4,
        )
    )  # fmt: skip
    for layer in model.model.layers:
        layer.mlp = ARMS[arm]()
    model.init_weights()
    batches = worlds.Slices(tokens, STEPS, 16, T, seed)  # the same slices for every arm
    settings = TrainingSettings(
        learning_rate=rate, warmup=20 / STEPS, clip_norm=math.inf, precision="fp32",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    fit(model, batches, worlds.mean_loss, settings, quiet=True)
    with torch.no_grad():
        return model(unseen, labels=unseen).loss.item()


def measure():
    """Find each arm's best learning rate, then measure it with fresh seeds; gives held-out losses and the floor."""
    trials = {arm: [[train(arm, rate, seed) for seed in TRIAL_SEEDS] for rate in RATES] for arm in ARMS}
    rates = {arm: RATES[torch.tensor(table).mean(-1).argmin()] for arm, table in trials.items()}
    losses = {arm: [train(arm, rate, seed) for seed in SEEDS] for arm, rate in rates.items()}
    return {"trials": trials, "rates": rates, "losses": losses, "floor": text()[2]}


found = experiment.recorded(
    "feed_forward/exp2_activations",
    measure,
    cell=lambda: {"trials": {"SwiGLU": [[train("SwiGLU", RATES[0], 100)]]}, "floor": text()[2]},
)
# --8<-- [end:training]

# --8<-- [start:result]
losses = {arm: torch.tensor(values) for arm, values in found["losses"].items()}  # (SEEDS,) each
print(
    "held-out loss in nats: mean of two seeds for each learning rate; then eight fresh seeds at the best one"
)
print(f"{'':20}" + "".join(f"{rate:>7}" for rate in RATES) + "     mean   lowest to highest")
for arm, loss in losses.items():
    tried = "".join(f"{sum(pair) / len(pair):7.3f}" for pair in found["trials"][arm])
    print(f"{arm:20}{tried}    {loss.mean():.3f}   {loss.min():.3f} to {loss.max():.3f}")


def lead(arm, over):
    """By how many nats the mean of one arm is below another's, and the standard error of that."""
    pair = losses[over], losses[arm]
    error = sum(loss.var() / len(loss) for loss in pair) ** 0.5
    return (pair[0].mean() - pair[1].mean()).item(), error.item()


gain, uncertain = lead("SwiGLU", over="ReLU")
smooth, over_gelu = lead("GELU", over="ReLU")[0], lead("SwiGLU", over="GELU")
without = lead("SwiGLU without SiLU", over="SwiGLU")
for what, (by, error) in {
    "SwiGLU below ReLU": (gain, uncertain),
    "SwiGLU below GELU": over_gelu,
    "SwiGLU without SiLU below SwiGLU": without,
}.items():
    print(f"{what}: by {by:.3f} nats, with a standard error of {error:.3f}")
# --8<-- [end:result]

# --8<-- [start:losses_figure]
fig, ax = plt.subplots(figsize=(5.6, 2.6))
for row, loss in enumerate(losses.values()):
    ax.plot(loss, [row] * len(loss), "o", color=plots.PALETTE[row], markersize=6)
    ax.plot(loss.mean(), row, "|", color=plots.PALETTE[row], markersize=18)
ax.set_yticks(range(len(losses)), list(losses))
ax.invert_yaxis()
ax.set(
    xlabel="held-out loss, nats per token, each variant at its best learning rate",
    ylim=(len(losses) - 0.5, -0.5),
)
experiment.show("losses")
# --8<-- [end:losses_figure]

# --8<-- [start:gates]
model, tokenizer, world = experiment.load_model(args.model)
gates = []
for layer in model.model.layers:
    layer.mlp.gate_proj.register_forward_hook(lambda module, inputs, z: gates.append(F.silu(z).flatten()))
with torch.no_grad():
    for document in islice(world.documents("validation", start=1000 * args.seed), 20):
        model(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(document.text)]]))
gates = torch.cat(gates)
above, negative = (gates > 1).float().mean().item(), (gates < 0).float().mean().item()
print(f"{len(gates):,} gates of the trained model: from {gates.min():.3f} to {gates.max():.1f}")
print(f"{negative:.0%} are below 0, {above:.0%} above 1")
# --8<-- [end:gates]

# --8<-- [start:claims]
if args.beta == 1:
    experiment.claim("SiLU never falls below -0.28", -0.279 < curves["SiLU"].min() < -0.278)
experiment.claim(
    "the arms have equally many weights, to a quarter of a percent", sizes["SwiGLU"] < 1.0025 * sizes["ReLU"]
)
experiment.claim(
    "every run with SwiGLU is below every run with ReLU", losses["SwiGLU"].max() < losses["ReLU"].min()
)
ahead = {arm: lead(arm, over="ReLU")[0] for arm in ARMS if arm != "ReLU"}
experiment.claim(
    "in the mean GELU and both gates are below ReLU, by a few hundredths of a nat",
    min(ahead.values()) > 0.02 and max(ahead.values()) < 0.08,
)
experiment.claim("GELU, without a gate, has more than half of SwiGLU's lead over ReLU", smooth > gain / 2)
experiment.claim(
    "the runs with SwiGLU and GELU overlap, and the means are less than three standard errors apart",
    losses["SwiGLU"].max() > losses["GELU"].min() and abs(over_gelu[0]) < 3 * over_gelu[1],
)
experiment.claim("a gate without SiLU does no worse than one with it", without[0] > -2 * without[1])
experiment.claim_of_model(
    "a trained model has gates below 0 and far above 1", gates.min() < -0.27 and gates.max() > 3
)
experiment.claim_of_model("more than half of the gates are below 0", negative > 0.5)
# --8<-- [end:claims]
