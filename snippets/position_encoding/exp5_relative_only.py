"""How does a rotation say where? Turn a query and a key by hand, then shift a whole text and measure what moves.

A score depends on the distance between two tokens and on nothing else, up to the rounding of the angles. A model
with learned positions, trained on the same rows, is the other arm. At the end: how a score changes with distance,
and what happens if pairs are formed in another way.

Run: python snippets/position_encoding/exp5_relative_only.py [--turn-values] [--steps 300] [--seed 0]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from minimind.config import ModelConfig
from minimind.course import experiment, plots
from minimind.model import MiniMind, apply_rope, dot_product_attention, rope_frequencies

args = experiment.flags(__doc__, turn_values=False, steps=150)
plots.style()
frequencies = rope_frequencies(32, theta=10_000.0)  # (16,) radians a token
# --8<-- [end:setup]

# --8<-- [start:by_hand]
quarter = torch.tensor([math.pi / 2])  # one pair that turns by 90° a token
q, k = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])  # (1, 2)
for place_of_query, place_of_key in ((1, 0), (2, 1), (7, 6)):
    turned_q = apply_rope(q, torch.tensor([place_of_query]), quarter)
    turned_k = apply_rope(k, torch.tensor([place_of_key]), quarter)
    score = (turned_q * turned_k).sum().item()
    shown = [[round(number) for number in side[0].tolist()] for side in (turned_q, turned_k)]
    print(f"query at {place_of_query}: {shown[0]}   key at {place_of_key}: {shown[1]}   score {score:.0f}")
# --8<-- [end:by_hand]

# --8<-- [start:shift]
q, k, v = torch.randn(3, 12, 32)  # twelve tokens, one head


def attend(start, angles=torch.float32):
    """The head's outputs when the first token stands at position `start`; angles are rounded to a format."""
    positions = start + torch.arange(12)
    turn = (positions.to(angles)[:, None] * frequencies.to(angles)).double()  # (T, 16)

    def rotated(x):
        a, b = x.double().chunk(2, dim=-1)  # (T, 16) each: numbers i and i + 16 make a pair
        return torch.cat((a * turn.cos() - b * turn.sin(), b * turn.cos() + a * turn.sin()), dim=-1)

    values = rotated(v) if args.turn_values else v.double()
    return dot_product_attention(rotated(q), rotated(k), values)  # (T, 32)


shifts = [10**power for power in range(7)]
moved = {}
for name in ("float64", "float32", "bfloat16"):
    angles = getattr(torch, name)
    base = attend(0, angles)
    moved[name] = [((attend(shift, angles) - base).abs().max() / base.std()).item() for shift in shifts]
    print(
        f"angles in {name:9} shift by 100: outputs move by {moved[name][2]:.0e} std, by 1,000,000: {moved[name][6]:.0e}"
    )
# --8<-- [end:shift]

# --8<-- [start:shift_figure]
fig, ax = plt.subplots()
for (name, values), colour in zip(moved.items(), (plots.GREEN, plots.BLUE, plots.ORANGE), strict=True):
    ax.loglog(shifts, values, "o-", color=colour, label=name)
ax.set(xlabel="all positions shifted by (tokens)", ylabel="largest change of an output (std)")
plots.label_lines(ax)
experiment.show("shift")
# --8<-- [end:shift_figure]


# --8<-- [start:models]
class LearnedPositions(nn.Module):
    """An embedding that adds a learned vector for each position to the token's own."""

    def __init__(self, tokens, rows):
        super().__init__()
        self.tokens, self.table, self.start = tokens, nn.Embedding(rows, tokens.embedding_dim), 0
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, ids):
        return self.tokens(ids) + self.table(self.start + torch.arange(ids.shape[1]))


def train(learned):
    """A small model that learns, on rows of 32 random tokens, to say which token stood three back."""
    torch.manual_seed(args.seed)
    config = ModelConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        vocab_size=16,
        rope_theta=1e4,
        tie_word_embeddings=False,
    )
    model = MiniMind(config)
    if learned:
        model.model.embed_tokens = LearnedPositions(model.model.embed_tokens, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(args.steps):
        ids = torch.randint(16, (16, 32))
        loss = nn.functional.cross_entropy(read(model, ids, learned).flatten(0, 1), ids[:, :-3].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), loss.item()


def read(model, ids, learned, start=0):
    """Scores for the token three back, rows placed from position `start` on."""
    positions = start + torch.arange(ids.shape[1])[None]
    if learned:  # the table knows the place; RoPE, held at position 0, does not turn
        model.model.embed_tokens.start, positions = start, torch.zeros_like(positions)
    return model(ids, position_ids=positions).logits[:, 3:]  # (B, T - 3, 16)


fresh = torch.randint(16, (64, 16))  # rows of 16 fit in the trained 32 positions twice
final_loss, drift, correct = {}, {}, {}
for name, learned in {"learned positions": True, "RoPE": False}.items():
    model, final_loss[name] = train(learned)
    with torch.no_grad():
        at_0, at_16 = (read(model, fresh, learned, start).log_softmax(-1) for start in (0, 16))
    drift[name] = (at_16 - at_0).abs().mean().item()
    correct[name] = [(scores.argmax(-1) == fresh[:, :-3]).float().mean().item() for scores in (at_0, at_16)]
    right = f"right at 0 {correct[name][0]:.0%}, at 16 {correct[name][1]:.0%}"
    print(f"{name:18} {right}; log-probabilities move by {drift[name]:.1g} nats")
# --8<-- [end:models]

# --8<-- [start:distance]
far = torch.arange(200)


def scores_at(query, key):
    """Score of the query with the key that stands 0, 1, 2, … tokens before it, over the lengths of the two."""
    keys = apply_rope(key.expand(len(far), 32), -far, frequencies)  # (200, 32)
    return keys @ query / (query.norm() * key.norm())


same, other = torch.ones(32), torch.randn(32)
curves = {"key = query": scores_at(same, same), "another key": scores_at(same, other)}
rises = {name: (curve.diff() > 0).float().mean().item() for name, curve in curves.items()}
for name, share in rises.items():
    print(f"{name}: one token further away, and the score rises in {share:.0%} of the steps")
# --8<-- [end:distance]

# --8<-- [start:distance_figure]
fig, ax = plt.subplots()
ax.plot(far, curves["key = query"], color=plots.QUERY, label="key = query")
ax.plot(far, curves["another key"], color=plots.KEY, label="another key")
ax.set(xlabel="distance between query and key (tokens)", ylabel="score (1 = vectors alike)")
plots.label_lines(ax)
experiment.show("distance")
# --8<-- [end:distance_figure]


# --8<-- [start:pairs]
def apply_interleaved(x, positions):
    """RoPE with neighbours as pairs: numbers 0 and 1, 2 and 3, …"""
    angles = positions[:, None] * frequencies  # (T, 16)
    a, b = x[..., 0::2], x[..., 1::2]
    turned = (a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin())
    return torch.stack(turned, dim=-1).flatten(-2)


stream, to_q, to_k = torch.randn(12, 32), torch.randn(32, 32) / 32**0.5, torch.randn(32, 32) / 32**0.5
positions = torch.arange(12)
half = apply_rope(stream @ to_q, positions, frequencies) @ apply_rope(stream @ to_k, positions, frequencies).T
order = torch.arange(32).view(2, 16).T.flatten()  # 0, 16, 1, 17, …: partners become neighbours


def interleaved(to_q, to_k):
    return apply_interleaved(stream @ to_q, positions) @ apply_interleaved(stream @ to_k, positions).T


swapped = ((interleaved(to_q, to_k) - half).abs().max() / half.std()).item()
permuted = ((interleaved(to_q[:, order], to_k[:, order]) - half).abs().max() / half.std()).item()
print(
    f"interleaved pairs, same weights: scores change by {swapped:.1f} std; weights permuted: {permuted:.0e}"
)
# --8<-- [end:pairs]

# --8<-- [start:claims]
experiment.claim("by hand: one step apart, the score is -3 at any place", abs(score + 3) < 1e-4)
experiment.claim("learned positions solve the task at both places", min(correct["learned positions"]) > 0.95)
experiment.claim("RoPE solves it too", min(correct["RoPE"]) > 0.95)
experiment.claim("RoPE: moved within the trained rows, nothing changes but rounding", drift["RoPE"] < 1e-4)
experiment.claim("learned positions: it changes the probabilities", drift["learned positions"] > 0.02)
if args.turn_values:
    experiment.claim("with turned values a shift changes the outputs", moved["float32"][2] > 0.5)
else:
    experiment.claim("fp32 angles: a shift by 100 is rounding", moved["float32"][2] < 1e-4)
    experiment.claim("the rounding grows with the shift", moved["float32"][6] > 100 * moved["float32"][2])
    experiment.claim("fp64 angles: no change at any shift", max(moved["float64"]) < 1e-9)
    experiment.claim("bf16 angles: a shift by 100 shows", moved["bfloat16"][2] > 0.02)
experiment.claim(
    "one token further away, and scores rise about every second time",
    all(0.3 < share < 0.7 for share in rises.values()),
)
experiment.claim("interleaved pairs with the same weights give other scores", swapped > 0.5)
experiment.claim("with permuted weights they give the same", permuted < 1e-4)
# --8<-- [end:claims]
