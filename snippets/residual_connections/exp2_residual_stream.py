"""What does each layer add? Follow the residual stream: first through 48 untrained blocks, then in a trained model.

The second part looks into a trained model, your own or the one that comes with the package. It takes the stream of
each token apart into what every layer has written, and then leaves out one layer's part at a time. Ten trainings, in a
record, say what holds of trainings in general.

Run: python snippets/residual_connections/exp2_residual_stream.py [--documents 100] [--seed 0]
Tier: visualization · extra · about 4 s
"""

# --8<-- [start:setup]
import math
from dataclasses import replace
from itertools import islice

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind import MiniMind, ModelConfig
from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings

args = experiment.flags(__doc__, model="pretrain", layers=48, documents=24)
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
def read(tokenizer, world):
    """Held-out documents in one batch: ids (B, T), and which of them are real, not padding (B, T)."""
    documents = islice(world.documents("validation"), args.documents)
    rows = [
        [tokenizer.bos_token_id, *tokenizer.encode(one.text), tokenizer.eos_token_id] for one in documents
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]).bool()
    return ids, real


def branches_of(model):
    """Name -> module whose output is added to the stream, in this order."""
    named = {}
    for number, block in enumerate(model.model.layers):
        named[f"attention {number}"] = block.self_attn
        named[f"feed-forward {number}"] = block.mlp
    return named


@torch.no_grad()
def written(model, ids):
    """What the embedding and then each branch writes: (1 + branches, B, T, D)."""
    parts = [model.model.embed_tokens(ids)]
    hooks = [
        branch.register_forward_hook(lambda module, inputs, output: parts.append(output))
        for branch in branches_of(model).values()
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(parts)


@torch.no_grad()
def loss_without(model, branch, ids, labels):
    """The loss if this branch writes nothing."""
    hook = branch.register_forward_hook(lambda module, inputs, output: 0 * output)
    loss = model(ids, labels=labels).loss.item()
    hook.remove()
    return loss


# --8<-- [end:model]


# --8<-- [start:parts]
def examine(model, tokenizer, world):
    """What each layer adds, as means over the tokens of held-out documents, and the loss without it."""
    ids, real = read(tokenizer, world)
    parts = written(model, ids)[:, real]  # (P, N, D): P writers, N tokens
    stream = parts.cumsum(dim=0)  # (P, N, D): the stream after each of them
    end = stream[-1]  # (N, D)
    cosine = F.cosine_similarity(parts[1:], stream[:-1], dim=-1)  # (P - 1, N): with the stream before it
    share = (parts * end).sum(dim=-1) / end.square().sum(dim=-1)  # (P, N), sums to 1 over the writers
    branches, labels = branches_of(model), ids.masked_fill(~real, -100)
    with torch.no_grad():
        loss = model(ids, labels=labels).loss.item()
    return {
        "writers": ["embedding", *branches],
        "wrote": rms(parts).mean(dim=1).tolist(),
        "size": rms(stream).mean(dim=1).tolist(),
        "cosine": cosine.mean(dim=1).tolist(),
        "share": share.mean(dim=1).tolist(),
        "loss": loss,
        "without": {name: loss_without(model, branch, ids, labels) for name, branch in branches.items()},
    }


model, tokenizer, world = experiment.load_model(args.model)
found = examine(model, tokenizer, world)
writers, wrote, size, share = (found[key] for key in ("writers", "wrote", "size", "share"))
cosine, missing, whole = found["cosine"], found["without"], found["loss"]
ids, real = read(tokenizer, world)
with torch.no_grad():
    logits = model(ids).logits[real]  # (N, V), the model's own way
    of_the_sum = model.lm_head(model.model.norm(written(model, ids).sum(dim=0)))[real]  # (N, V)
difference = (of_the_sum - logits).abs().max().item()
# --8<-- [end:parts]

# --8<-- [start:table]
print(
    f"{'writer':16} writes   stream after   cosine   share of the end   loss without ({whole:.2f} with all)"
)
for i, name in enumerate(writers):
    leaning = f"{cosine[i - 1]:6.2f}" if i else "      "
    without = f"{missing[name]:10.2f}" if i else ""
    print(f"{name:16} {wrote[i]:6.2f} {size[i]:12.2f} {leaning:>10} {share[i]:14.0%} {without:>17}")
print(
    f"all parts added up, normalized, read by the output layer: the model's own logits up to {difference:.0e}"
)
# --8<-- [end:table]

# --8<-- [start:stream_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
places = range(len(writers))
colours = [plots.MUTED] + [plots.BLUE if "attention" in name else plots.ORANGE for name in writers[1:]]
ax.bar(places, wrote, color=colours, width=0.55)
ax.plot(places, size, "o-", color=plots.RESIDUAL, markersize=4)
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
    other = MiniMind(replace(model.config, tie_word_embeddings=False)).eval()
    other.load_state_dict(model.state_dict())
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
    after = turned(model, turn)(ids).logits[real]  # (N, V)
moved = (after - logits).abs().max().item()
embeddings = model.model.embed_tokens.weight.detach()  # (V, D)
number = min(17, hidden - 1)  # any would do
number_17 = F.cosine_similarity(embeddings[:, number], (embeddings @ turn.T)[:, number], 0).item()
print(f"logits up to {logits.abs().max():.0f}; with every stream turned they move by at most {moved:.0e}")
print(f"number {number} of the embeddings, before and after: cosine {number_17:.2f}")
# --8<-- [end:turned]

# --8<-- [start:trainings]
ten = experiment.recorded("residual_connections/exp2_residual_stream", lambda: over_trainings(examine))
# --8<-- [end:trainings]


# --8<-- [start:claims]
def lean(one):
    """How many branches write along the stream that they read, on average, and not against it."""
    return sum(cosine > 0 for cosine in one["cosine"])


def most_missed(one):
    """The branch without which the loss is highest."""
    return max(one["without"], key=one["without"].get)


def loudest(one):
    """The branch that writes the largest vectors."""
    return one["writers"][1 + one["wrote"][1:].index(max(one["wrote"][1:]))]


smallest = writers[1 + wrote[1:].index(min(wrote[1:]))]  # the branch that writes least
largest, dearest = loudest(found), most_missed(found)
growth = sorted(one["size"][-1] / one["size"][0] for one in ten)
differ = sum(most_missed(one) != loudest(one) for one in ten)
experiment.claim("untrained, the stream grows about as the square root of the depth", 0.4 < slope < 0.7)
experiment.claim("what the layers read has an RMS of 1 all the way", 0.97 < given.min() <= given.max() < 1.01)
experiment.claim("the stream is the sum of what was written, and nothing else",
                 difference < 1e-4 * logits.abs().max())  # fmt: skip
experiment.claim("the shares add up to 1", abs(sum(share) - 1) < 1e-4)
experiment.claim("a model whose whole stream is turned computes the same", moved < 1e-4 * logits.abs().max())
experiment.claim("the stream grew more than 20 times in each of the ten trainings", growth[0] > 20)
experiment.claim_of_model("the trained stream grows more than 100 times", size[-1] > 100 * size[0])
experiment.claim_of_model("the embedding and the first attention write less than 1, all others more than 5",
                          max(wrote[:2]) < 1 and all(one > 5 for one in wrote[2:]))  # fmt: skip
experiment.claim_of_model("the last feed-forward layer writes most, and more than half of the end is its",
                          largest == writers[-1] and share[-1] > 0.5)  # fmt: skip
experiment.claim_of_model("the first attention writes least", smallest == writers[1])
experiment.claim_of_model("all branches but the first attention lean along the stream",
                          all(one > 0.02 for one in cosine[1:]))  # fmt: skip
experiment.claim_of_model("but far from parallel to it: no cosine above 0.4", max(cosine) < 0.4)
experiment.claim_of_model("leaving out any branch costs half a nat at least",
                          min(missing.values()) > whole + 0.5)  # fmt: skip
experiment.claim_of_model("the branch that is missed most is not the one that writes most",
                          missing[dearest] > missing[largest] + 1)  # fmt: skip
# --8<-- [end:claims]
