"""What the heads of the trained model look at, and whether the model uses what they bring.

Each head's weights on held-out text: the token before, the first token, the token itself. Then the story of
exp1: which heads look at the friend's name, and what the model still knows when some of them are switched off. A
record holds the same for ten trainings.

Run: python snippets/attention/exp6_heads.py [--documents 40] [--model shipped/pretrain]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
from contextlib import contextmanager
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
import torch

from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings
from minimind.model import apply_rope, dot_product_attention

args = experiment.flags(__doc__, model="pretrain", documents=40)
plots.style()
model, tokenizer, world = experiment.load_model(args.model)
L, H, D = len(model.model.layers), model.config.num_attention_heads, model.config.head_dim
# --8<-- [end:setup]


# --8<-- [start:maps]
@torch.no_grad()
def maps_of(model, rows):
    """The weights of all heads (L, B, H, T, T) while the model reads rows (B, T)."""
    layers = [layer.self_attn for layer in model.model.layers]
    inputs = []  # what each attention layer reads, noted while the model runs
    hooks = [one.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for one in layers]
    model(rows)
    for hook in hooks:
        hook.remove()
    length = rows.shape[1]
    positions, causal = torch.arange(length), torch.ones(length, length, dtype=torch.bool).tril()
    maps = []
    for attention, x in zip(layers, inputs, strict=True):
        size = (-1, attention.head_dim)
        q = attention.q_norm(attention.q_proj(x).unflatten(-1, size)).transpose(1, 2)  # (B, H, T, D)
        k = attention.k_norm(attention.k_proj(x).unflatten(-1, size)).transpose(1, 2)
        # A key head serves several query heads.
        k = k.repeat_interleave(attention.num_heads // attention.num_key_value_heads, dim=1)
        q, k = (apply_rope(y, positions, model.model.frequencies) for y in (q, k))
        maps.append(dot_product_attention(q, k, torch.eye(length), causal))  # values = identity: the weights
    return torch.stack(maps)


# --8<-- [end:maps]


# --8<-- [start:patterns]
def patterns(model, tokenizer, world, longest=64, skipped=8):
    """Mean weight of each head (L, H) on three places, and the weight that an even share would give."""
    ids = [
        [tokenizer.bos_token_id, *tokenizer.encode(item.text)]
        for item in islice(world.documents("validation"), args.documents)
    ]
    length = min(longest, max(map(len, ids)))
    rows = torch.tensor([one[:length] for one in ids if len(one) >= length])  # (B, T), held-out text
    # Queries with at least eight tokens before them: with fewer, any head looks at the token before.
    maps = maps_of(model, rows)[..., skipped:, :].mean(dim=1)  # (L, H, T - 8, T)
    looks = {
        "the token before": maps.diagonal(skipped - 1, -2, -1).mean(dim=-1),  # (L, H)
        "the first token": maps[..., 0].mean(dim=-1),
        "itself": maps.diagonal(skipped, -2, -1).mean(dim=-1),
    }
    even = sum(1 / (t + 1) for t in range(skipped, length)) / (length - skipped)
    return looks, even


looks, even = patterns(model, tokenizer, world)
print(f"shared evenly, a token gets {even:.3f}")
for name, weight in looks.items():
    layer, head = divmod(weight.argmax().item(), H)
    print(f"{name:17} most: {weight.max():.2f} (layer {layer}, head {head})   least: {weight.min():.2f}")
# --8<-- [end:patterns]

# --8<-- [start:pattern_figure]
fig, ax = plt.subplots(figsize=(5.6, 2.2))
every_head = torch.stack([weight.flatten() for weight in looks.values()])  # (3, L * H), on one scale
names = [f"{layer}.{head}" for layer in range(L) for head in range(H)]
plots.heatmap(ax, every_head, list(looks), names, plots.QUERY)
for (row, column), weight in np.ndenumerate(every_head.numpy()):
    ink = plots.PAPER if weight > 0.6 * every_head.max() else plots.INK
    ax.text(column + 0.5, row + 0.5, f"{weight:.0%}"[:-1], ha="center", va="center", color=ink)
ax.set(xlabel="layer.head")
experiment.show("what_heads_look_at")
# --8<-- [end:pattern_figure]


# --8<-- [start:switch_off]
@contextmanager
def without(model, *heads, at=slice(None)):
    """The model with some heads' output set to zero at some places, before the output projection mixes it in."""

    def silence(layer):
        def hook(attention, given):
            found = given[0].unflatten(-1, (model.config.num_attention_heads, -1)).clone()  # (B, T, H, D)
            for one, head in heads:
                if one == layer:
                    found[:, at, head] = 0
            return (found.flatten(2),)

        return hook

    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(silence(number))
        for number, layer in enumerate(model.model.layers)
    ]
    yield
    for hook in hooks:
        hook.remove()


STORY = "One cold morning, {} the baker and his friend {} were at the market. {} had a big basket."
# None begins with the first token of "Noah", so that a chance of their first token is a chance of theirs.
FRIENDS = ["Emma", "Lucy", "Vera", "Zoe", "Mira", "Sara", "Hana", "Ivy", "Ruth", "June"]


def stories(tokenizer, swapped=False):
    """For each friend of Noah's: the story's ids (1, T), the places of the friend's name, its first token."""
    for name in FRIENDS:
        first, friend = (name, "Noah") if swapped else ("Noah", name)
        text = STORY.format(first, friend, first)
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text)]])
        place = len(tokenizer.encode(text[: text.index(f" {friend} were")])) + 1  # a start token leads
        name_ids = tokenizer.encode(f" {friend}")
        yield ids, slice(place, place + len(name_ids)), name_ids[0]


@torch.no_grad()
def chance(model, tokenizer):
    """The chance of the friend's name (of its first token), mean over ten stories."""
    chances = [model(ids).logits[0, -1].softmax(dim=-1)[first].item() for ids, _, first in stories(tokenizer)]
    return sum(chances) / len(chances)


def weight_on_name(model, tokenizer, swapped=False):
    """For each head (L, H): weight of the last token, a full stop, on the friend's name, mean over ten stories."""
    weights = [
        maps_of(model, ids)[:, 0, :, -1, places].sum(dim=-1) for ids, places, _ in stories(tokenizer, swapped)
    ]
    return torch.stack(weights).mean(dim=0)


def look_and_use(model, tokenizer):
    """Which heads look at the name, and what is left of its chance without each, and without some together."""
    on_name = weight_on_name(model, tokenizer)  # (L, H)
    left = torch.zeros_like(on_name)  # chance that is left without this head
    for layer, head in np.ndindex(*left.shape):
        with without(model, (layer, head)):
            left[layer, head] = chance(model, tokenizer)
    heads = on_name.shape[1]
    looker, worker = divmod(on_name.argmax().item(), heads), divmod(left.argmin().item(), heads)
    lookers = [divmod(number, heads) for number in (on_name.flatten() > 0.5).nonzero().flatten().tolist()]
    with without(model, *lookers):
        without_lookers = chance(model, tokenizer)
    with without(model, worker, at=slice(-1, None)):  # it hands over nothing at the full stop
        misled = weight_on_name(model, tokenizer)
        without_news = chance(model, tokenizer)
    return {
        "on_name": on_name,
        "left": left,
        "whole": chance(model, tokenizer),
        "looker": looker,  # looks most
        "worker": worker,  # is missed most
        "lookers": lookers,  # all that give the name more than half of their weight
        "without_lookers": without_lookers,
        "misled": misled,  # weight on the name while the worker is silent at the full stop
        "without_news": without_news,  # chance of the name meanwhile
    }


story = look_and_use(model, tokenizer)
on_name, left, whole, misled = (story[name] for name in ("on_name", "left", "whole", "misled"))
looker, worker, lookers = (story[name] for name in ("looker", "worker", "lookers"))
print(f"all heads: the friend's name has a chance of {whole:.0%}")
for title, (layer, head) in {"looks most": looker, "is missed most": worker}.items():
    print(
        f"{title:>14}: layer {layer}, head {head}, weight on the name {on_name[layer, head]:.0%}, "
        f"chance without it {left[layer, head]:.0%}"
    )
print(
    f"without all {len(lookers)} heads that give it more than half of their weight: {story['without_lookers']:.0%}"
)
# --8<-- [end:switch_off]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for layer, head in np.ndindex(L, H):
    ax.plot(on_name[layer, head], left[layer, head], "o", color=plots.QUERY)
    if (layer, head) in {looker, worker, *lookers}:
        sideways = on_name[layer, head] < 0.5
        ax.annotate(
            f"layer {layer}, head {head}",
            (on_name[layer, head], left[layer, head]),
            color=plots.QUERY,
            xytext=(8, -4) if sideways else (0, -15),
            textcoords="offset points",
            ha="left" if sideways else "center",
        )
ax.axhline(whole, color=plots.MUTED, linestyle=":", linewidth=1.2)
ax.set(
    xlabel="weight of the last token on the name",
    ylabel="chance of the name\nwithout the head",
    xlim=(-0.1, 1.12),
    ylim=(-0.05, 1.05),
)
experiment.show("weight_and_use")
# --8<-- [end:figure]

# --8<-- [start:why]
ids, places, _ = next(stories(tokenizer))  # Emma's
weights = maps_of(model, ids)[
    worker[0], 0, worker[1], -1
]  # (T,): of the head that is missed most, at the stop
reads, share = tokenizer.decode([ids[0, weights.argmax()].item()]).strip(), weights.max().item()
print(f"at the full stop, layer {worker[0]}, head {worker[1]} puts {share:.0%} of its weight on {reads!r}")
print("weight on the name, mean over ten stories:")
for layer, head in lookers:
    print(
        f"  layer {layer}, head {head}: {on_name[layer, head]:.0%}; "
        f"if that head is silent at the full stop {misled[layer, head]:.0%}"
    )
print(f"chance of the name, if that head is silent at the full stop: {story['without_news']:.3%}")
# --8<-- [end:why]


# --8<-- [start:trainings]
def examine(model, tokenizer, world):
    """The same findings of one model, as plain numbers."""
    looks, _ = patterns(model, tokenizer, world)
    story = look_and_use(model, tokenizer)
    on_name, left, looker, worker = (story[name] for name in ("on_name", "left", "looker", "worker"))
    early = on_name[0].argmax().item()  # the head of layer 0 that looks at the name most
    return {
        "token_before": looks["the token before"].max().item(),
        "first_token": looks["the first token"].max().item(),
        "whole": story["whole"],
        "looker": looker,
        "worker": worker,
        "lookers": story["lookers"],
        "weight_of_worker": on_name[worker].item(),
        "without_looker": left[looker].item(),
        "without_lookers": story["without_lookers"],
        "without_worker": left[worker].item(),
        "looker_misled": story["misled"][looker].item(),
        "layer_0": on_name[0, early].item(),
        "layer_0_swapped": weight_on_name(model, tokenizer, swapped=True)[0, early].item(),
    }


ten = experiment.recorded("attention/exp6_heads", lambda: over_trainings(examine))
print(f"chance of the name in {len(ten)} trainings, with all heads and without …")
print("seed   all   the head that looks most   all that look   the head that is missed most")
for one in ten:
    most, missed = ("layer {}, head {}".format(*one[name]) for name in ("looker", "worker"))
    print(
        f"{one['seed']:4} {one['whole']:5.0%}   {most}: {one['without_looker']:6.1%}   "
        f"{len(one['lookers']):4}: {one['without_lookers']:6.1%}   {missed}: {one['without_worker']:6.1%}"
    )
# --8<-- [end:trainings]

# --8<-- [start:claims]
before, first = looks["the token before"].max(), looks["the first token"].max()
others = torch.ones(L, H, dtype=torch.bool)
others[looker] = others[worker] = False
experiment.claim_of_model("one head gives the token before six times an even share", before > 6 * even)
experiment.claim_of_model(
    "no head gives half of its weight to the token before, or to the first token", max(before, first) < 0.5
)
experiment.claim_of_model("one head gives the name more than nine tenths of its weight", on_name.max() > 0.9)
experiment.claim_of_model("with all heads the model expects the name", whole > 0.95)
experiment.claim_of_model(
    "without the head that looks most, a third to two thirds of the chance is left",
    1 / 3 < left[looker] < 2 / 3,
)
experiment.claim_of_model(
    "two heads give the name more than half of their weight, and without both hardly anything is left",
    len(lookers) == 2 and story["without_lookers"] < 0.1,
)
experiment.claim_of_model(
    "the head that is missed most hardly looks at the name", on_name[worker] < 0.05 and left[worker] < 0.1
)
experiment.claim_of_model("each other head can go", others.any() and left[others].min() > 0.9)
experiment.claim_of_model(
    "the head that is missed most sits in the first layer, those that look at the name in the second",
    worker[0] == 0 and {layer for layer, _ in lookers} == {1},
)
experiment.claim_of_model(
    "at the full stop it gives most of its weight to the verb of the first sentence",
    reads == "were" and share > 2 / 3,
)
experiment.claim_of_model(
    "silent at the full stop alone, it makes those that look at the name look elsewhere",
    max((misled[one] for one in lookers), default=1) < 0.1,
)
experiment.claim_of_model(
    "and then hardly anything of the name's chance is left", story["without_news"] < 0.05
)
# --8<-- [end:claims]
