"""Where does the answer come up? Read the stream after every layer as if it were the last: the logit lens.

It loads the model in runs/pretrain, which `minimind pretrain` makes, and asks after each branch which token the
stream points to. A second lens, fitted in one step, shows what the first one cannot read yet.

Run: python snippets/residual_connections/exp3_logit_lens.py [--documents 100] [--seed 0]
Tier: visualization · extra · about 4 s
"""

# --8<-- [start:setup]
from itertools import islice

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind import experiment, load, plots
from minimind.data import World
from minimind.errors import UserError

args = experiment.flags(__doc__, documents=32, friend="Emma")
plots.style()
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(f"{error}. This script needs a trained model: run `minimind pretrain` first.") from None
model.eval()
branches = [branch for block in model.model.layers for branch in (block.self_attn, block.mlp)]
places = ["embedding"] + [
    f"{kind} {i}" for i in range(len(model.model.layers)) for kind in ("attention", "feed-forward")
]
# --8<-- [end:setup]


# --8<-- [start:streams]
@torch.no_grad()
def streams_of(ids):
    """The stream before the first branch and after each: (P, T, D)."""
    written = [model.model.embed_tokens(torch.tensor([ids]))]
    hooks = [
        branch.register_forward_hook(lambda module, inputs, output: written.append(output))
        for branch in branches
    ]
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.cat(written).cumsum(dim=0)


# --8<-- [end:streams]


# --8<-- [start:lens]
@torch.no_grad()
def lens(streams):
    """Final norm and output layer, at every place: (P, T, V)."""
    return model.lm_head(model.model.norm(streams))


# --8<-- [end:lens]


# --8<-- [start:losses]
def read(documents):
    """Streams of all tokens (P, N, D), the tokens themselves (N,), those that come next (N,)."""
    first, last = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    rows = [first + tokenizer.encode(one.text) + last for one in documents]
    streams = torch.cat([streams_of(row)[:, :-1] for row in rows], dim=1)
    current = torch.tensor([token for row in rows for token in row[:-1]])
    following = torch.tensor([token for row in rows for token in row[1:]])
    return streams, current, following


held_out = World(args.seed).documents("validation")
streams, current, following = read(list(islice(held_out, args.documents)))
logits = lens(streams)  # (P, N, V)
losses = torch.stack([F.cross_entropy(one, following) for one in logits])  # (P,)
right = (logits.argmax(dim=-1) == following).float().mean(dim=1)  # (P,)
same = (logits.argmax(dim=-1) == current).float().mean(dim=1)  # (P,), the token that was just read
print("read after         loss   next token right   the token itself again")
for place, loss, hit, again in zip(places, losses, right, same, strict=True):
    print(f"{place:16} {loss:6.2f} {hit:14.0%} {again:20.0%}")
# --8<-- [end:losses]

# --8<-- [start:translate]
# Other documents: which linear map leads from the normalized stream here to the normalized stream at the end?
others, _, _ = read(list(islice(held_out, 2 * args.documents)))


def prepare(stream):
    """Normalized, with a 1 at the end: the map may add a constant."""
    return F.pad(F.rms_norm(stream, stream.shape[-1:]), (0, 1), value=1.0)


translated = []
for here, there in zip(streams, others, strict=True):
    bridge = torch.linalg.lstsq(prepare(there), prepare(others[-1])[:, :-1]).solution  # (D + 1, D)
    translated.append(F.cross_entropy(lens(prepare(here) @ bridge), following).item())
print("loss              by the lens   behind a map")
for place, loss, better in zip(places, losses, translated, strict=True):
    print(f"{place:16} {loss:12.2f} {better:14.2f}")
# --8<-- [end:translate]

# --8<-- [start:losses_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
uniform = torch.tensor(len(logits[0, 0])).log().item()
plots.mark_floor(ax, uniform, f"all tokens equally likely: {uniform:.1f}")
ax.plot(losses, "o-", color=plots.RESIDUAL, markersize=4)
ax.plot(translated, "o-", color=plots.GREEN, markersize=4)
ax.annotate("lens", (1, losses[1]), xytext=(9, 2), textcoords="offset points", color=plots.RESIDUAL)
ax.annotate("lens behind a map", (0, translated[0]), xytext=(2, -16), textcoords="offset points",
            color=plots.GREEN)  # fmt: skip
ax.set_xticks(
    range(len(places)), [one.replace(" ", "\n").replace("-", "-\n") for one in places], fontsize=8.5
)
ax.set(ylabel="loss (nats per token)", ylim=(0, None))
experiment.show("loss_by_depth")
# --8<-- [end:losses_figure]

# --8<-- [start:story]
STORY = "One cold morning, Noah the baker and his friend {} were at the market. Noah had a big basket."
FRIENDS = ["Emma", "Lucy", "Nora", "Zoe", "Mira", "Sara", "Hana", "Ivy", "Ruth", "June"]


def tell(friend):
    """The ids of the story, and how many of them stand before the name that has to come next."""
    start = [tokenizer.bos_token_id, *tokenizer.encode(STORY.format(friend))]
    return start + tokenizer.encode(f" {friend} had a"), len(start)


ids, start = tell(args.friend)
window = slice(start - 3, len(ids) - 1)  # three tokens before the name up to the last but one
probabilities = lens(streams_of(ids)[:, window]).softmax(dim=-1)  # (P, T, V)
best = probabilities.argmax(dim=-1)  # (P, T)
# --8<-- [end:story]

# --8<-- [start:story_figure]
shown = lambda token: tokenizer.decode([token]).replace(" ", "·") or "?"  # noqa: E731
true = ids[window.start + 1 : window.stop + 1]
fig, ax = plt.subplots(figsize=(5.6, 3.8))
chance = torch.stack([probabilities[:, i, token] for i, token in enumerate(true)], dim=1)
plots.heatmap(ax, chance, rows=places, columns=[shown(token) for token in ids[window]], colour=plots.RESIDUAL)
ax.set_aspect("auto")
for row in range(len(places)):
    for column in range(len(true)):
        ink = plots.PAPER if chance[row, column] > 0.6 else plots.INK
        ax.text(column + 0.5, row + 0.5, shown(best[row, column].item()), ha="center", va="center", color=ink,
                fontsize=9)  # fmt: skip
ax.set_xticklabels(ax.get_xticklabels(), rotation=0)
ax.set(xlabel="token read (in each cell: the likeliest next one)", ylabel="")
ax.invert_yaxis()  # the first place at the bottom, as in the diagram
experiment.show("lens_on_a_story")
# --8<-- [end:story_figure]


# --8<-- [start:chances]
@torch.no_grad()
def chances(friend):
    """The chance of the name's first token by place (P,), read from the full stop before it."""
    ids, start = tell(friend)
    return lens(streams_of(ids[:start])[:, -1]).softmax(dim=-1)[:, ids[start]]


named = torch.stack([chances(friend) for friend in FRIENDS])  # (10, P)
print(f"chance of the name, mean of {len(FRIENDS)} stories")
for place, value in zip(places, named.mean(dim=0), strict=True):
    print(f"{place:16} {value:6.1%}")
# --8<-- [end:chances]


# --8<-- [start:patch]
@torch.no_grad()
def outputs_of(friend):
    """What each branch writes at the full stop of this friend's story: (branches, 1, 1, D)."""
    ids, start = tell(friend)
    return streams_of(ids[:start])[:, None, -1:].diff(dim=0)


@torch.no_grad()
def after_handover(friend, branch, given):
    """The chances of the next token, if at the full stop this branch writes `given` in place of its own."""
    ids, start = tell(friend)
    hook = branches[branch].register_forward_hook(
        lambda module, inputs, output: torch.cat([output[:, :-1], given], dim=1)
    )
    result = model(torch.tensor([ids[:start]])).logits[0, -1].softmax(dim=-1)
    hook.remove()
    return result


def first_token(friend):
    """The id with which the name begins."""
    ids, start = tell(friend)
    return ids[start]


outputs = [outputs_of(friend) for friend in FRIENDS]
own, other = torch.zeros(2, len(branches))
for i, friend in enumerate(FRIENDS):
    j = (i + 1) % len(FRIENDS)  # the next story gives the output
    for branch in range(len(branches)):
        chance = after_handover(friend, branch, outputs[j][branch])
        own[branch] += chance[first_token(friend)] / len(FRIENDS)
        other[branch] += chance[first_token(FRIENDS[j])] / len(FRIENDS)
rise = named.mean(dim=0).diff()  # (branches,), by how much the lens sees the chance rise
print("                    lens: the name   with another story's output: own name, other name")
for i, place in enumerate(places[1:]):
    print(f"{place:16} {rise[i]:+15.0%} {own[i]:31.0%} {other[i]:11.0%}")
carrier, jump = other.argmax().item(), rise.argmax().item()
print(f"the lens rises most after {places[jump + 1]}; {places[carrier + 1]} carries most of the name")
# --8<-- [end:patch]

# --8<-- [start:claims]
experiment.claim("the loss falls with every branch", (losses.diff() < 0).all())
experiment.claim("before any layer it is more than twice that of guessing", losses[0] > 2 * uniform)
experiment.claim(
    "because the lens reads the token itself there, in more than nine of ten places", same[0] > 0.9
)
experiment.claim("after the first feed-forward layer it does so in under half", same[2] < 0.5)
experiment.claim(
    "after the last branch the lens is the model's own output", abs(losses[-1] - translated[-1]) < 1e-3
)
experiment.claim("behind a map the embedding beats guessing", translated[0] < uniform - 1)
experiment.claim("the map helps at every place but the last",
                 all(t < loss - 0.1 for t, loss in zip(translated[:-1], losses[:-1], strict=True)))  # fmt: skip
experiment.claim("at the end the name is expected with more than 80 %, on average", named[:, -1].mean() > 0.8)
experiment.claim("before the second block it is hardly expected", named[:, 2].mean() < 0.25)
experiment.claim("the lens sees more than a third of the chance appear at one attention layer",
                 rise.max() > 0.33 and jump % 2 == 0)  # fmt: skip
experiment.claim("handing over one attention layer's output makes the other story's name the likelier one",
                 carrier % 2 == 0 and other[carrier] > own[carrier] + 0.1)  # fmt: skip
experiment.claim("the name is written no later than the lens shows it", carrier <= jump)
experiment.claim("the last feed-forward layer raises the chance that the lens shows, but does not choose the name",
                 own[-1] > other[-1] + 0.1)  # fmt: skip
# --8<-- [end:claims]
