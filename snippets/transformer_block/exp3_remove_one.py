"""What is each part for? Take one part out of a small model, train it, and see which documents suffer.

Models of two blocks learn the embedded world: whole, or without attention, feed-forward layer, residual
connections, norms or positions. Live, one of them trains beside the whole one for a moment; the record has all,
each at its best learning rate, and one more: attention alone, with as many parameters as the whole.

Run: python snippets/transformer_block/exp3_remove_one.py [--without attention] [--steps 40] [--seed 0]
Tier: training · extra · about 6 s
"""

# --8<-- [start:setup]
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

PARTS = ("attention", "feed-forward", "residual", "norms", "positions")
KINDS = ("story", "tour", "quiz", "sums", "games")
args = experiment.flags(__doc__, without="attention", steps=40)
if args.without not in PARTS:
    raise SystemExit(f"--without takes one of {', '.join(PARTS)}, got {args.without}")
plots.style()
BLOCKS, WIDTH, VOCABULARY, ROWS = 2, 64, 512, 4
RATES, SEEDS, TUNING, STEPS = (3e-3, 1e-2, 3e-2), (1, 2, 3), 200, 450
config = ModelConfig(
    hidden_size=WIDTH, num_attention_heads=2, num_key_value_heads=1, vocab_size=VOCABULARY, rope_theta=1e4
)
# --8<-- [end:setup]


# --8<-- [start:model]
class Nothing(nn.Module):
    """In the place of a layer that was taken out: adds nothing."""

    def forward(self, x, table=None):
        return torch.zeros_like(x)


class Block(nn.Module):
    """A block with one part missing; the rest is as in the package."""

    def __init__(self, without):
        super().__init__()
        self.attention = Nothing() if without == "attention" else Attention(config)
        self.feed_forward = Nothing() if without == "feed-forward" else FeedForward(config)
        self.norm_1, self.norm_2 = (nn.Identity() if without == "norms" else RMSNorm(WIDTH) for _ in range(2))
        self.stream = 0.0 if without == "residual" else 1.0

    def forward(self, x, table):
        x = self.stream * x + self.attention(self.norm_1(x), table)  # (B, T, WIDTH)
        return self.stream * x + self.feed_forward(self.norm_2(x))  # (B, T, WIDTH)


class Model(nn.Module):
    """Embedding, blocks, last norm, and the embedding again as output layer."""

    def __init__(self, without="", blocks=BLOCKS):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block(without) for _ in range(blocks))
        self.norm = nn.Identity() if without == "norms" else RMSNorm(WIDTH)
        for weight in self.parameters():
            if weight.dim() == 2:  # one rule for every matrix: 1 / root of the numbers that it reads
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        cos, sin = rotation(torch.arange(256), rope_frequencies(config.head_dim, config.rope_theta))
        if without == "positions":
            cos, sin = torch.ones_like(cos), torch.zeros_like(sin)  # turned by nothing
        self.table = cos[:, None], sin[:, None]  # (256, 1, head_dim / 2)

    def forward(self, ids):
        table = tuple(one[: ids.shape[1]] for one in self.table)
        x = self.embed(ids)  # (B, T, WIDTH)
        for block in self.blocks:
            x = block(x, table)
        return F.linear(self.norm(x), self.embed.weight)  # (B, T, VOCABULARY)


# --8<-- [end:model]


# --8<-- [start:train]
def surprise(model, ids):
    """Nats that the model pays for each next token (N, T - 1), and where there is one to pay for."""
    nats = F.cross_entropy(model(ids)[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return nats, ids[:, 1:] != 0  # padding follows after the end, where no token can look at it


def data(seed):
    """Rows to learn from, held-out documents, and their rows: a document a row, with zeros to the longest."""
    text = worlds.read_world(
        training=3000, held_out=160, vocab_size=VOCABULARY, tokenizer_from=500, seed=seed
    )
    return worlds.padded(text.training), text.documents, worlds.padded(text.held_out)


def objective(model, batch):
    """The mean of it, for `fit`."""
    nats, counted = surprise(model, batch["input_ids"])
    return worlds.counted_once(nats[counted].mean())


def trained(rows, rate, steps, seed, without="", blocks=BLOCKS):
    """Train a model for some steps; the rate rises over a tenth of them and falls over the last third."""
    torch.manual_seed(seed)
    model = Model(without, blocks)
    numbers = torch.randint(len(rows), (steps, ROWS), generator=torch.Generator().manual_seed(seed))
    settings = TrainingSettings(
        optimizer="adamw", learning_rate=rate, warmup=1 / 10, decay=1 / 3, precision="fp32",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    fit(model, worlds.Chosen(rows, numbers), objective, settings, quiet=True)
    return model


def above_floor(nats, counted, documents):
    """By how many nats a token that is above the floor: in all, and for each kind of document."""
    found = {}
    for kind in ("all", *KINDS):
        chosen = torch.tensor([kind in ("all", document.kind) for document in documents])
        floor = sum(document.nats for document in documents if kind in ("all", document.kind))
        found[kind] = (nats[chosen][counted[chosen]].sum().item() - floor) / counted[chosen].sum().item()
    return found


@torch.no_grad()
def gaps(model, held_out, documents):
    """How far above the floor a model is on documents that it has not seen."""
    return above_floor(*surprise(model, held_out), documents)


def table_gaps(rows, held_out, documents):
    """The same for a table of pairs: how often each token followed each other one in training."""
    before, after = (ids[rows[:, 1:] != 0] for ids in (rows[:, :-1], rows[:, 1:]))
    pairs = torch.full((VOCABULARY, VOCABULARY), 0.1)  # a little for what never came
    pairs.index_put_((before, after), torch.ones(len(before)), accumulate=True)
    nats = -(pairs / pairs.sum(dim=1, keepdim=True)).log()[held_out[:, :-1], held_out[:, 1:]]
    return above_floor(nats, held_out[:, 1:] != 0, documents)


# --8<-- [end:train]


# --8<-- [start:live]
rows, documents, held_out = data(args.seed)
floor = sum(document.nats for document in documents) / (held_out[:, 1:] != 0).sum().item()
live, reach = {"a table of pairs": table_gaps(rows, held_out, documents)}, {}
for without in ("", args.without):
    name = f"without {without}" if without else "whole"
    model = trained(rows, 1e-2, args.steps, args.seed, without)
    live[name] = gaps(model, held_out, documents)
    other = held_out[:1, :30].clone()
    other[0, 5] = (other[0, 5] + 1) % VOCABULARY  # another token, 24 places before the last one
    with torch.no_grad():
        reach[name] = (model(other) - model(held_out[:1, :30]))[0, -1].abs().max().item()
print(f"nats a token above the floor of {floor:.2f}, on {len(documents)} documents that nobody saw")
for name, gap in live.items():
    print(f"{name:22}", *(f"{kind} {value:.2f}" for kind, value in gap.items()), sep="  ")
for name, moved in reach.items():
    print(f"{name}: another token 24 places back moves the last scores by up to {moved:.2f}")
# --8<-- [end:live]


# --8<-- [start:record]
def measure():
    """Each arm: a short run with each rate, then the best rate with three seeds that chose nothing."""
    rows, documents, held_out = data(0)
    result = {"table": table_gaps(rows, held_out, documents), "parameters": {}, "rate": {}, "gaps": {}}
    for arm in ("whole", *PARTS, "feed-forward, 8 blocks"):
        without = arm.split(",")[0] if arm != "whole" else ""
        blocks = 8 if "8 blocks" in arm else BLOCKS  # attention alone, as many parameters as the whole
        result["parameters"][arm] = sum(weight.numel() for weight in Model(without, blocks).parameters())
        short = [
            gaps(trained(rows, rate, TUNING, 0, without, blocks), held_out, documents)["all"]
            for rate in RATES
        ]
        best = RATES[short.index(min(short))]
        result["rate"][arm] = best
        result["gaps"][arm] = [
            gaps(trained(rows, best, STEPS, seed, without, blocks), held_out, documents) for seed in SEEDS
        ]
        print(arm, short, [gap["all"] for gap in result["gaps"][arm]], flush=True)
    return result


found = experiment.recorded(
    "transformer_block/exp3_remove_one",
    measure,
    cell=lambda: {"gaps": {"whole": [gaps(trained(rows, 1e-2, STEPS, SEEDS[0]), held_out, documents)]}},
)
seeds_of = {
    arm: {kind: [gap[kind] for gap in gaps] for kind in gaps[0]} for arm, gaps in found["gaps"].items()
}
mean = {arm: {kind: sum(each) / 3 for kind, each in kinds.items()} for arm, kinds in seeds_of.items()}
print(f"{STEPS} steps: nats a token above the floor, mean of three seeds")
print(
    f"{'without':24}{'parameters':>10}{'rate':>7}   "
    + "".join(f"{kind:>7}" for kind in mean["whole"])
    + "  lowest, highest"
)
for arm, kinds in mean.items():
    each = seeds_of[arm]["all"]
    print(
        f"{arm:24}{found['parameters'][arm]:>10,}{found['rate'][arm]:>7g}   "
        + "".join(f"{value:>7.2f}" for value in kinds.values())
        + f"  {min(each):.2f}, {max(each):.2f}"
    )
print(f"{'a table of pairs':44}" + "".join(f"{value:>7.2f}" for value in found["table"].values()))
# --8<-- [end:record]

# --8<-- [start:figure]
arms = [arm for arm in mean if "," not in arm]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
plots.heatmap(
    ax,
    [[mean[arm][kind] for kind in KINDS] for arm in arms],
    rows=["whole", *(f"no {arm}" for arm in arms[1:])],
    columns=list(KINDS),
    colour=plots.ORANGE,
    values=".2f",
)
ax.set_aspect("auto")
ax.set(xlabel="kind of document")
experiment.show("gap_by_kind")
# --8<-- [end:figure]

# --8<-- [start:claims]
if args.without == "attention":
    experiment.claim(
        "without attention nothing reaches a score from elsewhere", reach["without attention"] == 0
    )
    if args.steps == 40:
        experiment.claim(
            "after 40 steps the model without attention is ahead of the whole one",
            live["without attention"]["all"] < live["whole"]["all"],
        )
experiment.claim("in the whole model something does", reach["whole"] > 1e-4)
experiment.claim("live, no model is below the floor", min(gap["all"] for gap in live.values()) > 0)
lowest, highest = ({arm: pick(each["all"]) for arm, each in seeds_of.items()} for pick in (min, max))
experiment.claim("in every seed, each part but the norms is missed",
                 min(lowest[arm] for arm in PARTS if arm != "norms") > highest["whole"])  # fmt: skip
experiment.claim("in every seed, two blocks learn faster without norms", highest["norms"] < lowest["whole"])
experiment.claim(
    "without attention a model is at most a table of pairs", lowest["attention"] > found["table"]["all"]
)
experiment.claim(
    "and comes within a fifth of a nat of it", highest["attention"] < found["table"]["all"] + 0.2
)
experiment.claim("without residual connections it is no better than without attention",
                 mean["residual"]["all"] > mean["attention"]["all"] - 0.05)  # fmt: skip
experiment.claim("blocks of attention alone, as many parameters, do not make up for feed-forward layers",
                 lowest["feed-forward, 8 blocks"] - highest["whole"] > 0.3)  # fmt: skip
hit = {arm: {kind: mean[arm][kind] - mean["whole"][kind] for kind in KINDS} for arm in PARTS}
missed = hit["feed-forward"]
others = ("story", "sums", "games")
experiment.claim(
    "whichever part goes, the norms apart, tours and quizzes together suffer most",
    all(
        (hit[arm]["tour"] + hit[arm]["quiz"]) / 2 > max(hit[arm][kind] for kind in others)
        for arm in PARTS
        if arm != "norms"
    ),
)
experiment.claim(
    "sums miss feed-forward layers less than a quarter as much as any other kind does",
    missed["sums"] < min(missed[kind] for kind in KINDS if kind != "sums") / 4,
)
pairs = zip(seeds_of["feed-forward"]["sums"], seeds_of["positions"]["sums"], strict=True)
experiment.claim(
    "in every seed, sums miss positions more than feed-forward layers", all(a < b for a, b in pairs)
)
experiment.claim(
    "all other kinds miss feed-forward layers more than positions",
    all(missed[kind] > hit["positions"][kind] for kind in KINDS if kind != "sums"),
)
lowest_rate = found["rate"]["residual"] == min(RATES)
experiment.claim("without residual connections the lowest rate was best", lowest_rate)
# --8<-- [end:claims]
