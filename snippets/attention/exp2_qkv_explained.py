"""What Q, K and V do: a look-up by hand, then two look-ups that learn, one of them with K = Q.

Four facts and a question, with matrices small enough for a pencil. Then attention learns to follow pointers:
once with a matrix each for queries and keys, once with one matrix for both and as many numbers.

Run: python snippets/attention/exp2_qkv_explained.py [--values-from name]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.course import experiment, plots
from minimind.model import dot_product_attention

args = experiment.flags(__doc__, values_from="thing", steps=200)
plots.style()
# --8<-- [end:setup]

# --8<-- [start:by_hand]
people, things = ["Mia", "Noah", "Emma", "Lucy"], ["key", "coin", "ball", "bell"]
# A token's vector has three parts of four numbers: the name it wants, its own name, its thing.
x = torch.zeros(5, 12)  # (5 tokens, 12): four facts, then the question "Noah?"
x[:4, 4:8] = torch.eye(4)  # fact i carries name i ...
x[:4, 8:12] = torch.eye(4)  # ... and thing i
x[4, people.index("Noah")] = 1  # the question wants a name, and has neither name nor thing


def reads(part):
    """A matrix (12, 4) that copies one part of the vector."""
    return torch.eye(12)[:, 4 * part : 4 * part + 4]


W_q, W_k = 8 * reads(0), reads(1)  # ask with what is wanted, answer to one's own name
W_v = reads(["wanted", "name", "thing"].index(args.values_from))
q, k, v = x @ W_q, x @ W_k, x @ W_v  # (5, 4) each
weights = (q @ k.T / 4**0.5).softmax(dim=-1)  # (5, 5), row 4 is the question's
found = weights[4] @ v  # (4,)
kinds = {"wanted": people, "name": people, "thing": things}[args.values_from]
print(
    "weights:",
    *(f"{name} {weight:.2f}" for name, weight in zip([*people, "question"], weights[4], strict=True)),
)
print("found:  ", *(f"{kind} {share:.2f}" for kind, share in zip(kinds, found, strict=True)))
# --8<-- [end:by_hand]

# --8<-- [start:one_matrix]
W_both = reads(0) + reads(1)  # one matrix: what a token wants is also what it offers
both = x @ W_both  # (5, 4)
shared_scores = 8 * both @ both.T / 4**0.5  # (5, 5)
shared = shared_scores.softmax(dim=-1)
print(
    "K = Q:  ",
    *(f"{name} {weight:.2f}" for name, weight in zip([*people, "question"], shared[4], strict=True)),
)
print("the scores equal their transpose:", torch.equal(shared_scores, shared_scores.T))
# --8<-- [end:one_matrix]

# --8<-- [start:learn]
T, RUNS = 8, 3  # tokens a sample; seeds trained side by side


def samples(generator, count=32):
    """Tokens with a name, a wanted name (some other token's), and a content; what each token is to find."""
    shape = (RUNS, count, T)
    name = torch.rand(shape, generator=generator).argsort(dim=-1)  # (RUNS, count, T), a permutation
    wanted = name.roll(1, dims=-1)  # token i wants the name of token i - 1 ...
    content = torch.randint(T, shape, generator=generator)
    vectors = torch.cat([F.one_hot(part, T).float() for part in (wanted, name, content)], dim=-1)
    return vectors, content.roll(1, dims=-1)  # (…, T, 24), (…, T); ... so it has to find that token's content


def train(one_matrix, rate):
    """Learn the look-up with three seeds; the losses at the end, and the weights between the tokens."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    width = 16 if one_matrix else 8  # one matrix twice as wide has as many numbers as two
    queries = (torch.randn(RUNS, 1, 24, width) / 24**0.5).requires_grad_()
    keys = queries if one_matrix else (torch.randn(RUNS, 1, 24, width) / 24**0.5).requires_grad_()
    values = (torch.randn(RUNS, 1, 24, T) / 24**0.5).requires_grad_()
    optimizer = torch.optim.Adam({queries, keys, values}, lr=rate)
    losses = []
    for _ in range(args.steps):
        vectors, answer = samples(generator)
        scores = (vectors @ queries) @ (vectors @ keys).mT / math.sqrt(width)  # (RUNS, count, T, T)
        attention = scores.softmax(dim=-1)
        logits = attention @ (vectors @ values)  # (RUNS, count, T, T contents)
        loss = F.cross_entropy(logits.flatten(1, 2).mT, answer.flatten(1), reduction="none").mean(dim=1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)[-20:].mean(dim=0), attention.detach().mean(dim=1)  # (RUNS,), (RUNS, T, T)


arms = {}
for label, one_matrix in {"Q and K apart": False, "K = Q": True}.items():
    tried = [train(one_matrix, rate) for rate in (0.01, 0.03, 0.1)]  # each arm gets its own best rate
    arms[label] = min(tried, key=lambda result: result[0].mean().item())
print(f"knowing nothing: loss {math.log(T):.2f}")
for label, (losses, attention) in arms.items():
    right = attention.diagonal(-1, dim1=1, dim2=2).mean().item()  # token i wants token i - 1
    print(
        f"{label:13}  loss {losses.min():.2f} to {losses.max():.2f}  weight on the wanted token {right:.2f}"
    )
# --8<-- [end:learn]

# --8<-- [start:figure]
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9))
for ax, (label, (_, attention)) in zip(axes, arms.items(), strict=True):
    mesh = plots.heatmap(ax, attention.mean(dim=0), colour=plots.QUERY)  # mean over the seeds
    mesh.set_clim(0, 1)  # one scale for both
    ax.set(title=label, xlabel="token looked at", xticks=[], yticks=[])
axes[0].set_ylabel("token that looks")
experiment.show("one_matrix_or_two")
# --8<-- [end:figure]

# --8<-- [start:claims]
apart, tied = arms.values()
wanted, own, own_apart = (  # means over the three seeds
    matrix.diagonal(offset, dim1=1, dim2=2).mean().item()
    for matrix, offset in ((tied[1], -1), (tied[1], 0), (apart[1], 0))
)
if args.values_from == "thing":
    same = torch.allclose(dot_product_attention(q, k, v)[4], found)
    experiment.claim("by hand: the package's attention finds the same", same)
    experiment.claim("by hand: the question gets nine tenths of the coin", found[1] > 0.9)
else:
    experiment.claim("with the names as values it gets the name that it came with", found[1] > 0.9)
itself = abs(shared[4, 4] - shared[4, 1]) < 1e-6
experiment.claim("by hand, K = Q: the question looks at itself as much as at Noah", itself)
experiment.claim("with a matrix each, all three seeds learn the look-up", apart[0].max() < 0.1)
experiment.claim("with K = Q none does, at the best of three rates", tied[0].min() > 1.1)
experiment.claim("with K = Q the wanted token gets less than half of the weight", wanted < 0.5)
experiment.claim(
    "K = Q wastes a tenth and more on the token itself, two matrices nothing", own > 0.1 > 10 * own_apart
)
# --8<-- [end:claims]
