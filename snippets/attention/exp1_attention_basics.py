"""How attention works: first by hand with five words, then in a trained model that has to look up a name.

The first part uses numbers small enough for a pencil. The second asks a trained model: which earlier token does it
look at, and does it use what it sees? It takes your own run in runs/pretrain, else the model that comes along.

Run: python snippets/attention/exp1_attention_basics.py [--looks-for thing] [--model shipped/pretrain]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.model import apply_rope, dot_product_attention

args = experiment.flags(__doc__, model="pretrain", looks_for="person")
plots.style()
# --8<-- [end:setup]

# --8<-- [start:by_hand]
words = ["Mia", "hid", "the", "coin", "she"]
features = ["person", "action", "place", "thing"]  # what the numbers of queries and keys mean
k = torch.tensor(  # (5, 4), keys: what each word offers
    [
        [1.0, 0.0, 0.0, 0.0],  # Mia: a person
        [0.0, 1.0, 0.0, 0.0],  # hid: an action
        [0.0, 0.0, 0.0, 0.0],  # the: nothing
        [0.0, 0.0, 0.0, 1.0],  # coin: a thing
        [0.0, 0.0, 0.0, 0.0],  # she: nothing that is known yet
    ]
)
v = torch.tensor([[10.0, 0], [0, 0], [0, 0], [0, 10], [0, 0]])  # (5, 2), values: [Mia, coin]
q = torch.zeros(1, 4)  # (1, 4), the query of "she": what it wants to find
q[0, features.index(args.looks_for)] = 4

scores = q @ k.T / 4**0.5  # (1, 5), how well each key fits; 4 numbers in a key
weights = scores.softmax(dim=-1)  # (1, 5), exp of each score, divided by their sum
output = weights @ v  # (1, 2), the values, mixed by the weights
print(f'"she" looks for a {args.looks_for}')
for word, score, weight in zip(words, scores[0], weights[0], strict=True):
    print(f"{word:6} score {score:.0f}   weight {weight:.3f}")
print(f"output: {output[0, 0]:.2f} of Mia, {output[0, 1]:.2f} of the coin")
# --8<-- [end:by_hand]

# --8<-- [start:model]
model, tokenizer, _ = experiment.load_model(args.model)

BEFORE, AFTER = (
    "One cold morning, Noah the baker and his friend",
    " were at the market. Noah had a big basket.",
)


@torch.no_grad()
def read(friend):
    """Let the model read a story; return its ids, the chances of each next token, and all attention maps."""
    ids = [tokenizer.bos_token_id, *tokenizer.encode(f"{BEFORE} {friend}{AFTER}")]  # T ids
    inputs = []  # what each attention layer reads, noted while the model runs
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda module, values: inputs.append(values[0][0]))
        for layer in model.model.layers
    ]
    chances = model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1)  # (vocab_size,)
    for hook in hooks:
        hook.remove()
    layers = zip(model.model.layers, inputs, strict=True)
    maps = torch.stack([attention_map(layer.self_attn, x) for layer, x in layers])  # (L, H, T, T)
    return ids, chances, maps


def attention_map(attention, x):
    """The weights of all heads of one layer, from its own projections of x (T, hidden_size)."""
    length, positions = len(x), torch.arange(len(x))
    q, k = (
        norm(projection(x).view(length, -1, attention.head_dim)).transpose(0, 1)
        for norm, projection in (
            (attention.q_norm, attention.q_proj),
            (attention.k_norm, attention.k_proj),
        )
    )  # (H, T, D) and (K, T, D)
    k = k.repeat_interleave(len(q) // len(k), dim=0)  # (H, T, D): a key head serves several query heads
    q, k = (apply_rope(y, positions, model.model.frequencies) for y in (q, k))
    causal = torch.ones(length, length, dtype=torch.bool).tril()  # no token looks ahead
    return dot_product_attention(q, k, torch.eye(length), causal)  # values = identity: the weights come out


# --8<-- [end:model]

# --8<-- [start:look_up]
first = len(tokenizer.encode(BEFORE)) + 1  # place of the friend's name; a start token leads
friends = ["Emma", "Lucy", "Vera", "Zoe", "Mira", "Sara", "Hana", "Ivy", "Ruth", "June"]
stories = {friend: read(friend) for friend in friends}

ids, chances, maps = stories["Emma"]
name = tokenizer.encode(" Emma")
# How much weight the last token puts on "Emma", in every layer and head.
looks = maps[:, :, -1, first : first + len(name)].sum(dim=-1)  # (L, H)
layer, head = divmod(looks.argmax().item(), looks.shape[1])
weight = looks.max().item()
print(tokenizer.decode(ids[1:]))
print(
    f"next, the model expects {tokenizer.decode([chances.argmax().item()]).strip()!r} ({chances.max():.0%})"
)
print(f"layer {layer}, head {head}: the last token's weight on Emma is {weight:.0%}")

followed = 0
for friend, (story, _, _) in stories.items():
    answer = tokenizer.encode(f" {friend}")  # a rare name is several tokens long; all of them count
    written = model.generate(torch.tensor([story]), max_new_tokens=len(answer), temperature=0)
    followed += written[0, len(story) :].tolist() == answer
emma, emma_replaced = (stories[friend][1][name[0]].item() for friend in ("Emma", "Lucy"))
beginning = tokenizer.decode(name[:1]).strip()
print(f"{len(friends)} friends, a story each: the model writes the friend's whole name in {followed}")
print(f"chance of {beginning!r}: {emma:.1%}; with Lucy in Emma's place: {emma_replaced:.1%}")
# --8<-- [end:look_up]

# --8<-- [start:figure]
labels = [""] * len(ids)
labels[0], labels[-1] = "start", "."
for word in ("Noah", "Emma"):  # the names are enough to find one's way
    pieces = tokenizer.encode(f" {word}")
    for place in range(len(ids)):
        if ids[place : place + len(pieces)] == pieces:
            labels[place] = word
fig, ax = plt.subplots(figsize=(4.8, 4.8))
plots.heatmap(ax, maps[layer, head], rows=labels, columns=labels, colour=plots.QUERY)
ax.set(xlabel="token looked at (key)", ylabel="token that looks (query)")
ax.tick_params(labelsize=10)
ax.get_yticklabels()[-1].set(color=plots.QUERY, fontweight="bold", fontsize=13)
ax.get_xticklabels()[first].set(color=plots.KEY, fontweight="bold", fontsize=13)
experiment.show("attention_map")
# --8<-- [end:figure]

# --8<-- [start:claims]
same = dot_product_attention(q, k, v)
experiment.claim("the steps by hand give what the package's attention gives", torch.allclose(same, output))
if args.looks_for == "person":
    experiment.claim("by hand: Mia gets 65 % of the weight", abs(weights[0, 0] - 0.649) < 0.001)
if args.looks_for == "thing":
    experiment.claim("by hand: another query, and the coin comes out", output[0, 1] > 5 * output[0, 0])
experiment.claim_of_model("one head puts more than half of its weight on the name to look up", weight > 0.5)
experiment.claim_of_model("another puts less than a hundredth of its weight there", looks.min() < 0.01)
experiment.claim_of_model("the model expects the beginning of the friend's name", chances.argmax() == name[0])
experiment.claim_of_model("change the name, and the name that is written follows", followed == len(friends))
experiment.claim_of_model(
    "the old name's beginning is no longer expected", emma > 0.99 and emma_replaced < 0.01
)
# --8<-- [end:claims]
