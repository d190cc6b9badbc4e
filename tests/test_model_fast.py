"""What makes the model fast gives the numbers of the plain parts; and the plain parts are plain to torch as well."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn import functional as F

from minimind import MiniMind, ModelConfig
from minimind.model import Attention, RMSNorm, TransformerBlock, rope, rope_frequencies
from minimind.model.fast import attention as fast_rope
from minimind.model.fast import speed_up
from minimind.model.fast.attention import BaddbmmAttention, baddbmm_attention
from minimind.model.fast.norm import FastRMSNorm
from minimind.model.masks import Borders


def drawn_norm(width: int) -> RMSNorm:
    """A norm with factors that are not all 1."""
    norm = RMSNorm(width)
    torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    return norm


def tiny(**changes) -> MiniMind:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50, "num_attention_heads": 4}
    return MiniMind(ModelConfig(**{**shape, "num_key_value_heads": 2, **changes}))


# The plain norm


def test_torch_func_maps_the_norm_and_takes_its_derivatives():
    torch.manual_seed(0)
    norm, x, direction = drawn_norm(6), torch.randn(4, 6), torch.randn(4, 6)
    torch.testing.assert_close(vmap(norm)(x), norm(x))
    jacobian = jacrev(norm)(x[0])  # (6, 6)
    _, moved = jvp(norm, (x[0],), (direction[0],))
    torch.testing.assert_close(moved, jacobian @ direction[0])
    small = 1e-3 * direction[0]
    torch.testing.assert_close(norm(x[0] + small) - norm(x[0]), jacobian @ small, atol=1e-5, rtol=1e-2)
    weights = {name: weight.detach() for name, weight in norm.named_parameters()}
    by_weight = grad(lambda weights: functional_call(norm, weights, (x,)).sum())(weights)["weight"]
    torch.testing.assert_close(by_weight, (norm(x) / norm.weight).sum(dim=0))


def test_the_norm_has_exact_first_and_second_derivatives():
    torch.manual_seed(0)
    norm = drawn_norm(5).double()
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def of(x, weight):
        return functional_call(norm, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(of, (x, norm.weight))
    assert torch.autograd.gradgradcheck(of, (x, norm.weight))


def test_the_norm_is_pytorchs_own():
    torch.manual_seed(0)
    x, norm = 3 * torch.randn(4, 33, 64), drawn_norm(64)
    torch.testing.assert_close(norm(x), F.rms_norm(x, (64,), norm.weight, norm.eps), rtol=1e-6, atol=1e-6)


def test_under_autocast_the_fast_norm_rounds_once_for_all_that_read_it():
    plain, x = drawn_norm(64), torch.randn(3, 64)
    fast = sped_up(copy.deepcopy(plain))
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(x), fast(x)
    assert (expected.dtype, found.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(found, expected.bfloat16(), atol=2**-7, rtol=2**-7)
    assert fast(x).dtype == torch.float32


def sped_up(module, *arguments):
    speed_up(module, *arguments)
    return module


# The fast forms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_norm_gives_values_and_gradients_of_the_plain_one(dtype):
    torch.manual_seed(0)
    plain = drawn_norm(48).to(dtype)
    fast = sped_up(copy.deepcopy(plain))
    assert type(fast) is FastRMSNorm
    x, grad_y = (5 * torch.randn(2, 7, 48)).to(dtype), torch.randn(2, 7, 48).to(dtype)
    results = []
    for norm in (plain, fast):
        inputs = x.clone().requires_grad_()
        y = norm(inputs)
        y.backward(grad_y)
        with torch.no_grad():
            results.append((y, norm(x), inputs.grad, norm.weight.grad))
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 2**-7}
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype == dtype
        torch.testing.assert_close(one, other, **close)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("documents", [False, True])
def test_fast_attention_equals_the_kernel(kv_heads, documents):
    torch.manual_seed(0)
    q = torch.randn(2, 4, 33, 16)
    k, v = torch.randn(2, kv_heads, 33, 16), torch.randn(2, kv_heads, 33, 16)
    ids = torch.tensor([[0] * 20 + [1] * 13, [0] * 30 + [-1] * 3]) if documents else None
    borders = Borders(33, 33, document_ids=ids)
    exact = F.scaled_dot_product_attention(q, k, v, attn_mask=borders.mask(), scale=0.3, enable_gqa=True)
    torch.testing.assert_close(baddbmm_attention(q, k, v, 0.3, borders), exact, atol=1e-6, rtol=1e-5)
    assert "additive bias" in borders.made  # the next layer need not make it again
    low = baddbmm_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.3, Borders(33, 33, document_ids=ids))
    torch.testing.assert_close(low.float(), exact, atol=0.04, rtol=0)


def run(model, autocast: bool):
    """Loss and gradients of two packed rows."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 50, (2, 24), generator=generator)
    documents = torch.tensor([[0] * 10 + [1] * 14, [0] * 20 + [-1] * 4])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(ids, labels=ids, document_ids=documents)
    out.loss.backward()
    return out.loss.item(), torch.cat([weight.grad.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("path", ["sdpa", "manual"])
def test_a_fast_model_gives_loss_and_gradients_of_the_plain_one(path):
    plain, fast = tiny(), sped_up(tiny(), path)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    expected, found = run(plain, autocast=False), run(fast, autocast=False)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    torch.testing.assert_close(found[1], expected[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("path", ["sdpa", "manual"])
def test_under_bf16_autocast_they_differ_by_rounding(path):
    plain, fast = run(tiny(), autocast=True), run(sped_up(tiny(), path), autocast=True)
    assert fast[0] == pytest.approx(plain[0], abs=2e-3)
    assert (fast[1] - plain[1]).norm() < 0.03 * plain[1].norm()


def test_the_turn_by_roll_is_the_turn_to_the_bit():
    torch.manual_seed(0)
    x, positions, frequencies = torch.randn(3, 9, 16), torch.arange(9), rope_frequencies(16, 1e4)
    plain = rope.rotate(x, *rope.rotation(positions, frequencies))
    assert torch.equal(fast_rope.rotate(x, *fast_rope.rotation(positions, frequencies)), plain)
    assert not torch.equal(plain[:, 1:], x[:, 1:])


def test_a_model_is_plain_until_somebody_asks_and_the_path_can_be_chosen_again():
    model = tiny()
    kinds = {type(module) for module in model.modules()}
    assert {RMSNorm, Attention} <= kinds
    assert not kinds & {FastRMSNorm, BaddbmmAttention}
    speed_up(model, "manual")
    kinds = {type(module) for module in model.modules()}
    assert {FastRMSNorm, BaddbmmAttention} <= kinds
    assert not kinds & {RMSNorm, Attention}
    speed_up(model, "sdpa")
    assert Attention in {type(module) for module in model.modules()}


def test_a_part_of_the_readers_own_stays_as_it_is():
    class Loud(RMSNorm):
        def forward(self, x):
            return 2 * super().forward(x)

    block = TransformerBlock(ModelConfig(hidden_size=32, num_attention_heads=4))
    block.input_layernorm = Loud(32)
    speed_up(block, "manual")
    assert type(block.input_layernorm) is Loud
    assert type(block.post_attention_layernorm) is FastRMSNorm


@pytest.mark.parametrize("path", ["sdpa", "manual"])
def test_torch_compile_takes_the_model_as_one_graph(path):
    ids, documents = torch.randint(0, 50, (2, 24)), torch.tensor([[0] * 10 + [1] * 14, [0] * 20 + [-1] * 4])
    model = sped_up(tiny(), path)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(ids, document_ids=documents).logits, model(ids, document_ids=documents).logits
        )


def test_an_unknown_attention_path_is_refused():
    with pytest.raises(ValueError, match="sdpa, manual, got 'flash'"):
        speed_up(tiny(), "flash")


def test_a_fast_model_with_a_cache_writes_what_the_plain_one_writes():
    ids = torch.tensor([[1, 5, 9], [0, 7, 3]])
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    settings = {"max_new_tokens": 6, "temperature": 0, "eos_token_id": None}
    plain = tiny().eval()
    with torch.no_grad():  # a fresh model hardly looks at what came before
        for weight in plain.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    fast = sped_up(copy.deepcopy(plain), "manual")
    assert torch.equal(plain.generate(ids, mask, **settings), fast.generate(ids, mask, **settings))
