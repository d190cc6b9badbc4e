"""What the heads of the trained model look at, and whether the model uses what they bring.

Each head's weights on held-out text: the token before, the first token, the token itself. Then the story of
exp1: which heads look at the friend's name, and what the model still knows when one of them is switched off.

Run: python snippets/attention/exp6_heads.py [--documents 40]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
from contextlib import contextmanager
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
import torch

from minimind import experiment, load, plots
from minimind.data import World
from minimind.errors import UserError
from minimind.model import apply_rope, dot_product_attention

args = experiment.flags(__doc__, documents=40)
plots.style()
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(f"{error}. This needs a trained model: run `minimind pretrain` first.") from None
layers = [layer.self_attn for layer in model.model.layers]
L, H, D = len(layers), layers[0].num_heads, layers[0].head_dim
# --8<-- [end:setup]


# --8<-- [start:maps]
@torch.no_grad()
def maps_of(rows):
    """The weights of all heads (L, B, H, T, T) while the model reads rows (B, T)."""
    inputs = []  # what each attention layer reads, noted while the model runs
    hooks = [one.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for one in layers]
    model(rows)
    for hook in hooks:
        hook.remove()
    length = rows.shape[1]
    positions, causal = torch.arange(length), torch.ones(length, length, dtype=torch.bool).tril()
    maps = []
    for attention, x in zip(layers, inputs, strict=True):
        q = attention.q_norm(attention.q_proj(x).unflatten(-1, (-1, D))).transpose(1, 2)  # (B, H, T, D)
        k = attention.k_norm(attention.k_proj(x).unflatten(-1, (-1, D))).transpose(1, 2)
        k = k.repeat_interleave(H // k.shape[1], dim=1)  # a key head serves several query heads
        q, k = (apply_rope(y, positions, model.model.frequencies) for y in (q, k))
        maps.append(dot_product_attention(q, k, torch.eye(length), causal))  # values = identity: the weights
    return torch.stack(maps)


# --8<-- [end:maps]

# --8<-- [start:patterns]
T = 64
ids = [
    [tokenizer.bos_token_id, *tokenizer.encode(item.text)]
    for item in islice(World(0).documents("validation"), args.documents)
]
rows = torch.tensor([one[:T] for one in ids if len(one) >= T])  # (B, T), held-out text
maps = maps_of(rows)[..., 8:, :].mean(dim=1)  # (L, H, T - 8, T), queries with eight tokens before them
looks = {
    "the token before": torch.stack([maps[:, :, i, i + 7] for i in range(T - 8)]).mean(dim=0),  # (L, H)
    "the first token": maps[..., 0].mean(dim=2),
    "itself": torch.stack([maps[:, :, i, i + 8] for i in range(T - 8)]).mean(dim=0),
}
even = sum(1 / (t + 1) for t in range(8, T)) / (T - 8)  # weight on each token if all got the same
print(f"{len(rows)} documents of {T} tokens; shared evenly, a token gets {even:.3f}")
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
def without(*heads):
    """The model with some heads' output set to zero, before the output projection mixes it in."""

    def silence(layer):
        def hook(_, given):
            found = given[0].clone()  # (B, T, H * D), the heads side by side
            for one, head in heads:
                if one == layer:
                    found[..., head * D : (head + 1) * D] = 0
            return (found,)

        return hook

    hooks = [one.o_proj.register_forward_pre_hook(silence(layer)) for layer, one in enumerate(layers)]
    yield
    for hook in hooks:
        hook.remove()


BEFORE, AFTER = (
    "One cold morning, Noah the baker and his friend",
    " were at the market. Noah had a big basket.",
)
friends = ["Emma", "Lucy", "Nora", "Zoe", "Mira", "Sara", "Hana", "Ivy", "Ruth", "June"]
stories = {
    name: torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(f"{BEFORE} {name}{AFTER}")]])
    for name in friends
}
place = len(tokenizer.encode(BEFORE)) + 1  # of the friend's name; a start token leads


@torch.no_grad()
def chance():
    """The chance of the friend's name (of its first token), mean over ten stories."""
    chances = [
        model(story).logits[0, -1].softmax(dim=-1)[tokenizer.encode(f" {name}")[0]]
        for name, story in stories.items()
    ]
    return torch.stack(chances).mean().item()


on_name = torch.zeros(L, H)  # weight of the last token, a full stop, on the friend's name
for name, story in stories.items():
    end = place + len(tokenizer.encode(f" {name}"))
    on_name += maps_of(story)[:, 0, :, -1, place:end].sum(dim=-1) / len(friends)
whole = chance()
left = torch.zeros(L, H)  # chance that is left without this head
for layer in range(L):
    for head in range(H):
        with without((layer, head)):
            left[layer, head] = chance()
looker, worker = divmod(on_name.argmax().item(), H), divmod(left.argmin().item(), H)
lookers = [(layer, head) for layer in range(L) for head in range(H) if on_name[layer, head] > 0.5]
order = on_name.flatten().argsort().tolist()  # from the head that looks least
idle = [divmod(number, H) for number in order[: len(lookers)]]
with without(*lookers):
    none_left = chance()
with without(*idle):
    idle_left = chance()  # as many heads that hardly look at it, for comparison
print(f"all heads: the friend's name has a chance of {whole:.0%}")
for title, (layer, head) in {"looks most": looker, "is missed most": worker}.items():
    print(
        f"{title:>14}: layer {layer}, head {head}, weight on the name {on_name[layer, head]:.0%}, "
        f"chance without it {left[layer, head]:.0%}"
    )
print(f"without all {len(lookers)} heads that give it more than half of their weight: {none_left:.0%}")
print(f"without the {len(idle)} heads that look at it least: {idle_left:.0%}")
# --8<-- [end:switch_off]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for layer in range(L):
    ax.plot(on_name[layer], left[layer], "o", color=plots.QUERY)
    for head in range(H):
        if on_name[layer, head] > 0.3 or left[layer, head] < whole - 0.1:
            ax.annotate(
                f"layer {layer}, head {head}",
                (on_name[layer, head], left[layer, head]),
                color=plots.QUERY,
                xytext=(0, -13),
                textcoords="offset points",
                ha="center",
            )
ax.axhline(whole, color=plots.MUTED, linestyle=":", linewidth=1.2)
ax.set(
    xlabel="weight of the last token on the name",
    ylabel="chance of the name\nwithout the head",
    xlim=(-0.1, 1.12),
    ylim=(0, 1.05),
)
experiment.show("weight_and_use")
# --8<-- [end:figure]

# --8<-- [start:claims]
before = looks["the token before"]
experiment.claim("one head gives the token before four times an even share", before.max() > 4 * even)
experiment.claim("no head is a pure previous-token head", before.max() < 0.5)
experiment.claim("no head leaves half of its weight on the first token", looks["the first token"].max() < 0.5)
experiment.claim("one head gives the name more than half of its weight", on_name.max() > 0.5)
experiment.claim("with all heads the model expects the name", whole > 0.8)
experiment.claim("the head that looks most is not the one that is missed most", looker != worker)
experiment.claim("without the head that looks most, the name stays likely", left[looker] > 0.5)
experiment.claim("without all that look at it, hardly anything is left", none_left < 0.2)
experiment.claim("without as many that hardly look, most is left", idle_left > 0.5)
experiment.claim("the head that is missed most sits in the first layer", worker[0] == 0)
experiment.claim("some head that hardly looks at the name can go", left[on_name < 0.1].max() > whole - 0.02)
# --8<-- [end:claims]
