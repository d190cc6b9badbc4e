"""Our Muon is PyTorch's, in stacks."""

import pytest
import torch
from torch import nn

from minimind.training.muon import Muon, orthogonalize

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8), (24, 8)]


def test_stacked_muon_makes_the_updates_of_pytorchs():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ours = [nn.Parameter(weight.clone()) for weight in start]
    theirs = [nn.Parameter(weight.clone()) for weight in start]
    our_rule = Muon(ours, lr=0.02, weight_decay=0.1)
    their_rule = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        our_rule.step()
        their_rule.step()
    for one, other, first in zip(ours, theirs, start, strict=True):
        moved = (other - first).norm()
        # bf16 products, on some processors in another order. Without the weight decay it would be above 0.5.
        assert (one - other).norm() < 0.03 * moved


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (2, 16, 48)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    result = orthogonalize(matrices).float()
    assert result.shape == matrices.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.einsum("nij,nij->n", result, u @ vh).min() / min(shape[1:]) > 0.7


def test_a_parameter_without_gradient_stays():
    parameter = nn.Parameter(torch.ones(4, 4))
    Muon([parameter], lr=1.0).step()
    assert torch.equal(parameter, torch.ones(4, 4))
