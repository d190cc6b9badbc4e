"""Where does the answer come up? Read the stream after every layer as if it were the last: the logit lens.

It looks into a trained model, your own or the one that comes with the package, and asks after each branch which token
the stream points to. A second lens, fitted in one step, shows what the first one cannot read yet. Ten trainings, in a
record, say how often the lens shows the layer that brought the answer.

Run: python snippets/residual_connections/exp3_logit_lens.py [--documents 100] [--seed 0]
Tier: visualization · extra · about 4 s
"""

# --8<-- [start:setup]
from itertools import islice

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings

args = experiment.flags(__doc__, model="pretrain", documents=32, friend="Emma")
plots.style()
model, tokenizer, world = experiment.load_model(args.model)


def branches_of(model):
    """The modules whose output is added to the stream, in this order."""
    return [branch for block in model.model.layers for branch in (block.self_attn, block.mlp)]


places = ["embedding"] + [
    f"{kind} {i}" for i in range(len(model.model.layers)) for kind in ("attention", "feed-forward")
]
# --8<-- [end:setup]


# --8<-- [start:streams]
@torch.no_grad()
def streams_of(model, ids):
    """The stream before the first branch and after each: (P, T, D)."""
    written = [model.model.embed_tokens(torch.tensor([ids]))]
    hooks = [
        branch.register_forward_hook(lambda module, inputs, output: written.append(output))
        for branch in branches_of(model)
    ]
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.cat(written).cumsum(dim=0)


# --8<-- [end:streams]


# --8<-- [start:lens]
@torch.no_grad()
def lens(model, streams):
    """Final norm and output layer, at every place: (P, T, V)."""
    return model.lm_head(model.model.norm(streams))


# --8<-- [end:lens]


# --8<-- [start:losses]
def read(documents):
    """Streams of all tokens (P, N, D), the tokens themselves (N,), those that come next (N,)."""
    first, last = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    rows = [first + tokenizer.encode(one.text) + last for one in documents]
    streams = torch.cat([streams_of(model, row)[:, :-1] for row in rows], dim=1)
    current = torch.tensor([token for row in rows for token in row[:-1]])
    following = torch.tensor([token for row in rows for token in row[1:]])
    return streams, current, following


held_out = world.documents("validation")
streams, current, following = read(list(islice(held_out, args.documents)))
logits = lens(model, streams)  # (P, N, V)
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
    translated.append(F.cross_entropy(lens(model, prepare(here) @ bridge), following).item())
print("loss              by the lens   behind a map")
for place, loss, better in zip(places, losses, translated, strict=True):
    print(f"{place:16} {loss:12.2f} {better:14.2f}")
# --8<-- [end:translate]

# --8<-- [start:losses_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
uniform = torch.tensor(len(logits[0, 0])).log().item()
ax.axhline(uniform, color=plots.FLOOR, linestyle=":", linewidth=1.4)
ax.text(len(places) - 1, uniform + 0.3, f"all tokens equally likely: {uniform:.1f}", ha="right",
        color=plots.FLOOR)  # fmt: skip
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
FRIENDS = ["Emma", "Lucy", "Vera", "Zoe", "Mira", "Sara", "Hana", "Ivy", "Ruth", "June"]


def tell(tokenizer, friend):
    """The ids of the story, and how many of them stand before the name that has to come next."""
    start = [tokenizer.bos_token_id, *tokenizer.encode(STORY.format(friend))]
    return start + tokenizer.encode(f" {friend} had a"), len(start)


ids, start = tell(tokenizer, args.friend)
window = slice(start - 3, len(ids) - 1)  # three tokens before the name up to the last but one
probabilities = lens(model, streams_of(model, ids)[:, window]).softmax(dim=-1)  # (P, T, V)
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


# --8<-- [start:handover]
@torch.no_grad()
def after_handover(model, ids, branch, given):
    """The chances of the token after `ids` (V,), if this branch writes `given` (D,) at the last of them."""

    def hand_over(module, inputs, output):
        return torch.cat([output[:, :-1], given[None, None]], dim=1)

    hook = branch.register_forward_hook(hand_over)
    result = model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1)
    hook.remove()
    return result


def examine(model, tokenizer, world):
    """At the full stop before the name, by place or branch, as means over the friends.

    Gives the chance of the name that the lens sees (`lens`), and the chances of the `own` and of the `other` name if
    one branch writes what it wrote in the story of the next friend.
    """
    stories = [tell(tokenizer, friend) for friend in FRIENDS]
    names = [ids[start] for ids, start in stories]  # the first token of each
    stories = [ids[:start] for ids, start in stories]
    streams = torch.stack([streams_of(model, ids)[:, -1] for ids in stories], dim=1)  # (P, S, D)
    seen = lens(model, streams).softmax(dim=-1)  # (P, S, V)
    outputs = streams.diff(dim=0)  # (branches, S, D): what each branch writes there
    own, other = torch.zeros(2, len(outputs), len(stories))
    for i, ids in enumerate(stories):
        j = (i + 1) % len(stories)
        for number, branch in enumerate(branches_of(model)):
            chances = after_handover(model, ids, branch, outputs[number, j])
            own[number, i], other[number, i] = chances[names[i]], chances[names[j]]
    return {
        "lens": seen[:, range(len(names)), names].mean(dim=1).tolist(),
        "own": own.mean(dim=1).tolist(),
        "other": other.mean(dim=1).tolist(),
    }


found = examine(model, tokenizer, world)
named, own, other = (torch.tensor(found[key]) for key in ("lens", "own", "other"))  # (P,), (branches,) twice
rise = named.diff()  # (branches,), by how much the lens sees the chance rise
carrier, jump = other.argmax().item(), rise.argmax().item()
# --8<-- [end:handover]

# --8<-- [start:handover_table]
print(f"chance of the name, mean of {len(FRIENDS)} stories       with another story's output")
print(f"{'':16} seen by the lens   it rose by      own name   other name")
print(f"{places[0]:16} {named[0]:16.0%}")
for i, place in enumerate(places[1:]):
    print(f"{place:16} {named[i + 1]:16.0%} {rise[i]:+12.0%} {own[i]:13.0%} {other[i]:12.0%}")
print(f"the lens rises most after {places[jump + 1]}; {places[carrier + 1]} carries most of the name")
# --8<-- [end:handover_table]

# --8<-- [start:trainings]
ten = experiment.recorded("residual_connections/exp3_logit_lens", lambda: over_trainings(examine))
# --8<-- [end:trainings]


# --8<-- [start:claims]
def places_of(one):
    """The branch that carries the name and the one after which the lens rises most, by number, for one training."""
    rises = torch.tensor(one["lens"]).diff()
    return torch.tensor(one["other"]).argmax().item(), rises.argmax().item()


def seen_there(one):
    """By how much the lens sees the chance rise after the branch that carries the name."""
    return torch.tensor(one["lens"]).diff()[places_of(one)[0]].item()


clear = [one for one in ten if max(one["other"]) > 0.5]  # one branch brings the other name
shown_there = [one for one in clear if places_of(one)[0] == places_of(one)[1]]
shown_later = [one for one in clear if places_of(one)[0] < places_of(one)[1]]
hidden = [one for one in clear if seen_there(one) < 0.05]
with torch.no_grad():
    own_logits = model(torch.tensor([ids])).logits[0]  # (T, V)
experiment.claim("after the last branch the lens is the model's own output",
                 torch.allclose(lens(model, streams_of(model, ids))[-1], own_logits, atol=1e-3))  # fmt: skip
experiment.claim_of_model("the loss falls with every branch", (losses.diff() < 0).all())
experiment.claim_of_model("before any layer it is more than twice that of guessing", losses[0] > 2 * uniform)
experiment.claim_of_model("through the first block it is above guessing, after that below",
                          (losses[:3] > uniform + 0.5).all() and (losses[3:] < uniform - 0.5).all())  # fmt: skip
experiment.claim_of_model(
    "because the lens reads the token itself there, in more than nine of ten places", same[0] > 0.9
)
experiment.claim_of_model("behind a map the embedding beats guessing", translated[0] < uniform - 0.3)
experiment.claim_of_model("the map helps at every place but the last",
                          (torch.tensor(translated)[:-1] < losses[:-1] - 0.1).all())  # fmt: skip
experiment.claim_of_model("at the end the name is expected with more than 90 %, on average", named[-1] > 0.9)
experiment.claim_of_model("before the second block it is hardly expected", named[2] < 0.05)
experiment.claim_of_model("the lens sees nearly all of the chance appear at one attention layer",
                          rise[jump] > 0.9 and jump % 2 == 0)  # fmt: skip
experiment.claim_of_model("that layer carries the name: with its output from the other story the other name comes",
                          carrier == jump and other[carrier] > 0.9)  # fmt: skip
others_left = [i for i in range(len(own)) if i != carrier]
experiment.claim_of_model("no other layer's output changes the name",
                          (own[others_left] > 0.9).all() and (other[others_left] < 0.1).all())  # fmt: skip
if args.friend in ("Emma", "Zoe"):  # the two stories of the page
    experiment.claim_of_model("in the story the lower two rows repeat the token itself",
                              (best[:2] == torch.tensor(ids[window])).all())  # fmt: skip
    experiment.claim_of_model("and in the top row every token is likely", chance[-1].min() > 0.5)
# --8<-- [end:claims]
