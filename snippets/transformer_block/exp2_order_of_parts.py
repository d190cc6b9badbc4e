"""Does the order matter? Pre-norm, post-norm, parallel and sandwich blocks, from the same parts.

Live: what each order makes of the stream before any training. The record: four orders learn the embedded world,
each at its own best learning rate, with three seeds; and the sandwich once more, with small steps at the start.

Run: python snippets/transformer_block/exp2_order_of_parts.py [--depth 12] [--seed 0]
Tier: training · extra · about 2 s
"""

# --8<-- [start:setup]
import math
from functools import cache

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from minimind.config import ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model.attention import Attention
from minimind.model.feedforward import FeedForward
from minimind.model.norm import RMSNorm
from minimind.model.rope import rope_frequencies, rotation
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, depth=12)
plots.style()
ORDERS = ("pre", "post", "parallel", "sandwich")
SMALL = 0.2  # the RMS of what a fresh pre-norm branch adds; a normed one would add 1
BLOCKS, WIDTH, VOCABULARY, ROWS, STEPS = 4, 64, 512, 4, 200
RATES, SEEDS = (3e-3, 1e-2, 3e-2), (1, 2, 3)
config = ModelConfig(
    hidden_size=WIDTH, num_attention_heads=2, num_key_value_heads=1, vocab_size=VOCABULARY, rope_theta=1e4
)
# --8<-- [end:setup]


# --8<-- [start:orders]
class Block(nn.Module):
    """Attention and feed-forward layer of the package, in one of four orders."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.attention, self.feed_forward = Attention(config), FeedForward(config)
        self.norms = nn.ModuleList(RMSNorm(WIDTH) for _ in range(4 if "sandwich" in order else 2))
        if order == "small sandwich":
            nn.init.constant_(self.norms[2].weight, SMALL)
            nn.init.constant_(self.norms[3].weight, SMALL)

    def forward(self, x, table):
        norm, attention, feed_forward = self.norms, self.attention, self.feed_forward
        if self.order == "pre":  # each branch reads a normed copy
            x = x + attention(norm[0](x), table)
            return x + feed_forward(norm[1](x))
        if self.order == "post":  # the sum itself is normed
            x = norm[0](x + attention(x, table))
            return norm[1](x + feed_forward(x))
        if self.order == "parallel":  # both branches read what enters the block
            return x + attention(norm[0](x), table) + feed_forward(norm[1](x))
        x = x + norm[2](attention(norm[0](x), table))  # sandwich: what a branch adds is normed too
        return x + norm[3](feed_forward(norm[1](x)))


# --8<-- [end:orders]


# --8<-- [start:model]
class Model(nn.Module):
    """Embedding, blocks, last norm, and the embedding again as output layer."""

    def __init__(self, order, blocks=BLOCKS):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block(order) for _ in range(blocks))
        self.norm = RMSNorm(WIDTH)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:  # 1 / root of the numbers read; what writes into the stream narrower
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(
                    weight, std=weight.shape[1] ** -0.5 / (math.sqrt(2 * blocks) if writes else 1)
                )
        cos, sin = rotation(torch.arange(256), rope_frequencies(config.head_dim, config.rope_theta))
        self.table = cos[:, None], sin[:, None]  # (256, 1, head_dim / 2)

    def forward(self, ids):
        return F.linear(self.norm(self.stream(ids)[-1]), self.embed.weight)  # (B, T, VOCABULARY)

    def stream(self, ids):
        """The stream after the embedding and after each block, each (B, T, WIDTH)."""
        table = tuple(one[: ids.shape[1]] for one in self.table)
        seen = [self.embed(ids)]
        for block in self.blocks:
            seen.append(block(seen[-1], table))
        return seen


# --8<-- [end:model]


# --8<-- [start:live]
ids = torch.randint(VOCABULARY, (8, 64))
size, kept = {}, {}  # order -> one number a block
for order in ORDERS:
    torch.manual_seed(args.seed)
    with torch.no_grad():
        seen = Model(order, args.depth).stream(ids)
    size[order] = [x.square().mean().sqrt().item() for x in seen]
    kept[order] = [F.cosine_similarity(x, seen[0], dim=-1).mean().item() for x in seen]
torch.manual_seed(args.seed)
model, added = Model("pre"), []  # what the branches of the record's pre-norm model add at the start
for block in model.blocks:
    for branch in (block.attention, block.feed_forward):
        branch.register_forward_hook(
            lambda module, given, y: added.append(y.detach().square().mean().sqrt().item())
        )
model.stream(ids)
fresh_branch = sum(added) / len(added)  # RMS
print(f"untrained, after {args.depth} blocks   RMS of the stream   cosine with the embedding")
for order in ORDERS:
    print(f"{order:30} {size[order][-1]:17.2f} {kept[order][-1]:27.2f}")
print(f"what a pre-norm branch of the record's model adds at the start: RMS {fresh_branch:.2f}")
# --8<-- [end:live]

# --8<-- [start:live_figure]
fig, ax = plt.subplots()
for order, colour in zip(ORDERS, (plots.RESIDUAL, plots.SLATE, plots.GREEN, plots.ORANGE), strict=True):
    ax.plot(kept[order], color=colour, label=order)
ax.set(xlabel="blocks passed", ylabel="cosine with the embedding", ylim=(0, 1.02))
plots.label_lines(ax)
experiment.show("what_is_kept")
# --8<-- [end:live_figure]


# --8<-- [start:train]
def loss_of(model, ids):
    """Mean surprise at the next token, in nats; no real token can look at the padding after the end."""
    return F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)


@cache
def text():
    """Rows to learn from and held-out rows, a document a row, with zeros to the longest; and the floor in nats."""
    world = worlds.read_world(training=3000, held_out=160, vocab_size=VOCABULARY, tokenizer_from=500)
    rows, held_out = worlds.padded(world.training), worlds.padded(world.held_out)
    return rows, held_out, sum(one.nats for one in world.documents) / (held_out[:, 1:] != 0).sum().item()


def objective(model, batch):
    """The same for `fit`."""
    return worlds.counted_once(loss_of(model, batch["input_ids"]))


def held_out_loss(order, rate, seed):
    """Train one model and let it read documents that it has not seen."""
    rows, held_out, _ = text()
    torch.manual_seed(seed)
    model = Model(order)
    numbers = torch.randint(len(rows), (STEPS, ROWS), generator=torch.Generator().manual_seed(seed))
    settings = TrainingSettings(
        optimizer="adamw", learning_rate=rate,
        warmup=1 / 10, decay=1 / 3,  # the rate rises over a tenth of the steps, and falls over the last third
        precision="fp32", threads=torch.get_num_threads(),
    )  # fmt: skip
    fit(model, worlds.Chosen(rows, numbers), objective, settings, quiet=True)
    with torch.no_grad():
        return loss_of(model, held_out).item()


def measure():
    """Every order with every rate; then the best rate of each with three seeds that chose nothing."""
    result = {"floor": text()[2], "parameters": {}, "sweep": {}, "losses": {}}
    for order in (*ORDERS, "small sandwich"):
        result["parameters"][order] = sum(weight.numel() for weight in Model(order).parameters())
        sweep = [held_out_loss(order, rate, 0) for rate in RATES]
        best = RATES[sweep.index(min(sweep))]
        result["sweep"][order] = sweep
        result["losses"][order] = [held_out_loss(order, best, seed) for seed in SEEDS]
        print(order, best, result["sweep"][order], result["losses"][order], flush=True)
    return result


# --8<-- [end:train]

# --8<-- [start:record]
found = experiment.recorded(
    "transformer_block/exp2_order_of_parts",
    measure,
    cell=lambda: {"floor": text()[2], "sweep": {"pre": [held_out_loss("pre", RATES[0], 0)]}},
)
mean = {order: sum(losses) / len(losses) for order, losses in found["losses"].items()}
apart = {  # by how much each order is above pre-norm, seed by seed: both read the same rows
    order: [one - pre for one, pre in zip(losses, found["losses"]["pre"], strict=True)]
    for order, losses in found["losses"].items()
}
best = {order: RATES[sweep.index(min(sweep))] for order, sweep in found["sweep"].items()}
print(f"held-out loss in nats a token; floor {found['floor']:.3f}")
print("order            parameters   best rate   mean of 3 seeds   above pre-norm, seed by seed")
for order in found["losses"]:
    each = "  ".join(f"{value:+.3f}" for value in apart[order])
    print(f"{order:15} {found['parameters'][order]:11,} {best[order]:11g} {mean[order]:17.3f}   {each}")
# --8<-- [end:record]

# --8<-- [start:seeds_figure]
shown = ["pre", "post", "parallel", "sandwich", "small sandwich"]
colours = dict(zip(shown, (plots.RESIDUAL, plots.SLATE, plots.GREEN, plots.ORANGE, plots.OCHRE), strict=True))
fig, ax = plt.subplots(figsize=(5.6, 2.8))
for row, order in enumerate(shown):
    ax.scatter(found["losses"][order], [-row] * len(SEEDS), color=colours[order], s=40, alpha=0.8)
ax.axvline(found["floor"], color=plots.FLOOR, linestyle=":")
ax.text(found["floor"] + 0.02, -4.35, "floor", color=plots.FLOOR)
ax.set_yticks([0, -1, -2, -3, -4], shown)
ax.set(xlabel="held-out loss (nats a token), one dot a seed", xlim=(0.45, 2.6), ylim=(-4.6, 0.6))
experiment.show("loss_by_order")
# --8<-- [end:seeds_figure]

# --8<-- [start:rates_figure]
fig, ax = plt.subplots()
for order in shown:
    ax.plot(RATES, found["sweep"][order], marker="o", color=colours[order], label=order)
ax.set_xscale("log")
ax.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
ax.minorticks_off()
ax.set(xlabel="learning rate", ylabel="held-out loss (nats a token)", ylim=(2, None))
plots.label_lines(ax)
experiment.show("loss_by_rate")
# --8<-- [end:rates_figure]

# --8<-- [start:claims]
spread = {order: max(losses) - min(losses) for order, losses in found["losses"].items()}
average = {order: sum(each) / len(each) for order, each in apart.items()}
beyond = {order: abs(average[order]) > max(spread[order], spread["pre"]) for order in apart if order != "pre"}
experiment.claim(
    "all models are above the floor", min(min(losses) for losses in found["losses"].values()) > found["floor"]
)
experiment.claim("no order was tuned to an end of the range of rates", set(best.values()) == {RATES[1]})
experiment.claim("post, parallel and small sandwich differ from pre-norm by less than the seeds of one order do",
                 not (beyond["post"] or beyond["parallel"] or beyond["small sandwich"]))  # fmt: skip
experiment.claim("post-norm is not behind in every seed", min(apart["post"]) < 0.01)
experiment.claim("the sandwich is worse by four times the spread of seeds",
                 average["sandwich"] > 4 * max(spread["sandwich"], spread["pre"]))  # fmt: skip
experiment.claim("at three times its best rate post-norm hardly learns, and pre-norm does",
                 found["sweep"]["post"][2] > 3.5 and found["sweep"]["pre"][2] < 2.5)  # fmt: skip
experiment.claim("a fresh branch of the record's pre-norm model adds about as much as the small sandwich's",
                 0.7 * SMALL < fresh_branch < 1.3 * SMALL)  # fmt: skip
experiment.claim(
    "untrained, post-norm keeps more of the embedding than pre-norm here", kept["post"][-1] > kept["pre"][-1]
)
experiment.claim("and the sandwich drowns it", kept["sandwich"][-1] < kept["pre"][-1] / 2)
experiment.claim("the post-norm stream has an RMS of 1", abs(size["post"][-1] - 1) < 0.01)
root = (2 * args.depth) ** 0.5  # that many branches, each with an RMS of 1
experiment.claim(
    "the sandwich's stream grows as the root of its branches", 0.8 < size["sandwich"][-1] / root < 1.2
)
# --8<-- [end:claims]
