"""How wide should a branch start? Draw deep models with three widths, measure their streams, and train them.

The matrices that write into the stream are drawn as wide as all others, narrower by the square root of the number
of branches (as the package does), or as zeros. All other weights, the data and their order are the same.

Run: python snippets/residual_connections/exp4_scaled_init.py [--hidden 256] [--seed 0]
Tier: visualization · extra · about 5 s
"""

# --8<-- [start:setup]
import math
from itertools import islice

import matplotlib.pyplot as plt
import torch

from minimind import experiment, plots
from minimind.config import ModelConfig
from minimind.data.world import World
from minimind.model import MiniMind
from minimind.tokenizer import train_tokenizer

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
ax.minorticks_off()
ax.set(xlabel="layers of the model", ylabel="RMS of the stream at the end", ylim=(0.014, None))
plots.label_lines(ax)
experiment.show("width_by_depth")
# --8<-- [end:widths_figure]

# --8<-- [start:training]
LAYERS, STEPS, BATCH, LENGTH = 12, 120, 8, 64
RATES, SEEDS = (1e-3, 3e-3, 1e-2), (0, 1, 2)


def token_rows():
    """Rows of the embedded world's training text, and of text that is held out: (N, 65) token ids each."""
    world = World(0)
    texts = [one.text for one in islice(world.documents("train"), 3000)]
    tokenizer = train_tokenizer(texts[:1000], 300)

    def rows(texts):
        stream = [id for text in texts for id in [tokenizer.bos_token_id, *tokenizer.encode(text)]]
        count = len(stream) // (LENGTH + 1)
        return torch.tensor(stream[: count * (LENGTH + 1)]).view(count, LENGTH + 1)

    return rows(texts), rows([one.text for one in islice(world.documents("validation"), 100)])


def train(arm, rate, seed, rows, held_out):
    """The loss in each ten steps of training, and at last on held-out text."""
    model = build(64, LAYERS, arm, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 15) * (1 - step / STEPS)
        batch = rows[order[step * BATCH : (step + 1) * BATCH]]
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        final = model(held_out[:128], labels=held_out[:128]).loss.item()
    return {"curve": torch.tensor(losses).view(-1, 10).mean(dim=1).tolist(), "held out": final}


def sweep():
    """Every arm at three learning rates over three seeds."""
    rows, held_out = token_rows()
    return {
        arm: {str(rate): [train(arm, rate, seed, rows, held_out) for seed in SEEDS] for rate in RATES}
        for arm in ARMS
    }


trained = experiment.recorded("residual_connections/exp4_scaled_init", sweep)
# --8<-- [end:training]

# --8<-- [start:training_figure]
mean = lambda values: sum(values) / len(values)  # noqa: E731
best = {  # arm -> the learning rate with the lowest held-out loss, on average over the seeds
    arm: min(by_rate, key=lambda rate: mean([one["held out"] for one in by_rate[rate]]))
    for arm, by_rate in trained.items()
}
final = {arm: [one["held out"] for one in trained[arm][rate]] for arm, rate in best.items()}
print(f"held-out loss after {STEPS} steps, {LAYERS} layers: mean of three seeds (and each)")
for arm, by_rate in trained.items():
    for rate, runs in by_rate.items():
        losses = [one["held out"] for one in runs]
        mark = "   <- best" if rate == best[arm] else ""
        print(f"{arm:6} rate {rate:6} {mean(losses):6.3f}  ({', '.join(f'{loss:.3f}' for loss in losses)}){mark}")
fig, ax = plt.subplots()
for arm, colour in (("alike", plots.ORANGE), ("scaled", plots.RESIDUAL), ("zero", plots.GREEN)):
    curves = torch.tensor([one["curve"] for one in trained[arm][best[arm]]])
    steps = 10 * torch.arange(1, curves.shape[1] + 1) - 5
    ax.fill_between(steps, curves.amin(0), curves.amax(0), color=colour, alpha=0.15, linewidth=0)
    ax.plot(steps, curves.mean(0), color=colour, label=arm)
ax.set(xlabel="training step", ylabel="loss (nats per token)")
plots.label_lines(ax)
experiment.show("training_by_width")
# --8<-- [end:training_figure]

# --8<-- [start:claims]
experiment.claim("alike: from 2 to 64 layers the stream's end grows more than fivefold", widths["alike"][-1] > 5 * widths["alike"][0])
experiment.claim("scaled: it stays within a factor of two", max(widths["scaled"]) < 2 * min(widths["scaled"]))
# --8<-- [end:claims]
