"""What does it cost? Count the weights and the FLOPs of attention and feed-forward layers, and check the counts.

A FLOP is one addition or one multiplication of numbers; a multiply-add is two. The second part reads the record
of 36 small models: the same number of weights, spent on a wider vector or on a wider hidden layer.

Run: python snippets/feed_forward/exp5_counting.py [--preset small] [--context 1024]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from minimind import ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model import MiniMind
from minimind.model.fast import speed_up
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, preset="small", context=1024)
plots.style()
config = ModelConfig.preset(args.preset)
model = MiniMind(config)
# --8<-- [end:setup]

# --8<-- [start:weights]
D, hidden = config.hidden_size, config.intermediate_size
query_width = config.num_attention_heads * config.head_dim
key_width = config.num_key_value_heads * config.head_dim
attention_weights = 2 * D * query_width + 2 * D * key_width  # queries and output, keys and values
ffn_weights = 3 * D * hidden  # gate, up, down


def matrices_of(module):
    return sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)


block = model.model.layers[0]
blocks = config.num_hidden_layers * (attention_weights + ffn_weights)
share = config.num_hidden_layers * ffn_weights / model.num_parameters()
print(f"one block: attention {attention_weights:,} weights, FFN {ffn_weights:,}")
print(
    f"hidden width {hidden} = {hidden / D:.2f} times the vector's {D}; with two matrices it would be 4 times"
)
print(f"{config.num_hidden_layers} blocks {blocks:,} of the model's {model.num_parameters():,} parameters")
print(f"the FFNs hold {share:.0%} of all parameters")
# --8<-- [end:weights]

# --8<-- [start:flops]
T = args.context
flops = {  # of one block, for one token that sees T keys; every multiply-add counts as two
    "FFN": 2 * ffn_weights,
    "attention, projections": 2 * attention_weights,
    "attention, scores and mixing": 2 * 2 * T * query_width,  # query times key, weight times value
}


def counted(part, path):
    """What PyTorch's counter says of one part of one block, a token, with one way to compute attention."""
    speed_up(model, path)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        block(torch.zeros(1, T, D))
    return sum(counter.get_flop_counts()[f"TransformerBlock.{part}"].values()) / T


counts = {path: {part: counted(part, path) for part in ("mlp", "self_attn")} for path in ("manual", "sdpa")}
by_hand = flops["attention, projections"] + flops["attention, scores and mixing"]
for name, number in flops.items():
    print(f"{name:30} {number:12,} FLOPs a token")
print(f"counter, attention written out  {counts['manual']['self_attn']:12,.0f}   by hand {by_hand:,}")
print(f"counter, PyTorch's own kernel   {counts['sdpa']['self_attn']:12,.0f}   on this machine")
# --8<-- [end:flops]

# --8<-- [start:flops_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.2))
contexts = torch.arange(0, 8193, 256)
equal = 2 * ffn_weights / (4 * query_width)  # keys seen at which mixing costs what the FFN costs
ax.plot(contexts, [2 * ffn_weights / 1e6] * len(contexts), color=plots.GREEN, label="FFN")
ax.plot(
    contexts,
    [2 * attention_weights / 1e6] * len(contexts),
    color=plots.QUERY,
    label="attention,\nprojections",
)
ax.plot(contexts, 4 * contexts * query_width / 1e6, color=plots.KEY, label="attention,\nscores and\nmixing")
ax.axvline(equal, color=plots.FLOOR, linestyle=":", linewidth=1.4)
ax.set(
    xlabel="keys that a token sees", ylabel="million FLOPs a token and block", xlim=(0, 8192), ylim=(0, None)
)
plots.label_lines(ax, gap=30)
experiment.show("flops")
# --8<-- [end:flops_figure]

# --8<-- [start:sweep]
SHAPES = {32: 470, 48: 278, 64: 171, 96: 43}  # width -> hidden width: 4 D² + 3 D F is the same, about 49,200
RATES, SEEDS, STEPS, ROW = (0.01, 0.02, 0.04), (0, 1, 2), 160, 64


def measure(widths=SHAPES, rates=RATES, seeds=SEEDS):
    """Train a model for each shape, learning rate and seed; give the held-out losses and the floor, in nats."""
    text = worlds.read_world(training=5000, held_out=200, vocab_size=512)
    tokens, unseen = worlds.stream(text.training), worlds.rows(text.held_out, ROW)
    predicted = sum(len(ids) - 1 for ids in text.held_out)  # all but each document's start token
    floor = sum(document.nats for document in text.documents) / predicted

    def train(width, rate, seed):
        torch.manual_seed(seed)
        shape = ModelConfig(
            hidden_size=width, intermediate_size=SHAPES[width], num_attention_heads=width // 16,
            num_key_value_heads=width // 16, num_hidden_layers=2, vocab_size=512, rope_theta=1e4,
        )  # fmt: skip
        model = MiniMind(shape)
        batches = worlds.Slices(tokens, STEPS, 16, ROW, seed)  # the same slices for every shape
        settings = TrainingSettings(
            learning_rate=rate, warmup=20 / STEPS, clip_norm=math.inf, precision="fp32",
            threads=torch.get_num_threads(),
        )  # fmt: skip
        fit(model, batches, worlds.mean_loss, settings, quiet=True)
        with torch.no_grad():
            return model(unseen, labels=unseen).loss.item()

    losses = {
        width: {rate: [train(width, rate, seed) for seed in seeds] for rate in rates} for width in widths
    }
    return {"losses": losses, "floor": floor}


found = experiment.recorded(
    "feed_forward/exp5_counting", measure, cell=lambda: measure([32, 64], RATES[:1], SEEDS[:1])
)
best = {}
for width, hidden_width in SHAPES.items():
    table = torch.tensor([found["losses"][str(width)][str(rate)] for rate in RATES])  # (rates, seeds)
    best[width] = table[table.mean(-1).argmin()]
    print(
        f"ratio {hidden_width / width:5.2f} (vector {width}, hidden {hidden_width:3}): loss {best[width].mean():.3f}"
        f"   ({best[width].min():.3f} to {best[width].max():.3f}), rate {RATES[table.mean(-1).argmin()]}"
    )
# --8<-- [end:sweep]

# --8<-- [start:sweep_figure]
fig, ax = plt.subplots(figsize=(5.6, 2.9))
ratios = [hidden_width / width for width, hidden_width in SHAPES.items()]
ax.plot(ratios, [loss.mean() for loss in best.values()], color=plots.GREEN)
for ratio, loss in zip(ratios, best.values(), strict=True):
    ax.plot([ratio] * len(loss), loss, "o", color=plots.GREEN, markersize=4)
ax.axvline(8 / 3, color=plots.FLOOR, linestyle=":", linewidth=1.4)
ax.set_xscale("log", base=2)
ax.set_xticks(ratios, [f"{ratio:.1f}" for ratio in ratios])
ax.set(
    xlabel="hidden width / width of the vector, with as many weights in the blocks",
    ylabel="held-out loss, nats",
)
experiment.show("sweep")
# --8<-- [end:sweep_figure]

# --8<-- [start:claims]
experiment.claim(
    "the weights counted by hand are the block's",
    (attention_weights, ffn_weights) == (matrices_of(block.self_attn), matrices_of(block.mlp)),
)
experiment.claim("the FLOPs counted by hand are the counter's", by_hand == counts["manual"]["self_attn"])
experiment.claim(
    "a multiply-add is two FLOPs: the FFN's are twice its weights", counts["manual"]["mlp"] == 2 * ffn_weights
)
narrow, *wide = best.values()  # the first shape has a vector of 32
experiment.claim(
    "from half the vector's width to six times it, the means lie within a tenth of a nat",
    max(loss.mean() for loss in wide) - min(loss.mean() for loss in wide) < 0.1,
)
experiment.claim(
    "fifteen times, with a vector of 32, is worse in every run",
    narrow.min() > max(loss.max() for loss in wide),
)
# --8<-- [end:claims]
