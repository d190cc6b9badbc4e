"""Why many frequencies? Count the distances that a pair confuses, alone and with others.

Two distances collide for a pair if it points the same way at both, up to a tolerance. Then a head gets two jobs, with
fast pairs, slow pairs or all of them: look exactly three tokens back, and find the one key that matches, anywhere.

Run: python snippets/position_encoding/exp3_why_multi_frequency.py [--tolerance 20] [--theta 100] [--seed 0]
Tier: visualization · core · about 3 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.model import apply_rope, rope_frequencies

args = experiment.flags(__doc__, theta=10_000.0, distances=256, tolerance=10.0, trials=500)
plots.style()
frequencies = rope_frequencies(32, args.theta)  # (16,) radians per token
distances = torch.arange(args.distances)
# --8<-- [end:setup]

# --8<-- [start:by_hand]
quarter, third = distances[:14] % 4, distances[:14] % 3  # steps of a wheel that turns by 1/4, and by 1/3
for name, steps in {"distance": distances[:14], "quarter turns": quarter, "third turns": third}.items():
    print(f"{name:14}" + "".join(f"{step:3}" for step in steps.tolist()))
# --8<-- [end:by_hand]


# --8<-- [start:collisions]
def collisions(chosen):
    """Couples of distances at which all the chosen pairs point the same way, and how far apart these are."""
    apart = (distances[:, None] - distances).abs()  # (N, N)
    angles = apart[..., None] * frequencies[chosen]  # (N, N, chosen)
    off = (angles + math.pi).remainder(2 * math.pi) - math.pi  # how far from pointing the same way
    same = (off.abs() < math.radians(args.tolerance)).all(dim=-1).triu(1)  # each couple once
    return int(same.sum()), apart[same].float()


couples = args.distances * (args.distances - 1) // 2
alone = [collisions([pair]) for pair in range(16)]
counts = [count for count, _ in alone]
nearest = [int(gap.min()) for _, gap in alone]  # tokens between the nearest two distances that it confuses
together, slow_together = collisions(list(range(16)))[0], collisions(list(range(12, 16)))[0]
print(f"{args.distances} distances make {couples:,} couples; confused up to {args.tolerance:g}°:")
for pair in (0, 3, 6, 9, 12, 15):
    print(f"  pair {pair:2} alone {counts[pair]:8,}, the nearest {nearest[pair]:3} apart")
print(f"  all 16 pairs {together:8,}, the slowest four {slow_together:,}")
few = [collisions(list(range(number)))[0] for number in range(1, 9)]
print("the fastest 1, 2, 3, … pairs:", ", ".join(f"{count:,}" for count in few))
# --8<-- [end:collisions]

# --8<-- [start:collisions_figure]
fig, ax = plt.subplots(figsize=(5.6, 2.9))
ax.plot(range(16), [count / couples for count in counts], "o-", color=plots.BLUE)
ax.set(xlabel="pair, from fast to slow", ylabel="share of couples confused", ylim=(0, 1.05))
experiment.show("collisions")
# --8<-- [end:collisions_figure]


# --8<-- [start:jobs]
groups = {"4 fastest": list(range(4)), "4 slowest": list(range(12, 16)), "all 16": list(range(16))}
backward = -distances  # keys stand 0, 1, 2, … tokens before the query, which stands at position 0
three_back, found = {}, {}
for name, chosen in groups.items():
    speeds, width = frequencies[chosen], 2 * len(chosen)
    # Job 1: equal keys; the query is turned so that it fits the key three tokens back best of all.
    alike = torch.ones(width)
    keys = apply_rope(alike.expand(args.distances, width), backward, speeds)  # (N, width)
    query = apply_rope(alike[None], torch.tensor([-3]), speeds)[0]  # (width,)
    weights = (20 * keys @ query / width).softmax(dim=-1)  # (N,): the best score is 20 in every group
    three_back[name] = weights[3].item()
    # Job 2: random keys, one of them equal to the query and at a random distance.
    hits = 0
    for _ in range(args.trials):
        keys, place = torch.randn(args.distances, width), int(torch.randint(args.distances, ()))
        keys = keys / keys.norm(dim=-1, keepdim=True)
        turned = apply_rope(keys, backward, speeds)  # (N, width)
        hits += int((turned @ keys[place]).argmax()) == place
    found[name] = hits / args.trials
    print(
        f"{name:10} weight three tokens back {three_back[name]:5.1%}   matching key found {found[name]:5.1%}"
    )
chance = 1 / args.distances
print(f"by chance  {chance:.1%}")
# --8<-- [end:jobs]

# --8<-- [start:claims]
both = (quarter == 0) & (third == 0)
experiment.claim("two wheels together first repeat after 12", both.nonzero().flatten().tolist() == [0, 12])
experiment.claim("every pair alone confuses distances", min(counts) > 0)
experiment.claim(
    "the fastest pair confuses no neighbours, the slowest does", nearest[0] > 1 and nearest[-1] == 1
)
experiment.claim("all pairs together confuse none", together == 0)
if (args.theta, args.distances, args.tolerance) == (10_000, 256, 10):
    experiment.claim("the fastest four together confuse none", few[3] == 0)
    experiment.claim("the slowest four together confuse most", slow_together > 0.5 * couples)
fast, slow, both_kinds = groups
experiment.claim("fast pairs look exactly three tokens back", three_back[fast] > 0.7)
experiment.claim("and hardly find a match at any distance", found[fast] < 0.1)
if args.theta == 10_000:
    experiment.claim("slow pairs cannot look exactly three tokens back", three_back[slow] < 3 * chance)
    experiment.claim("but find the match nearly always", found[slow] > 0.9)
    experiment.claim(
        "all pairs with equal strength do both, neither as well",
        chance < three_back[both_kinds] < three_back[fast] and found[fast] < found[both_kinds] < found[slow],
    )
if args.theta == 100:
    experiment.claim("theta 100: no pair is slow enough to find the match", max(found.values()) < 0.3)
# --8<-- [end:claims]
