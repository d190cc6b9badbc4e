"""What does a block cost? Parameters, FLOPs and memory from formulas, each held against what is measured.

Run: python snippets/transformer_block/exp4_cost.py [--length 256] [--batch 2] [--seed 0]
Tier: visualization · extra · about 1 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from minimind.config import ModelConfig
from minimind.course import experiment, plots
from minimind.model import KVCache, TransformerBlock
from minimind.model.fast import speed_up

args = experiment.flags(__doc__, length=256, batch=2)
plots.style()
config = ModelConfig.preset("nano")  # D 128, 4 query heads and 2 key heads of 32 numbers, F 384
block = TransformerBlock(config)
B, T, D, F = args.batch, args.length, config.hidden_size, config.intermediate_size
H, K, d = config.num_attention_heads, config.num_key_value_heads, config.head_dim
x = torch.randn(B, T, D)
# --8<-- [end:setup]

# --8<-- [start:parameters]
matrices = {  # name -> numbers in it
    "queries": D * H * d, "keys": D * K * d, "values": D * K * d, "attention's output": H * d * D,
    "gate": D * F, "up": D * F, "down": F * D,
}  # fmt: skip
weights = sum(matrices.values())
norms = 2 * D + 2 * d  # two on the stream, one for queries, one for keys
parameters = weights + norms
counted = sum(weight.numel() for weight in block.parameters())
attention_share = sum(list(matrices.values())[:4]) / parameters
for name, count in matrices.items():
    print(f"{name:20} {count:8,}")
print(f"{'norms':20} {norms:8,}")
print(f"formula {parameters:,}, counted {counted:,}; attention has {attention_share:.0%}")
# --8<-- [end:parameters]


# --8<-- [start:flops]
def measured_flops(path, backward=False):
    """What PyTorch's counter sees: a multiplication and an addition are two operations."""
    speed_up(block, path)
    with FlopCounterMode(display=False) as counter:
        y = block(x)
        if backward:
            y.sum().backward()
    return counter.get_total_flops()


multiply_adds = B * T * weights  # each weight meets each token once
pairs = B * T * T * H * d  # each query meets each key once, in each head; the masked half is computed too
formula = 2 * multiply_adds + 2 * (2 * pairs)  # scores, and values weighted by them
flops = {path: measured_flops(path) for path in ("manual", "sdpa")}
both_ways = measured_flops("manual", backward=True)
print(f"weights meet tokens: {multiply_adds:,} multiply-adds, which are {2 * multiply_adds:,} FLOPs")
print(f"with scores and weighted values: formula {formula:,} FLOPs")
print(f"counted, attention written out:  {flops['manual']:,}")
print(f"counted, attention in one call:  {flops['sdpa']:,}")
print(f"forward and backward: {both_ways:,}, {both_ways / flops['manual']:.2f} times the forward")
# --8<-- [end:flops]

# --8<-- [start:flops_figure]
lengths = torch.arange(1, 4097)
linear = 2 * weights * torch.ones(len(lengths)) / 1e6
quadratic = 4 * H * d * lengths / 1e6
crossing = weights / (2 * H * d)  # tokens at which both cost the same
fig, ax = plt.subplots()
ax.plot(lengths, linear, color=plots.SLATE, label="weights")
ax.plot(lengths, quadratic, color=plots.QUERY, label="scores\nand values")
ax.set(xlabel="tokens in the row, T", ylabel="million FLOPs a token", xlim=(0, 4096), ylim=(0, None))
plots.label_lines(ax, gap=26)
experiment.show("flops_by_length")
# --8<-- [end:flops_figure]

# --8<-- [start:memory]
own = {weight.untyped_storage().data_ptr() for weight in block.parameters()}
kept = {}  # storage -> its numbers: two views of one tensor take the memory once


def note(tensor):
    """Called for each tensor that the backward pass will want."""
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in own:
        kept[storage.data_ptr()] = storage.nbytes() // 4
    return tensor


measured_kept = {}
for path in ("sdpa", "manual"):
    kept.clear()
    speed_up(block, path)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        alive = block(x)  # while it lives, no storage is given away and counted twice
    measured_kept[path] = sum(kept.values())
per_token = {  # numbers that stay in memory for each token until the backward pass
    "two norms": 2 * (D + 1), "what Q, K, V and gate, up read": 2 * D,
    "norms of queries and keys": (H + K) * (d + 1), "Q, K, V as attention reads them": (H + 2 * K) * d,
    "what attention found": H * d, "gate, SiLU of it, up, their product": 4 * F,
}  # fmt: skip
table = T * d  # cosines and sines, the same for all rows
formula_kept = {
    "sdpa": B * T * (sum(per_token.values()) + H) + table,  # one number a query brings the softmax back
    "manual": B * T * (sum(per_token.values()) + H * T) + table,  # every weight of every query is kept
}
for name, count in per_token.items():
    print(f"{name:36} {count:6,} numbers a token")
for path, count in measured_kept.items():
    print(f"{path:7} formula {formula_kept[path]:11,}   measured {count:11,} numbers")
training = 4 * 4 * parameters  # fp32: weight, gradient, and AdamW's two averages
print(f"weights, gradients and AdamW: {training / 1e6:.1f} MB; kept for the backward pass: ", end="")
print(f"{4 * measured_kept['sdpa'] / 1e6:.1f} MB")
# --8<-- [end:memory]

# --8<-- [start:memory_figure]
rows = torch.arange(64, 4097, 64)
one_row = sum(per_token.values()) + d
fig, ax = plt.subplots()
ax.plot(rows, 4 * rows * (one_row + H * rows) / 1e6, color=plots.ORANGE, label="all weights\nkept")
ax.plot(rows, 4 * rows * (one_row + H) / 1e6, color=plots.GREEN, label="one number\na query")
ax.set(xlabel="tokens in the row, T", ylabel="MB kept for one block, one row", xlim=(0, 4096), ylim=(0, None))
plots.label_lines(ax, gap=26)
experiment.show("memory_by_length")
# --8<-- [end:memory_figure]

# --8<-- [start:cache]
cache = KVCache(config, batch_size=B, max_length=T)
held = sum(tensor.nbytes for tensor in (*cache.keys, *cache.values)) // config.num_hidden_layers
cache_formula = 2 * K * d * 4 * B * T  # a key and a value, K heads of d numbers, 4 bytes each
every_head = 2 * H * d * 4 * B * T
print(f"KV cache of a block: formula {cache_formula:,} bytes, measured {held:,}")
print(f"if each of the {H} query heads had a key head of its own: {every_head:,}")
tokens = parameters / (2 * K * d)
print(f"the cache of one row outgrows the block's weights at {tokens:,.0f} tokens")
# --8<-- [end:cache]

# --8<-- [start:claims]
experiment.claim("parameters: the formula is exact", parameters == counted)
experiment.claim("FLOPs: the formula is what the counter sees when attention is written out",
                 flops["manual"] == formula)  # fmt: skip
experiment.claim(
    "the counter does not look into the fused kernel on a CPU", flops["sdpa"] == 2 * multiply_adds
)
experiment.claim("backward costs twice the forward", both_ways == 3 * flops["manual"])
experiment.claim(
    "kept for the backward pass: the formula is exact", measured_kept["sdpa"] == formula_kept["sdpa"]
)
ratio = measured_kept["manual"] / formula_kept["manual"]  # one row alone is laid out, and copied, otherwise
experiment.claim("with every weight kept it is right to a tenth", 0.9 < ratio < 1.1)
experiment.claim("the KV cache: the formula is exact", held == cache_formula)
experiment.claim("two thirds of the weights or more are the feed-forward layer's", attention_share < 1 / 3)
# --8<-- [end:claims]
