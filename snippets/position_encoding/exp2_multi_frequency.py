"""What do pairs of different speed say? One query and key of a head turn in sixteen pairs, fast and slow.

How far does each pair turn with one token, after how many tokens has it come round, and what does the base theta
do to that?

Run: python snippets/position_encoding/exp2_multi_frequency.py [--theta 1e6] [--length 256] [--seed 0]
Tier: visualization · core · about 2 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.model import rope_frequencies

args = experiment.flags(__doc__, head_dim=32, theta=10_000.0, length=256)
plots.style()
frequencies = rope_frequencies(args.head_dim, args.theta)  # (D/2,) radians a token, the fastest first
pairs = len(frequencies)
# --8<-- [end:setup]

# --8<-- [start:turns]
turn = 2 * math.pi / frequencies  # (D/2,) tokens until a pair has come round
print(f"pair   a token turns it   once round after   turns in {args.length} tokens")
for pair in range(0, pairs, 3):
    degrees = frequencies[pair].rad2deg()
    print(f"{pair:4} {degrees:15.2f}° {turn[pair]:11,.0f} tokens {args.length / turn[pair]:14.2f}")
never_round = int((turn > args.length).sum())
print(f"{never_round} of {pairs} pairs do not come round in {args.length} tokens")
# --8<-- [end:turns]

# --8<-- [start:figure]
shown = torch.arange(64)
waves = (shown * frequencies[:, None]).cos()  # (D/2, 64): the cosine of each pair's angle
fig, ax = plt.subplots(figsize=(5.6, 2.6))
plots.heatmap(ax, waves)
ax.set_aspect("auto")
ax.set_xticks([0.5, 10.5, 20.5, 30.5, 40.5, 50.5, 60.5], ["0", "10", "20", "30", "40", "50", "60"])
ax.set_yticks(
    [row + 0.5 for row in range(pairs)],
    [{0: "fast  0", pairs - 1: f"slow  {pairs - 1}"}.get(row, row) for row in range(pairs)],
    fontsize=8,
)
ax.set(xlabel="distance between the tokens", ylabel="pair")
experiment.show("waves")
# --8<-- [end:figure]

# --8<-- [start:theta]
slowest, unfinished = {}, {}
print(f"{'theta':>10}   fastest pair   slowest pair once round after   not round in {args.length}")
for theta in (100.0, 10_000.0, 1_000_000.0):
    around = 2 * math.pi / rope_frequencies(args.head_dim, theta)  # (D/2,)
    slowest[theta], unfinished[theta] = around[-1].item(), int((around > args.length).sum())
    print(
        f"{theta:10,.0f} {around[0]:7.1f} tokens {slowest[theta]:21,.0f} tokens {unfinished[theta]:13} of {pairs}"
    )
# --8<-- [end:theta]

# --8<-- [start:claims]
step = frequencies[1:] / frequencies[:-1]
experiment.claim("the first pair comes round in 2π tokens", abs(turn[0] - 2 * math.pi) < 1e-4)
experiment.claim(
    "each pair is slower than the one before by the same factor", (step - step[0]).abs().max() < 1e-4
)
experiment.claim("a larger theta: the slowest pair gets slower", slowest[100.0] < slowest[1e4] < slowest[1e6])
experiment.claim("and fewer pairs come round", unfinished[100.0] < unfinished[1e4] < unfinished[1e6])
if (args.head_dim, args.theta, args.length) == (32, 10_000, 256):
    experiment.claim("9 of 16 pairs do not come round in 256 tokens", never_round == 9)
# --8<-- [end:claims]
