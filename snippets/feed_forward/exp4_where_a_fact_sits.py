"""Where does a fact sit? Silence hidden features of a trained model until one fact is gone, and see what else goes.

A silenced feature gives its average value at every token. Which to silence is chosen with one wording of the
question and tested with another. At the end the same is counted over ten trainings.

Run: python snippets/feed_forward/exp4_where_a_fact_sits.py [--only-layer 2] [--targets 10] [--seed 0]
Tier: visualization · extra · about 6 s
"""

# --8<-- [start:setup]
import random
from itertools import islice

import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings
from minimind.data.world import FACTS

args = experiment.flags(__doc__, model="pretrain", targets=10, only_layer=-1)
plots.style()
model, tokenizer, world = experiment.load_model(args.model)
# --8<-- [end:setup]


# --8<-- [start:features]
class Features:
    """The hidden features of all FFNs of a model: what they are, and what the model knows without some of them."""

    def __init__(self, model, tokenizer, world):
        self.model, self.tokenizer, self.world = model.requires_grad_(False), tokenizer, world
        layers = model.model.layers
        self.shape = len(layers), model.config.intermediate_size  # (L, F)
        self.number = self.shape[0] * self.shape[1]
        self.values = {}  # layer -> its hidden features (B, T, F), as the model computed them last
        self.silenced = torch.zeros(self.shape, dtype=torch.bool)
        self.average = torch.zeros(self.shape)
        for layer, block in enumerate(layers):
            block.mlp.down_proj.register_forward_pre_hook(self.hook_of(layer))
        self.average = self.average_of(islice(world.documents("validation"), 30))

    def hook_of(self, layer):
        """Keeps the features of a layer, with their gradient if there is one, and silences those that are to be."""

        def hook(module, inputs):
            hidden = inputs[0]
            if torch.is_grad_enabled():
                hidden = hidden.detach().requires_grad_() if not hidden.requires_grad else hidden
                hidden.retain_grad()
            self.values[layer] = hidden
            return (torch.where(self.silenced[layer], self.average[layer], hidden),)

        return hook

    @torch.no_grad()
    def average_of(self, documents):
        """Each feature's mean over all tokens of these documents (L, F)."""
        seen = []
        for document in documents:
            self.model(torch.tensor([[self.tokenizer.bos_token_id, *self.tokenizer.encode(document.text)]]))
            seen.append(torch.stack([self.values[layer][0] for layer in range(self.shape[0])]))  # (L, T, F)
        return torch.cat(seen, dim=1).mean(1)

    def chances(self, items, wording=0):
        """The chance of the whole answer to each question, in one of two wordings; items are (fact, place)."""
        rows = []
        for fact, place in items:
            question = f"Question: {FACTS[fact][2][wording]}{place}? Answer:"
            start = [self.tokenizer.bos_token_id, *self.tokenizer.encode(question)]
            rows.append((start, self.tokenizer.encode(f" {self.world.facts[place][fact]}.")))
        width = max(len(start + answer) for start, answer in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)  # (B, T)
        counted = torch.zeros(len(rows), width - 1, dtype=torch.bool)
        for number, (start, answer) in enumerate(rows):
            ids[number, : len(start + answer)] = torch.tensor(start + answer)
            counted[number, len(start) - 1 : len(start + answer) - 1] = True
        scores = self.model(ids).logits[:, :-1].log_softmax(-1)  # (B, T-1, V)
        return (scores.gather(-1, ids[:, 1:, None])[..., 0] * counted).sum(-1).exp()  # (B,)

    @torch.no_grad()
    def without(self, chosen, items, wording=0):
        """Mean chance of the answers with these features silenced."""
        self.silenced.view(-1)[chosen] = True
        chance = self.chances(items, wording).mean().item()
        self.silenced[:] = False
        return chance


# --8<-- [end:features]


# --8<-- [start:known]
@torch.no_grad()
def known_facts(features):
    """The (fact, place) whose answer has a chance above 60 % in both wordings, and the share of them in all facts.

    Of a model that knows less than half of the facts all are given, so that there is something to ask.
    """
    everything = [(fact, place) for fact in FACTS for place in features.world.facts]
    sure = torch.stack([features.chances(everything, wording) for wording in (0, 1)]).amin(0)
    known = [item for item, chance in zip(everything, sure.tolist(), strict=True) if chance > 0.6]
    share = len(known) / len(everything)
    return known if share >= 0.5 else everything, share


features = Features(model, tokenizer, world)
known, share = known_facts(features)
print(f"{features.shape[0]} layers of {features.shape[1]} hidden features: {features.number}")
print(f"{share:.0%} of the facts are known: a chance above 60 % in both wordings; {len(known)} are asked for")
# --8<-- [end:known]


# --8<-- [start:silence]
NUMBERS = [0, 1, 2, 4, 8, 16, 32, 64]
ROWS = ("the fact", "other wording", "random active ones", "same answer", "same place", "other facts")


def importance(features, item):
    """For each feature, how far it is from its average, and what its being average would cost in log-chance."""
    features.chances([item]).log().sum().backward()
    layers = range(features.shape[0])
    away = torch.stack(
        [features.values[layer].detach()[0] - features.average[layer] for layer in layers]
    )  # (L, T, F)
    slope = torch.stack([features.values[layer].grad[0] for layer in layers])
    cost = (away * slope).sum(1)  # (L, F), value times slope: a guess, tested below
    return away.abs().sum(1).flatten(), cost  # (L * F,), (L, F)


def silence(features, known, targets, only_layer=-1):
    """Mean chances of answers with more and more features silenced, and in which layers the first 16 lie."""
    found = {name: {number: [] for number in NUMBERS} for name in ROWS}
    homes = torch.zeros(features.shape[0])
    for fact, place in targets:
        activity, cost = importance(features, (fact, place))
        if only_layer >= 0:
            cost[torch.arange(len(cost)) != only_layer] = float("-inf")
        order = cost.flatten().argsort(descending=True)
        homes += torch.bincount(order[:16] // features.shape[1], minlength=len(cost)) / (16 * len(targets))
        # A fair control: features that are at work here.
        active = activity.argsort(descending=True)[: features.number // 4]
        shuffled = active[torch.randperm(len(active))]
        answers = {item: features.world.facts[item[1]][item[0]] for item in known if item != (fact, place)}
        answer = features.world.facts[place][fact]
        groups = {
            "same answer": [item for item, other in answers.items() if other == answer],
            "same place": [item for item in answers if item[1] == place],
            "other facts": [item for item, other in answers.items() if item[1] != place and other != answer][
                ::8
            ],
        }
        for number in NUMBERS:
            chosen = order[:number]
            found["the fact"][number].append(features.without(chosen, [(fact, place)]))
            found["other wording"][number].append(features.without(chosen, [(fact, place)], wording=1))
            found["random active ones"][number].append(features.without(shuffled[:number], [(fact, place)]))
            for name, items in groups.items():
                if items:
                    found[name][number].append(features.without(chosen, items))
    return {name: {n: sum(c) / len(c) for n, c in by.items()} for name, by in found.items()}, homes.tolist()


targets = random.Random(args.seed).sample(known, min(args.targets, len(known)))
mean, homes = silence(features, known, targets, args.only_layer)
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
ax.set(xlabel=f"features silenced, of {features.number}", ylabel="chance of the right answer", ylim=(0, 1))
plots.label_lines(ax)
experiment.show("silence")
# --8<-- [end:silence_figure]


# --8<-- [start:trainings]
def examine(model, tokenizer, world):
    """The same for ten facts of one of the ten trainings."""
    features = Features(model, tokenizer, world)
    known, share = known_facts(features)
    mean, homes = silence(features, known, random.Random(0).sample(known, 10))
    return {"known": share, "mean": mean, "homes": homes}


ten = experiment.recorded("feed_forward/exp4_where_a_fact_sits", lambda: over_trainings(examine))
print(f"in {len(ten)} trainings, the mean chance of ten facts: whole, and without 1 and 16 features")
for one in ten:
    fact, control = one["mean"]["the fact"], one["mean"]["random active ones"]
    print(
        f"   {fact['0']:.2f}, {fact['1']:.2f}, {fact['16']:.2f}; without 16 random active ones {control['16']:.2f}"
    )
# --8<-- [end:trainings]

# --8<-- [start:claims]
if args.only_layer < 0:
    fact, others, same = mean["the fact"], mean["other facts"], mean["same answer"]
    experiment.claim_of_model(
        "no single feature holds it: without the first, more than half is left", fact[1] > fact[0] / 2
    )
    experiment.claim_of_model("without 4 features, more than a quarter is left", fact[4] > fact[0] / 4)
    experiment.claim_of_model("16 features destroy a fact: less than a fifth is left", fact[16] < fact[0] / 5)
    experiment.claim_of_model(
        "the other wording of the question dies too", mean["other wording"][16] < mean["other wording"][0] / 5
    )
    experiment.claim_of_model("of facts with the same answer, less than half is left", same[16] < same[0] / 2)
    experiment.claim_of_model(
        "they lose more than twice as much as other facts", same[0] - same[16] > 2 * (others[0] - others[16])
    )
    experiment.claim_of_model(
        "other facts, facts about the same place, and without random active features the fact stay above 75 %",
        min(mean[name][16] for name in ("other facts", "same place", "random active ones")) > 0.75,
    )
    experiment.claim_of_model(
        "the first 16 features lie in all three layers", len(homes) == 3 and min(homes) > 0.05
    )
experiment.claim(
    "in most of the ten trainings no single feature holds a fact, and 16 destroy it",
    sum(
        fact["1"] > fact["0"] / 2 and fact["16"] < fact["0"] / 3
        for fact in (one["mean"]["the fact"] for one in ten)
    )
    > len(ten) / 2,
)
# --8<-- [end:claims]
