"""What does each layer add? Follow the residual stream: first through 48 untrained blocks, then in a trained model.

The second part loads the model in runs/pretrain, which `minimind pretrain` makes, takes the stream of each token
apart into what every layer has written, and then leaves out one layer's part at a time.

Run: python snippets/residual_connections/exp2_residual_stream.py [--documents 100] [--seed 0]
Tier: visualization · extra · about 4 s
"""

# --8<-- [start:setup]
import copy
import math
from itertools import islice

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from minimind import MiniMind, ModelConfig, experiment, load, plots
from minimind.data import World
from minimind.errors import UserError

args = experiment.flags(__doc__, layers=48, documents=24)
plots.style()


def rms(x):
    """Root mean square over the last dimension: the size of each token's vector, per entry."""
    return x.square().mean(dim=-1).sqrt()


# --8<-- [end:setup]


# --8<-- [start:untrained]
@torch.no_grad()
def streams_of(model, ids):
    """The stream before the first block and after each: (L + 1, B, T, D); and what the first norms give."""
    streams, read = [model.model.embed_tokens(ids)], []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: streams.append(output))
        for block in model.model.layers
    ]
    hooks += [
        block.input_layernorm.register_forward_hook(lambda module, inputs, output: read.append(output))
        for block in model.model.layers
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(streams), torch.stack(read)


config = ModelConfig(hidden_size=128, num_hidden_layers=args.layers, vocab_size=512)
untrained = MiniMind(config)
for name, weight in untrained.named_parameters():  # as wide as all other matrices: see the next page
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        torch.nn.init.normal_(weight, std=0.02)
streams, read = streams_of(untrained, torch.randint(512, (4, 32)))
grown = streams.square().mean(dim=(1, 2, 3)).sqrt()  # (L + 1,)
given = read.square().mean(dim=(1, 2, 3)).sqrt()  # (L,)
first, last = args.layers // 4, args.layers
slope = math.log(grown[last] / grown[first]) / math.log(last / first)
print(f"blocks passed:      {0:6} {first:6} {last:6}")
print(f"RMS of the stream:  {grown[0]:6.3f} {grown[first]:6.3f} {grown[last]:6.3f}")
print(f"from {first} to {last} layers it grows as L to the power of {slope:.2f}")
print(f"RMS of what the layers read: {given.min():.2f} to {given.max():.2f}")
# --8<-- [end:untrained]

# --8<-- [start:growth_figure]
depth = torch.arange(args.layers + 1)
fig, ax = plt.subplots()
ax.plot(depth, grown / grown[first], color=plots.RESIDUAL, label="the stream")
ax.plot(depth, (depth / first).sqrt(), "--", color=plots.FLOOR, label="√L")
ax.plot(depth[:-1], given, color=plots.GREEN, label="what a\nlayer reads")
ax.set(xlabel="blocks passed", ylabel=f"RMS (stream: {first} blocks = 1)", ylim=(0, None))
plots.label_lines(ax, gap=20)
experiment.show("untrained_growth")
# --8<-- [end:growth_figure]

# --8<-- [start:model]
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(f"{error}. This part needs a trained model: run `minimind pretrain` first.") from None
model.eval()

documents = list(islice(World(args.seed).documents("validation"), args.documents))
rows = [[tokenizer.bos_token_id, *tokenizer.encode(one.text), tokenizer.eos_token_id] for one in documents]
longest = max(map(len, rows))
ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])  # (B, T)
real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]).bool()
labels = ids.masked_fill(~real, -100)
branches = {}  # name -> module whose output is added to the stream, in this order
for number, block in enumerate(model.model.layers):
    branches[f"attention {number}"] = block.self_attn
    branches[f"feed-forward {number}"] = block.mlp


@torch.no_grad()
def written(ids):
    """What the embedding and then each branch writes: (1 + branches, B, T, D)."""
    parts = [model.model.embed_tokens(ids)]
    hooks = [
        branch.register_forward_hook(lambda module, inputs, output: parts.append(output))
        for branch in branches.values()
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(parts)


@torch.no_grad()
def loss_without(name):
    """The loss if this branch writes nothing."""
    hook = branches[name].register_forward_hook(lambda module, inputs, output: 0 * output)
    loss = model(ids, labels=labels).loss.item()
    hook.remove()
    return loss


# --8<-- [end:model]

# --8<-- [start:parts]
parts = written(ids)[:, real]  # (P, N, D): P writers, N tokens
stream = parts.cumsum(dim=0)  # (P, N, D): the stream after each of them
with torch.no_grad():
    end = model.model(ids, torch.arange(longest)[None], None, None)[real]  # (N, D), the model's own way
    difference = (model.model.norm(stream[-1]) - end).abs().max().item()
    whole = model(ids, labels=labels).loss.item()
writers = ["embedding", *branches]
wrote = rms(parts).mean(dim=1)  # (P,)
size = rms(stream).mean(dim=1)  # (P,)
cosine = [F.cosine_similarity(parts[i], stream[i - 1], dim=-1).mean().item() for i in range(1, len(writers))]
share = ((parts * stream[-1]).sum(dim=-1) / stream[-1].square().sum(dim=-1)).mean(dim=1)  # (P,), sums to 1
missing = {name: loss_without(name) for name in branches}
# --8<-- [end:parts]

# --8<-- [start:table]
print(
    f"{'writer':16} writes   stream after   cosine   share of the end   loss without ({whole:.2f} with all)"
)
for i, name in enumerate(writers):
    turned = f"{cosine[i - 1]:6.2f}" if i else "      "
    without = f"{missing[name]:10.2f}" if i else ""
    print(f"{name:16} {wrote[i]:6.2f} {size[i]:12.2f} {turned:>10} {share[i]:14.0%} {without:>17}")
print(f"all parts added up and normalized: the model's own result, up to {difference:.0e}")
# --8<-- [end:table]

# --8<-- [start:stream_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
places = range(len(writers))
colours = [plots.MUTED] + [plots.BLUE if "attention" in name else plots.ORANGE for name in branches]
ax.bar(places, wrote.tolist(), color=colours, width=0.55)
ax.plot(places, size.tolist(), "o-", color=plots.RESIDUAL, markersize=4)
ax.annotate("the stream after it", (places[-1], size[-1]), xytext=(-12, -2), textcoords="offset points",
            ha="right", va="center", color=plots.RESIDUAL)  # fmt: skip
ax.text(2.6, wrote[-1] * 0.8, "bars: what each one writes", ha="center", color=plots.MUTED)
ax.set_xticks(places, [name.replace(" ", "\n").replace("-", "-\n") for name in writers], fontsize=8.5)
ax.set_ylabel("RMS, mean over tokens")
experiment.show("what_each_writes")
# --8<-- [end:stream_figure]


# --8<-- [start:turned]
@torch.no_grad()
def turned(model, turn):
    """The same model with `turn @ x` in place of every stream x; `turn` (D, D) is a rotation."""
    other = copy.deepcopy(model)
    other.config.tie_word_embeddings = False
    other.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    readers = [(other.model.norm, [other.lm_head])]
    for block in other.model.layers:
        attention, mlp = block.self_attn, block.mlp
        readers.append((block.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj]))
        readers.append((block.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj]))
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight.copy_(turn @ writer.weight)
    for norm, matrices in readers:
        for matrix in matrices:  # the norm's weights go into the matrix that reads, and that is turned back
            matrix.weight.copy_((matrix.weight * norm.weight) @ turn.T)
        norm.weight.fill_(1.0)
    other.model.embed_tokens.weight.copy_(other.model.embed_tokens.weight @ turn.T)
    return other


hidden = model.config.hidden_size
turn = torch.linalg.qr(torch.randn(hidden, hidden)).Q  # at random
with torch.no_grad():
    logits, after = model(ids).logits[real], turned(model, turn)(ids).logits[real]
moved = (after - logits).abs().max().item()
number_17 = F.cosine_similarity(
    model.model.embed_tokens.weight[:, 17], (model.model.embed_tokens.weight @ turn.T)[:, 17], 0
)
print(f"logits up to {logits.abs().max():.0f}; with every stream turned they move by at most {moved:.0e}")
print(f"number 17 of the embeddings, before and after: cosine {number_17:.2f}")
# --8<-- [end:turned]

# --8<-- [start:claims]
experiment.claim("untrained, the stream grows about as the square root of the depth", 0.4 < slope < 0.7)
experiment.claim("what the layers read has an RMS of 1 all the way", 0.97 < given.min() <= given.max() < 1.01)
experiment.claim("the stream is the sum of what was written, and nothing else", difference < 1e-4)
experiment.claim("the trained stream grows more than 20 times", size[-1] > 20 * size[0])
experiment.claim(
    "no branch but the first attention writes less than the embedding", min(wrote[2:]) > 2 * wrote[0]
)
experiment.claim("the last feed-forward layer writes most", wrote.argmax() == len(writers) - 1)
experiment.claim("about half of the end comes from it", 0.4 < share[-1] < 0.65)
experiment.claim("the shares add up to 1", abs(share.sum() - 1) < 1e-4)
experiment.claim("on average every branch writes along the stream, not against it", min(cosine) > 0)
experiment.claim("but far from parallel to it: no cosine above 0.4", max(cosine) < 0.4)
experiment.claim("leaving out any branch costs at least 0.2 nats", min(missing.values()) > whole + 0.2)
smallest = min(branches, key=lambda name: wrote[writers.index(name)])
largest = max(branches, key=lambda name: wrote[writers.index(name)])
experiment.claim("losing the branch that writes least costs more than losing the one that writes most",
                 missing[smallest] > missing[largest])  # fmt: skip
experiment.claim("a model whose whole stream is turned computes the same", moved < 1e-3)
# --8<-- [end:claims]
