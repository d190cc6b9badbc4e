"""Where does a fact sit? Silence hidden features of the trained model until one fact is gone, and see what else goes.

Needs the model in runs/pretrain, which `minimind pretrain` makes. A silenced feature gives its average value at
every token. Which to silence is chosen with one wording of the question and tested with another.

Run: python snippets/feed_forward/exp4_where_a_fact_sits.py [--only-layer 2] [--targets 10] [--seed 0]
Tier: visualization · extra · about 5 s
"""

# --8<-- [start:setup]
import json
import random
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from minimind import experiment, load, plots
from minimind.data.world import FACTS, World
from minimind.errors import UserError

args = experiment.flags(__doc__, targets=10, only_layer=-1)
plots.style()
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(f"{error}. This part needs a trained model: run `minimind pretrain` first.") from None
model.requires_grad_(False)
world = World(json.loads(Path("runs/pretrain/run.json").read_text())["settings"]["seed"])  # as it was trained
layers = model.model.layers
shape = len(layers), model.config.intermediate_size  # (L, F): the hidden features of all layers
features = shape[0] * shape[1]
print(f"{shape[0]} layers of {shape[1]} hidden features: {features}")
# --8<-- [end:setup]

# --8<-- [start:hooks]
values = {}  # layer -> its hidden features (B, T, F), as the model computed them last
silenced = torch.zeros(shape, dtype=torch.bool)
average = torch.zeros(shape)


def hook(layer):
    def look(module, inputs):
        hidden = inputs[0]
        if torch.is_grad_enabled():
            hidden = hidden.detach().requires_grad_() if not hidden.requires_grad else hidden
            hidden.retain_grad()
        values[layer] = hidden
        return (torch.where(silenced[layer], average[layer], hidden),)

    return look


for number, block in enumerate(layers):
    block.mlp.down_proj.register_forward_pre_hook(hook(number))

seen = []  # the features at every token of some documents
with torch.no_grad():
    for document in islice(world.documents("validation"), 30):
        model(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(document.text)]]))
        seen.append(torch.stack([values[number][0] for number in range(shape[0])]))  # (L, T, F)
average = torch.cat(seen, dim=1).mean(1)  # (L, F)


def chances(items, wording=0):
    """The chance of the whole answer to each question, in one of two wordings; items are (fact, place)."""
    rows = []
    for fact, place in items:
        question = f"Question: {FACTS[fact][2][wording]}{place}? Answer:"
        start = [tokenizer.bos_token_id, *tokenizer.encode(question)]
        rows.append((start, tokenizer.encode(f" {world.facts[place][fact]}.")))
    width = max(len(start + answer) for start, answer in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # (B, T)
    counted = torch.zeros(len(rows), width - 1, dtype=torch.bool)
    for number, (start, answer) in enumerate(rows):
        ids[number, : len(start + answer)] = torch.tensor(start + answer)
        counted[number, len(start) - 1 : len(start + answer) - 1] = True
    scores = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # (B, T-1)
    return (scores * counted).sum(-1).exp()  # (B,)


# --8<-- [end:hooks]

# --8<-- [start:known]
with torch.no_grad():
    everything = [(fact, place) for fact in FACTS for place in world.facts]
    asked = torch.stack([chances(everything, wording) for wording in (0, 1)])
sure = asked.amin(0)  # the worse of two wordings
known = [item for item, chance in zip(everything, sure.tolist(), strict=True) if chance > 0.6]
print(f"{len(known)} of {len(everything)} facts are known: a chance above 60 % in both wordings")
rng = random.Random(args.seed)
targets = rng.sample(known, args.targets)
# --8<-- [end:known]


# --8<-- [start:silence]
def importance(item):
    """For each feature, how far it is from its average, and what its being average would cost in log-chance."""
    chances([item]).log().sum().backward()
    away = torch.stack(
        [values[number].detach()[0] - average[number] for number in range(shape[0])]
    )  # (L, T, F)
    slope = torch.stack([values[number].grad[0] for number in range(shape[0])])
    cost = (away * slope).sum(1)  # (L, F), value times slope: a guess, tested below
    if args.only_layer >= 0:
        cost[torch.arange(shape[0]) != args.only_layer] = float("-inf")
    return away.abs().sum(1).flatten(), cost.flatten()  # (L * F,) each


@torch.no_grad()
def without(chosen, items, wording=0):
    """Mean chance of the answers with these features silenced."""
    silenced.view(-1)[chosen] = True
    chance = chances(items, wording).mean().item()
    silenced[:] = False
    return chance


NUMBERS = [0, 1, 2, 4, 8, 16, 32, 64]
ROWS = ("the fact", "other wording", "random active ones", "same answer", "same place", "other facts")
found = {name: {number: [] for number in NUMBERS} for name in ROWS}
homes = torch.zeros(shape[0])  # in which layers the first 16 lie
for fact, place in targets:
    activity, cost = importance((fact, place))
    order = cost.argsort(descending=True)
    homes += torch.bincount(order[:16] // shape[1], minlength=shape[0]) / (16 * len(targets))
    active = activity.argsort(descending=True)[
        : features // 4
    ]  # a fair control: features that are at work here
    shuffled = active[torch.randperm(len(active))]
    answer = world.facts[place][fact]
    others = [item for item in known if item != (fact, place)]
    groups = {
        "same answer": [(f, p) for f, p in others if world.facts[p][f] == answer],
        "same place": [(f, p) for f, p in others if p == place],
        "other facts": [(f, p) for f, p in others if p != place and world.facts[p][f] != answer][::8],
    }
    for number in NUMBERS:
        found["the fact"][number].append(without(order[:number], [(fact, place)]))
        found["other wording"][number].append(without(order[:number], [(fact, place)], wording=1))
        found["random active ones"][number].append(without(shuffled[:number], [(fact, place)]))
        for name, items in groups.items():
            if items:
                found[name][number].append(without(order[:number], items))
mean = {name: {n: sum(c) / len(c) for n, c in by.items() if c} for name, by in found.items()}
print("mean chance of the right answer, with so many features silenced")
print(" " * 18 + "".join(f"{number:6}" for number in NUMBERS))
for name, by_number in mean.items():
    print(f"{name:18}" + "".join(f"{chance:6.2f}" for chance in by_number.values()))
print("the first 16 lie in layer", ", ".join(f"{n}: {share:.0%}" for n, share in enumerate(homes)))
# --8<-- [end:silence]

# --8<-- [start:silence_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.6))
colours = (plots.ORANGE, plots.OCHRE, plots.MUTED, plots.PURPLE, plots.GREEN, plots.BLUE)
for (name, by_number), colour in zip(mean.items(), colours, strict=True):
    style = ":" if name == "random active ones" else "-"
    ax.plot(list(by_number), list(by_number.values()), color=colour, label=name, linestyle=style)
ax.set_xscale("symlog", base=2, linthresh=1)
ax.set_xticks(NUMBERS, [str(number) for number in NUMBERS])
ax.set(xlabel=f"features silenced, of {features}", ylabel="chance of the right answer", ylim=(0, 1))
plots.label_lines(ax)
experiment.show("silence")
# --8<-- [end:silence_figure]

# --8<-- [start:claims]
if args.only_layer < 0:
    fact = mean["the fact"]
    experiment.claim("16 features of 1,152 destroy a fact", features == 1152 and fact[16] < 0.3)
    experiment.claim(
        "16 random ones of the features at work leave it", mean["random active ones"][16] > 0.7 * fact[0]
    )
    experiment.claim(
        "no single feature holds it: without the first, more than half is left", fact[1] > fact[0] / 2
    )
    experiment.claim("the other wording of the question dies too", mean["other wording"][16] < 0.3)
    experiment.claim("most other facts survive", mean["other facts"][16] > 0.75 * mean["other facts"][0])
    experiment.claim(
        "facts with the same answer suffer more than twice as much as other facts",
        mean["same answer"][0] - mean["same answer"][16]
        > 2 * (mean["other facts"][0] - mean["other facts"][16]),
    )
    experiment.claim("the features lie in all three layers", homes.min() > 0.05)
# --8<-- [end:claims]
