"""What leaks without a causal mask: the same tiny model trained with a mask, with none, and with one off by one.

The text is a chain of letters: after each letter one of two may follow, with equal chance. So no model that
predicts can come below ln 2 nats a letter. Three seeds each, then each model writes.

Run: python snippets/attention/exp5_causal_mask.py [--ahead 2]
Tier: visualization · core · about 6 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from minimind import MiniMind, ModelConfig
from minimind.course import experiment, plots
from minimind.model import dot_product_attention
from minimind.model.masks import Borders

args = experiment.flags(__doc__, steps=100, ahead=1)
plots.style()
LETTERS, LENGTH, SEEDS = 16, 16, 3
FLOOR = math.log(2)  # nats a letter: two may follow, with equal chance
# --8<-- [end:setup]

# --8<-- [start:masks]
see = torch.ones(LENGTH, LENGTH, dtype=torch.bool)  # row: the letter that looks, column: the one looked at
masks = {
    "causal": see.tril(),  # itself and what came before
    "none": see,
    "off by one": see.tril(diagonal=args.ahead),  # and the next letter: one `diagonal=1` too much
}
# --8<-- [end:masks]


# --8<-- [start:train]
def chain(followers, generator, count=24):
    """Letters (count, LENGTH), each one of the two that may follow the one before."""
    letters = [torch.randint(LETTERS, (count,), generator=generator)]
    for _ in range(LENGTH - 1):
        letters.append(followers[letters[-1], torch.randint(2, (count,), generator=generator)])
    return torch.stack(letters, dim=1)


class AnyMask(Borders):
    """A mask of our own, in the place of the one that the package makes."""

    only_causal = False

    def __init__(self, mask):
        self.made = {"mask": mask[None, None]}  # (1, 1, T, T)


def scores_of(model, letters, mask):
    """Scores of each next letter (count, T, LETTERS), with this mask in the model's attention."""
    length = letters.shape[1]
    positions = torch.arange(length)[None]
    hidden, _ = model.model(letters, positions, AnyMask(mask[:length, :length]))
    return model.lm_head(hidden)


def loss_of(model, letters, mask):
    return F.cross_entropy(scores_of(model, letters, mask)[:, :-1].flatten(0, 1), letters[:, 1:].flatten())


def train(mask, seed):
    """Train a model of one block; its curve, its loss under the causal mask, and how it writes."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    # (LETTERS, 2): which two letters may follow each letter.
    followers = torch.stack([torch.randperm(LETTERS, generator=generator)[:2] for _ in range(LETTERS)])
    config = ModelConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=LETTERS, rope_theta=100.0
    )
    model = MiniMind(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, fused=True)
    curve = []
    for _ in range(args.steps):
        loss = loss_of(model, chain(followers, generator), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    with torch.no_grad():
        honest = loss_of(model, chain(followers, generator, 200), masks["causal"]).item()
        written = chain(followers, generator)[:, :4]  # four letters to begin with
        for _ in range(LENGTH - 4):  # now the future is not there, whatever the mask allows
            chances = scores_of(model, written, mask)[:, -1].softmax(dim=-1)
            written = torch.cat([written, chances.multinomial(1, generator=generator)], dim=1)
        allowed = (followers[written[:, 3:-1]] == written[:, 4:, None]).any(dim=-1)  # (count, LENGTH - 4)
    return curve, honest, allowed.float().mean().item()


print(f"{'mask':>10}  training loss  under the causal mask  letters that may follow   ({SEEDS} seeds)")
runs = {
    name: [train(mask, SEEDS * args.seed + seed) for seed in range(SEEDS)] for name, mask in masks.items()
}
end, honest, legal = {}, {}, {}
for name, seeds in runs.items():
    end[name] = [sum(curve[-20:]) / 20 for curve, _, _ in seeds]
    honest[name], legal[name] = [run[1] for run in seeds], [run[2] for run in seeds]
    print(
        f"{name:>10}  {min(end[name]):.2f} to {max(end[name]):.2f}   {min(honest[name]):10.2f} to "
        f"{max(honest[name]):.2f}   {min(legal[name]):17.0%} to {max(legal[name]):.0%}"
    )
print(
    f"floor {FLOOR:.2f}; knowing nothing {math.log(LETTERS):.2f}; letters at random: {2 / LETTERS:.0%} may follow"
)
# --8<-- [end:train]

# --8<-- [start:figure]
fig, ax = plt.subplots()
for (name, seeds), colour in zip(runs.items(), (plots.BLUE, plots.ORANGE, plots.PURPLE), strict=True):
    for number, (curve, _, _) in enumerate(seeds):
        ax.plot(curve, color=colour, linewidth=1.2, label=name if number == 0 else None)
plots.mark_floor(ax, FLOOR, "floor ln 2")
ax.set(
    xlabel="training step", ylabel="loss (nats per letter)", ylim=(0, None), xlim=(-0.25 * args.steps, None)
)
ax.set_xticks(range(0, args.steps + 1, 20))
plots.label_lines(ax)
experiment.show("loss_below_the_floor")
# --8<-- [end:figure]

# --8<-- [start:after]
torch.manual_seed(args.seed)
q, k, v = torch.randn(3, 6, 8)  # six tokens, a head of eight numbers
changed = k.clone()
changed[5] = 3 * q[0]  # another last token, one that the first would like to see


def before(q, k, v):
    return dot_product_attention(q, k, v, see[:6, :6].tril())


def after(q, k, v, rescale=False):
    """The mask laid on the finished weights."""
    weights = (q @ k.T / 8**0.5).softmax(dim=-1).tril()  # (6, 6), the rows sum to less than 1
    return (weights / weights.sum(dim=-1, keepdim=True) if rescale else weights) @ v


moved = {
    "mask, then softmax": (before(q, changed, v) - before(q, k, v))[:5].abs().max().item(),
    "softmax, then mask": (after(q, changed, v) - after(q, k, v))[:5].abs().max().item(),
}
for name, change in moved.items():
    print(f"{name}: change the last token, and earlier outputs move by up to {change:.2f}")
rescaled = (after(q, k, v, rescale=True) - before(q, k, v)).abs().max().item()
print(f"softmax, mask, rows scaled back to 1: {rescaled:.0e} from the first")
# --8<-- [end:after]

# --8<-- [start:claims]
experiment.claim(
    "with the mask the loss ends at the floor", all(abs(loss - FLOOR) < 0.1 for loss in end["causal"])
)
experiment.claim(
    "with the mask no step's loss is far below it", min(min(run[0]) for run in runs["causal"]) > FLOOR - 0.15
)
for name in ("none", "off by one"):
    leaks = masks[name][0, 1].item()  # the first letter may see the second
    if leaks:
        experiment.claim(f"mask {name}: the loss falls far below the floor", max(end[name]) < FLOOR / 2)
        worse = min(honest[name]) > 1.5 * max(honest["causal"])
        experiment.claim(f"mask {name}: under the causal mask the loss is far above the floor", worse)
        experiment.claim(
            f"mask {name}: every seed is worse than knowing nothing", min(honest[name]) > math.log(LETTERS)
        )
experiment.claim("the honest model writes letters that may follow", min(legal["causal"]) > 0.95)
experiment.claim("masked before the softmax, the past ignores the future", moved["mask, then softmax"] == 0)
experiment.claim("masked after it, the future leaks through the sum", moved["softmax, then mask"] > 0.05)
experiment.claim("masked after it and scaled back, both are the same", rescaled < 1e-5)
# --8<-- [end:claims]
