"""Why normalization? Send noise through ten layers and watch what is left of it.

The set-up is the well-known one: 100 samples of 512 numbers, ten times nn.Linear(512, 512) and ReLU,
PyTorch's default weights, seed 42. Then the part that the usual figure leaves out.

Run: python snippets/normalization/exp1_gradient_vanishing.py [--gain 2] [--seed 0]
Tier: visualization · core · about 3 s
"""

# --8<-- [start:setup]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from minimind.course import experiment, plots
from minimind.model import RMSNorm

args = experiment.flags(__doc__, seed=42, gain=1.0)
plots.style()
x = torch.randn(100, 512)  # 100 samples of 512 numbers, std 1
layers = [nn.Linear(512, 512) for _ in range(10)]
direction = torch.randn(100, 512)  # the loss: each sample is to move its own way
norm = RMSNorm(512)
# --8<-- [end:setup]


# --8<-- [start:forward]
def run(weight_scale=1.0, bias_scale=1.0, normalize=False):
    """Send x through the layers; return, layer by layer, what the table and the figure need."""
    h, weights = x, []
    std, between_samples = [x.std().item()], [x.std(dim=0).mean().item()]
    for layer in layers:
        weights.append((layer.weight * weight_scale * args.gain).detach().requires_grad_())
        h = F.relu(F.linear(h, weights[-1], layer.bias.detach() * bias_scale))  # (100, 512)
        h = norm(h) if normalize else h
        std.append(h.std().item())  # over all 51,200 numbers: the figure that people quote
        between_samples.append(h.std(dim=0).mean().item())  # how far the samples still differ
    (h * direction).sum().backward()
    gradients = [weight.grad.norm().item() for weight in weights]
    return {"std": std, "between": between_samples, "gradient": gradients[0] / gradients[-1]}


plain = run()
normed = run(normalize=True)
kaiming = run(weight_scale=6**0.5, bias_scale=0.0)  # makes these nn.init.kaiming_uniform_
unbiased = run(bias_scale=0.0)["std"][-1]
plateau = sum(plain["std"][6:]) / 5  # layers 6 to 10

print("no norm, std layer by layer:", *(f"{value:.3f}" for value in plain["std"]))
print("after ten layers         std   between samples   weight gradient, layer 1 / 10")
for name, arm in {"no norm": plain, "RMSNorm": normed, "no norm, Kaiming": kaiming}.items():
    print(f"{name:19} {arm['std'][-1]:8.4f} {arm['between'][-1]:17.2g} {arm['gradient']:18.3f}")
print(f"no norm, biases set to zero: std {unbiased:.2g}")
# --8<-- [end:forward]

# --8<-- [start:figure]
fig, ax = plt.subplots()
ax.semilogy(normed["std"], color=plots.GREEN, label="RMSNorm: std")
ax.semilogy(plain["std"], color=plots.BLUE, label="no norm: std")
ax.semilogy(plain["between"], "--", color=plots.ORANGE, label="no norm: std\nbetween samples")
ax.set(xlabel="layers passed", ylabel="standard deviation")
plots.label_lines(ax)
experiment.show("activation_std")
# --8<-- [end:figure]


# --8<-- [start:residual]
def branch(h, inner, outer):
    """A small feed-forward layer; what comes out is about as large as what went in."""
    return F.linear(F.relu(F.linear(h, inner)), outer)  # (100, 512)


first = [torch.randn(512, 512) * (2 / 512) ** 0.5 for _ in layers]
second = [torch.randn(512, 512) / 512**0.5 for _ in layers]
pre = post = x
survival = {"pre": [1.0], "post": [1.0]}
with torch.no_grad():
    for pair in zip(first, second, strict=True):
        pre = pre + branch(norm(pre), *pair)  # Pre-LN: the branch reads a normalized copy
        post = norm(post + branch(post, *pair))  # Post-LN: the stream itself is rescaled
        for name, stream in {"pre": pre, "post": post}.items():
            survival[name].append(F.cosine_similarity(stream, x).mean().item())

pre_rms, post_rms = (stream.square().mean().sqrt().item() for stream in (pre, post))
print("after ten layers    cosine with the input   RMS of the stream")
print(f"Pre-LN {survival['pre'][-1]:34.2f} {pre_rms:19.2f}")
print(f"Post-LN {survival['post'][-1]:33.2f} {post_rms:19.2f}")
# --8<-- [end:residual]

# --8<-- [start:residual_figure]
fig, ax = plt.subplots()
ax.plot(survival["pre"], color=plots.RESIDUAL, label="Pre-LN")
ax.plot(survival["post"], color=plots.SLATE, label="Post-LN")
ax.set(xlabel="layers passed", ylabel="cosine similarity with the input", ylim=(0, 1.02))
plots.label_lines(ax)
experiment.show("input_survival")
# --8<-- [end:residual_figure]

# --8<-- [start:claims]
if args.gain == 1:
    experiment.claim("without a norm the std falls to a plateau near 0.016", abs(plateau - 0.016) < 0.0015)
    experiment.claim("from layer 6 on it stays there", max(plain["std"][6:]) < 1.25 * min(plain["std"][6:]))
    experiment.claim("the samples differ by less than 0.0001 there", plain["between"][-1] < 1e-4)
    kept = (unbiased / plain["std"][0]) ** 0.1
    experiment.claim("the weights alone keep about four tenths a layer", 0.37 < kept < 0.43)
    experiment.claim("the plateau comes from the biases", unbiased < plateau / 50)
    experiment.claim("layer 1 gets under 3 % of layer 10's weight gradient", plain["gradient"] < 0.03)
    experiment.claim("Kaiming init keeps the std without a norm", 0.6 < kaiming["std"][-1] < 1.0)
    experiment.claim("Kaiming init keeps the gradient", 0.7 < kaiming["gradient"] < 1.4)
    if args.seed == 42:
        quoted = [1.007, 0.339, 0.137, 0.055, 0.027, 0.018, 0.016]
        experiment.claim(
            "seed 42 gives the quoted numbers", [round(v, 3) for v in plain["std"][:7]] == quoted
        )
else:
    factor = kaiming["std"][-1] / (0.8 * args.gain**10)
    experiment.claim("without a norm the gain acts ten times over", 0.7 < factor < 1.3)
experiment.claim(
    "RMSNorm holds the std at sqrt(1 - 1/pi)", abs(normed["std"][-1] - (1 - 1 / math.pi) ** 0.5) < 0.03
)
experiment.claim("RMSNorm keeps the gradient", 0.7 < normed["gradient"] < 1.4)
experiment.claim("Pre-LN keeps 1/sqrt(11) of the input", abs(survival["pre"][-1] - 11**-0.5) < 0.03)
experiment.claim("Post-LN keeps under a third of that", survival["post"][-1] < survival["pre"][-1] / 3)
experiment.claim("the Pre-LN stream grows as the square root of depth", abs(pre_rms - 11**0.5) < 0.3)
# --8<-- [end:claims]
