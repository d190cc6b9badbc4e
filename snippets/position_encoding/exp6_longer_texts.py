"""What happens beyond the trained length? Train on rows of 64 tokens, read rows of 256, look at each position.

Models of the same size read a stream of documents of the embedded world: with RoPE, with a learned vector for each
position, with no positions. The trained RoPE models then read once more with YaRN, and with positions squeezed into
the trained range. The full measurement is a record; a short training with RoPE runs live.

Run: python snippets/position_encoding/exp6_longer_texts.py [--factor 2] [--steps 300] [--seed 0]
Tier: training · extra · about 8 s
"""

# --8<-- [start:setup]
import copy
import functools
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from minimind.config import ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model.causal_lm import MiniMind
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, steps=160, factor=4.0)
plots.style()
TRAINED, LONG, BIN = 64, 256, 16  # tokens
RATES = {"RoPE": [4e-3, 8e-3, 16e-3], "learned": [2e-3, 4e-3, 8e-3], "none": [4e-3, 8e-3, 16e-3]}
# --8<-- [end:setup]


# --8<-- [start:text]
@functools.cache
def text():
    """Two streams of token ids, to train on and held out, and the floor in nats a token."""
    world = worlds.read_world(training=4000, held_out=400, vocab_size=512)
    held_out = worlds.stream(world.held_out)
    return worlds.stream(world.training), held_out, sum(one.nats for one in world.documents) / len(held_out)


# --8<-- [end:text]


# --8<-- [start:model]
class LearnedPositions(nn.Module):
    """An embedding that adds a learned vector for each position; rows beyond the trained ones are never trained."""

    def __init__(self, tokens):
        super().__init__()
        self.tokens, self.table = tokens, nn.Embedding(LONG, tokens.embedding_dim)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, ids):
        return self.tokens(ids) + self.table(torch.arange(ids.shape[1]))


def build(kind, scaling=None):
    """A model with 2 layers, 2 heads of 32 numbers."""
    config = ModelConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=192,
        vocab_size=512, max_position_embeddings=LONG, rope_theta=1e4, rope_scaling=scaling,
    )  # fmt: skip
    model = MiniMind(config)
    if kind == "learned":
        model.model.embed_tokens = LearnedPositions(model.model.embed_tokens)
    return model


def positions(kind, length, squeeze=1.0):
    """Where RoPE is told that the tokens stand; a rotation by position 0 turns nothing."""
    return torch.arange(length)[None] / squeeze if kind == "RoPE" else torch.zeros(1, length)


def train(model, kind, rate, steps, seed, length=TRAINED):
    """Train on slices of the stream, 1,024 tokens a step."""

    def objective(model, batch):
        ids = batch["input_ids"]  # (1024 / length, length)
        return worlds.counted_once(model(ids, labels=ids, position_ids=positions(kind, length)).loss)

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    batches = worlds.Slices(text()[0], steps, 1024 // length, length, seed)
    settings = TrainingSettings(precision="fp32", threads=torch.get_num_threads())
    scheduled = worlds.Scheduled(optimizer, schedule)
    fit(model, batches, objective, settings, optimizer=scheduled, quiet=True)
    return model


def trained(kind, rate, seed, steps=300):
    """A new model after training."""
    torch.manual_seed(seed)
    return train(build(kind), kind, rate, steps, seed)


@torch.no_grad()
def nats_by_position(model, kind, rows=slice(50, 200), squeeze=1.0):
    """Nats a token, averaged over held-out rows of 256 tokens, for each 16 positions."""
    stream, generator = text()[1], torch.Generator().manual_seed(0)
    starts = torch.linspace(0, len(stream) - LONG - 1, 200).long()  # rows that do not overlap
    starts = starts[torch.randperm(200, generator=generator)][rows, None]  # (rows, 1)
    ids = stream[starts + torch.arange(LONG + 1)]  # (rows, 257)
    logits = model(ids[:, :-1], position_ids=positions(kind, LONG, squeeze)).logits  # (rows, 256, V)
    nats = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return nats.view(-1, LONG // BIN, BIN).mean(dim=(0, 2)).tolist()  # 16 numbers


def with_yarn(model, factor=4.0, **more):
    """The same weights, read with YaRN."""
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": TRAINED, **more}
    other = build("RoPE", scaling)
    other.load_state_dict(model.state_dict())
    return other


# --8<-- [end:model]


# --8<-- [start:measure]
def measure():
    """Three kinds, three learning rates, three seeds; the best rate of each kind reads on to position 256."""
    within, curves, models = {}, {}, {}
    for kind, rates in RATES.items():
        for rate in rates:
            for seed in range(3):
                model = trained(kind, rate, seed)
                # Rates are chosen on other held-out rows, by the trained positions alone.
                chosen_by = nats_by_position(model, kind, slice(0, 50))[: TRAINED // BIN]
                within.setdefault(kind, {}).setdefault(str(rate), []).append(sum(chosen_by) / len(chosen_by))
                models[kind, rate, seed] = model
    best = {
        kind: min(RATES[kind], key=lambda rate, kind=kind: sum(within[kind][str(rate)])) for kind in within
    }
    for seed in range(3):
        for kind, rate in best.items():
            curves.setdefault(kind, []).append(nats_by_position(models[kind, rate, seed], kind))
        rope = models["RoPE", best["RoPE"], seed]
        yarn = with_yarn(rope)
        flat = with_yarn(rope, attention_factor=1.0)  # YaRN's frequencies without its factor on the scores
        curves.setdefault("YaRN", []).append(nats_by_position(yarn, "RoPE"))
        curves.setdefault("YaRN, scores as they were", []).append(nats_by_position(flat, "RoPE"))
        curves.setdefault("squeezed positions", []).append(nats_by_position(rope, "RoPE", squeeze=4.0))
        for name, start in {"RoPE, 40 long steps": rope, "YaRN, 40 long steps": yarn}.items():
            tuned = train(copy.deepcopy(start), "RoPE", best["RoPE"] / 4, 40, seed + 100, LONG)
            curves.setdefault(name, []).append(nats_by_position(tuned, "RoPE"))
    return {"within": within, "best": best, "curves": curves}


data = experiment.recorded(
    "position_encoding/exp6_longer_texts",
    measure,
    cell=lambda: {"curves": {"YaRN": [nats_by_position(with_yarn(trained("RoPE", 8e-3, 0)), "RoPE")]}},
)
floor = text()[2]
# --8<-- [end:measure]

# --8<-- [start:table_figure]
LAST, BEYOND = (
    slice(TRAINED // BIN - 2, TRAINED // BIN),
    slice(LONG // BIN - 8, LONG // BIN),
)  # 32–63, 128–255


def perplexities(curve):
    """Perplexity at the last trained positions and far beyond them."""
    return [math.exp(sum(curve[part]) / len(curve[part])) for part in (LAST, BEYOND)]


spread, means = {}, {}
print(f"perplexity, least and most of three seeds (floor {math.exp(floor):.2f})")
print(f"{'':25} {'at 32 to 63':>16} {'at 128 to 255':>16}")
for name, seeds in data["curves"].items():
    spread[name] = list(
        zip(*map(perplexities, seeds), strict=True)
    )  # near and beyond, a number for each seed
    means[name] = [sum(values) / len(values) for values in spread[name]]
    near, beyond = (f"{min(values):.2f} to {max(values):.2f}" for values in spread[name])
    print(f"{name:25} {near:>16} {beyond:>16}")
# --8<-- [end:table_figure]

# --8<-- [start:figure]
places = [BIN * (index + 0.5) for index in range(LONG // BIN)]


def draw(ax, names):
    """Mean and range over the seeds, one line for each name."""
    for (name, label), colour in zip(names.items(), plots.PALETTE, strict=False):
        seeds = torch.tensor(data["curves"][name]).exp()  # (seeds, 16): perplexity
        ax.fill_between(places, seeds.amin(0), seeds.amax(0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(places, seeds.log().mean(0).exp(), color=colour, label=label)
    ax.axvline(TRAINED, color=plots.MUTED, linestyle=":", linewidth=1.4)
    ax.set(xlabel="position in the row (trained: left of the dotted line)", ylabel="perplexity", yscale="log")
    ax.set_yticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    ax.minorticks_off()
    plots.mark_floor(ax, math.exp(floor), f"floor {math.exp(floor):.2f}")
    plots.label_lines(ax)


fig, ax = plt.subplots()
draw(ax, {"RoPE": "RoPE", "learned": "learned", "none": "none"})
experiment.show("kinds")
# --8<-- [end:figure]

# --8<-- [start:remedies_figure]
fig, ax = plt.subplots()
draw(
    ax,
    {"RoPE": "RoPE", "YaRN": "YaRN", "squeezed positions": "squeezed", "RoPE, 40 long steps": "RoPE, tuned"},
)
experiment.show("remedies")
# --8<-- [end:remedies_figure]

# --8<-- [start:live]
live = trained("RoPE", 8e-3, args.seed, args.steps)
few = slice(50, 110)
readings = {
    "RoPE": nats_by_position(live, "RoPE", few),
    "YaRN": nats_by_position(with_yarn(live, args.factor), "RoPE", few),
}
for name, curve in readings.items():
    near, beyond = perplexities(curve)
    print(f"{args.steps} steps, {name}: perplexity {near:.2f} at positions 32–63, {beyond:.2f} at 128–255")
# --8<-- [end:live]


# --8<-- [start:claims]
def with_every_seed(first, second, part, factor=1.0):
    """Whether the first perplexity is above `factor` times the second, seed by seed (part 0 near, 1 far)."""
    return all(
        one > factor * other for one, other in zip(spread[first][part], spread[second][part], strict=True)
    )


experiment.claim(
    "the best learning rate of each kind is the middle one of three",
    all(data["best"][kind] == rates[1] for kind, rates in RATES.items()),
)
for name in ("RoPE", "learned", "none"):
    rises = all(far > 1.1 * near for near, far in zip(*spread[name], strict=True))
    experiment.claim(
        f"{name}: perplexity rises by a tenth or more beyond the trained length, every seed", rises
    )
experiment.claim(
    "RoPE is lowest of the three at both places",
    all(with_every_seed(other, "RoPE", part) for other in ("learned", "none") for part in (0, 1)),
)
experiment.claim(
    "YaRN without training: lower than RoPE far beyond", with_every_seed("RoPE", "YaRN", 1, 1.05)
)
experiment.claim("but higher within the trained length", with_every_seed("YaRN", "RoPE", 0, 1.05))
experiment.claim(
    "YaRN keeps its level", all(abs(far / near - 1) < 0.1 for near, far in zip(*spread["YaRN"], strict=True))
)
experiment.claim(
    "far beyond, larger scores on top of slower pairs bring most of what YaRN gains on RoPE",
    means["YaRN, scores as they were"][1] - means["YaRN"][1] > 0.5 * (means["RoPE"][1] - means["YaRN"][1]),
)
average = {name: torch.tensor(seeds).mean(0) for name, seeds in data["curves"].items()}  # (16,) nats
# From this position on YaRN is lower than RoPE, averaged over the seeds, at every later position too.
crossing = BIN * (int((average["YaRN"] >= average["RoPE"]).nonzero().max()) + 1)
experiment.claim("YaRN gets ahead of RoPE only some way beyond the trained length", TRAINED < crossing < LONG)
experiment.claim(
    "squeezed without training: far worse than RoPE, near and far",
    with_every_seed("squeezed positions", "RoPE", 0, 2)
    and with_every_seed("squeezed positions", "RoPE", 1, 2),
)
experiment.claim(
    "forty long steps without YaRN do more than YaRN alone",
    with_every_seed("YaRN", "RoPE, 40 long steps", 1, 1.05),
)
experiment.claim(
    "forty long steps with YaRN do a little more",
    with_every_seed("RoPE, 40 long steps", "YaRN, 40 long steps", 1),
)
growth = {name: beyond / near for name, (near, beyond) in means.items()}
experiment.claim(
    "RoPE rises by a smaller factor than learned positions and none",
    growth["RoPE"] < min(growth["learned"], growth["none"]),
)
flat = "YaRN, scores as they were"
experiment.claim(
    "slower pairs alone: a higher start than RoPE's, and a smaller rise",
    with_every_seed(flat, "RoPE", 0) and growth[flat] < growth["RoPE"],
)
experiment.claim(
    "slower pairs alone: far beyond, within a twentieth of RoPE in every seed",
    all(abs(one / other - 1) < 0.05 for one, other in zip(spread[flat][1], spread["RoPE"][1], strict=True)),
)
# By which share of itself perplexity rises, a number for each seed.
rise = {name: [far / near - 1 for near, far in zip(*spread[name], strict=True)] for name in ("RoPE", flat)}
experiment.claim(
    "slower pairs alone take away more than half of RoPE's rise, every seed",
    all(one < 0.5 * other for one, other in zip(rise[flat], rise["RoPE"], strict=True)),
)
experiment.claim(
    "larger scores on top of slower pairs cost nothing within the trained length, every seed",
    with_every_seed(flat, "YaRN", 0),
)
slowed = with_yarn(live).model.frequencies / live.model.frequencies  # (16,)
ends = slowed[[0, -1]]
experiment.claim(
    "YaRN leaves the fastest pair and slows the slowest fourfold",
    torch.allclose(ends, torch.tensor([1, 0.25])),
)
near, beyond = perplexities(readings["RoPE"])
experiment.claim("live: RoPE gets worse beyond the trained length", beyond > 1.1 * near)
# --8<-- [end:claims]
