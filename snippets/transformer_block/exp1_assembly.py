"""How do the parts fit together? Assemble one block by hand, step by step, and hold it against the package's.

Then the vector of one token is changed, and each step tells which tokens notice.

Run: python snippets/transformer_block/exp1_assembly.py [--no-mask] [--parallel] [--seed 0]
Tier: visualization · core · about 1 s
"""

# --8<-- [start:setup]
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind.config import ModelConfig
from minimind.course import experiment, plots
from minimind.model import TransformerBlock, apply_rope, dot_product_attention, rope_frequencies

args = experiment.flags(__doc__, mask=True, parallel=False)
plots.style()
config = ModelConfig(hidden_size=128, num_attention_heads=4, num_key_value_heads=2, intermediate_size=384)
block = TransformerBlock(config)
norm_1, attention = block.input_layernorm, block.self_attn
norm_2, mlp = block.post_attention_layernorm, block.mlp
for norm in (norm_1, norm_2, attention.q_norm, attention.k_norm):
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # as if trained: a mix-up of norms would show
TOKENS, CHANGED = 6, 2
positions = torch.arange(TOKENS)
frequencies = rope_frequencies(config.head_dim, config.rope_theta)
may_look = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
may_look = may_look.tril() if args.mask else may_look  # row: who looks; column: at whom
# --8<-- [end:setup]


# --8<-- [start:by_hand]
def heads_of(y):
    """Cut each token's vector into heads: (B, T, H * 32) to (B, H, T, 32)."""
    return y.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)


@torch.no_grad()
def by_hand(x):
    """The block, with every step kept by name; x is the stream (B, T, 128)."""
    steps = {"stream": x}
    steps["norm 1"] = y = norm_1(x)  # a copy; the stream itself stays as it is
    q, k, v = (heads_of(project(y)) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    steps["queries"] = q = apply_rope(attention.q_norm(q), positions, frequencies)
    steps["keys"] = k = apply_rope(attention.k_norm(k), positions, frequencies)
    steps["values"] = v
    k, v = (one.repeat_interleave(2, dim=1) for one in (k, v))  # each serves two query heads
    steps["heads"] = heads = dot_product_attention(q, k, v, may_look)
    steps["attention"] = found = attention.o_proj(heads.transpose(1, 2).flatten(2))
    steps["stream + attention"] = middle = x + found
    steps["norm 2"] = y = norm_2(x if args.parallel else middle)
    steps["gate * up"] = wide = F.silu(mlp.gate_proj(y)) * mlp.up_proj(y)
    steps["feed-forward"] = made = mlp.down_proj(wide)
    steps["stream + feed-forward"] = middle + made
    return steps


# --8<-- [end:by_hand]

# --8<-- [start:compare]
x = torch.randn(1, TOKENS, config.hidden_size)
steps = by_hand(x)
with torch.no_grad():
    difference = (block(x) - steps["stream + feed-forward"]).abs().max().item()

other = x.clone()
other[:, CHANGED] = torch.randn(config.hidden_size)  # another vector for one token
noticed = {}  # step -> which tokens differ
for name, y in by_hand(other).items():
    moved = (y - steps[name]).abs().transpose(-2, 0).flatten(1).amax(dim=1)  # (T,): tokens are next to last
    noticed[name] = [token for token in range(TOKENS) if moved[token] > 1e-6]

print(f"{'step':22} {'shape':16} tokens that notice a change of token {CHANGED}")
for name, y in steps.items():
    print(f"{name:22} {tuple(y.shape)!s:16} {noticed[name]}")
print(f"largest difference from TransformerBlock: {difference:.7f}")
# --8<-- [end:compare]

# --8<-- [start:figure]
rows = {name: -number for number, name in enumerate(steps)}
colours = {"queries": plots.QUERY, "keys": plots.KEY, "values": plots.VALUE}
fig, ax = plt.subplots(figsize=(5.6, 5.0))
ax.set(xlim=(0, 10.2), ylim=(-len(rows) + 0.35, 1.0))
ax.axis("off")
ax.plot([0.6, 0.6], [0.5, -len(rows) + 0.5], color=plots.RESIDUAL, linewidth=3)
for name, y in rows.items():
    on_stream = name.startswith("stream")
    colour = plots.RESIDUAL if on_stream else colours.get(name, plots.INK)
    ax.text(1.5, y, name, va="center", color=colour, fontweight="bold" if on_stream else None)
    ax.text(5.1, y, "×".join(map(str, steps[name].shape)), va="center", color=colour)
    for token in range(TOKENS):
        seen = token in noticed[name]
        ax.scatter(
            7.6 + 0.46 * token, y, s=70, marker="s", color=plots.ORANGE if seen else "none",
            edgecolor=plots.ORANGE if seen else plots.MUTED, linewidth=0.8,
        )  # fmt: skip
for first, last in (("norm 1", "attention"), ("norm 2", "feed-forward")):
    start, end = rows[first], rows[last]
    wire = {"color": plots.INK, "linewidth": 1.2}
    ax.plot([0.6, 1.15, 1.15], [start + 0.45, start + 0.45, end - 0.3], **wire)
    ax.annotate("", (0.72, end - 1), (1.18, end - 0.3), arrowprops={"arrowstyle": "-|>", **wire})
    ax.text(0.6, end - 1, "+", ha="center", va="center", color=plots.RESIDUAL, fontsize=13,
            bbox={"boxstyle": "circle,pad=0.1", "facecolor": plots.PAPER, "edgecolor": plots.RESIDUAL})  # fmt: skip
ax.text(1.5, 0.75, "step", color=plots.MUTED, va="center")
ax.text(5.1, 0.75, "shape", color=plots.MUTED, va="center")
ax.text(7.5, 0.75, "tokens 0 to 5", color=plots.MUTED, va="center")
experiment.show("data_flow")
# --8<-- [end:figure]

# --8<-- [start:claims]
later = list(range(CHANGED, TOKENS))
alone = ["norm 1", "queries", "keys", "values"]
experiment.claim("what leaves the block has the shape of what entered", block(x).shape == x.shape)
experiment.claim(
    "up to the values only the changed token differs", all(noticed[name] == [CHANGED] for name in alone)
)
if args.mask:
    experiment.claim("from the heads on, it and all later tokens differ", noticed["heads"] == later)
    experiment.claim(
        "no step reaches an earlier token", all(min(tokens) == CHANGED for tokens in noticed.values())
    )
else:
    experiment.claim("without a mask the earlier tokens notice too", noticed["heads"] == list(range(TOKENS)))
if args.parallel:
    experiment.claim("in a parallel block the feed-forward layer hears of no other token in that block",
                     noticed["gate * up"] == [CHANGED])  # fmt: skip
else:
    experiment.claim("the feed-forward layer adds no token to those that differ",
                     noticed["feed-forward"] == noticed["heads"])  # fmt: skip
if args.mask and not args.parallel:
    experiment.claim("assembled by hand it is the package's block", difference < 1e-5)
else:
    experiment.claim("with this change it is another block", difference > 0.01)
# --8<-- [end:claims]
