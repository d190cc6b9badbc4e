"""What the model promises beside parity: masks, loss, memory, files, and errors that say what is wrong."""

import json
import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from minimind import ModelConfig
from minimind.errors import UserError
from minimind.model import (
    Attention,
    FeedForward,
    KVCache,
    MiniMind,
    RMSNorm,
    TransformerBlock,
    apply_rope,
    dot_product_attention,
    rope_frequencies,
)
from minimind.model.cross_entropy import CHUNK_ROWS, chunked_cross_entropy
from minimind.model.log_probs import token_log_probs
from minimind.model.masks import Borders


def tiny(**changes) -> MiniMind:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50, "num_attention_heads": 4}
    return MiniMind(ModelConfig(**{**shape, **changes}))


# Parts


def test_rmsnorm_makes_the_root_mean_square_one_and_ignores_scale():
    x = torch.randn(3, 5, 64) * 7
    y = RMSNorm(64)(x)
    torch.testing.assert_close(y.pow(2).mean(-1), torch.ones(3, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(RMSNorm(64)(1000 * x), y, atol=1e-5, rtol=1e-5)


def test_rmsnorm_keeps_the_dtype_and_computes_in_fp32():
    x = torch.randn(4, 256).bfloat16()
    y = RMSNorm(256).bfloat16()(x)
    assert y.dtype == torch.bfloat16
    exact = x.double() / (x.double().pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    assert (y.double() - exact).abs().max() <= exact.abs().max() * 2**-8


def test_a_score_under_rope_depends_on_distance_alone():
    q, k = torch.randn(1, 16), torch.randn(1, 16)
    frequencies = rope_frequencies(16, 1e4)

    def score(at_q: int, at_k: int) -> float:
        turned_q = apply_rope(q, torch.tensor([at_q]), frequencies)
        return float(turned_q @ apply_rope(k, torch.tensor([at_k]), frequencies).T)

    assert score(7, 3) == pytest.approx(score(107, 103), abs=1e-4)
    assert score(7, 3) != pytest.approx(score(7, 4), abs=1e-2)
    assert score(0, 0) == pytest.approx(float(q @ k.T), abs=1e-6)


def test_rope_turns_the_first_pair_by_one_radian_a_token():
    turned = apply_rope(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), rope_frequencies(2, 1e4))
    torch.testing.assert_close(turned, torch.tensor([[math.cos(1), math.sin(1)]]))


def test_an_odd_head_dim_is_refused():
    with pytest.raises(ValueError, match="head_dim must be even for RoPE, got 5"):
        rope_frequencies(5, 1e4)


def test_parts_run_alone_as_in_the_lessons():
    config = ModelConfig(hidden_size=32, num_attention_heads=4, vocab_size=10)
    x = torch.randn(2, 6, 32)
    for part in (Attention(config), FeedForward(config), TransformerBlock(config)):
        y = part(x)
        assert y.shape == x.shape
        if not isinstance(part, FeedForward):
            later = x.clone()
            later[:, 4:] += 1
            torch.testing.assert_close(part(later)[:, :4], y[:, :4])  # causal


def test_attention_alone_is_the_models_attention():
    model = tiny().eval()
    attention = model.model.layers[0].self_attn
    x = torch.randn(1, 5, 32)
    q = attention.q_norm(attention.q_proj(x).view(1, 5, 4, 8)).transpose(1, 2)
    k = attention.k_norm(attention.k_proj(x).view(1, 5, 1, 8)).transpose(1, 2)
    v = attention.v_proj(x).view(1, 5, 1, 8).transpose(1, 2)
    positions, frequencies = torch.arange(5), rope_frequencies(8, model.config.rope_theta)
    q, k = apply_rope(q, positions, frequencies), apply_rope(k, positions, frequencies)
    out = dot_product_attention(q, k, v, torch.ones(5, 5, dtype=torch.bool).tril())
    expected = attention.o_proj(out.transpose(1, 2).reshape(1, 5, 32))
    torch.testing.assert_close(attention(x), expected, atol=1e-6, rtol=1e-5)


def test_residual_projections_start_narrower_by_the_root_of_twice_the_layers():
    model = tiny(hidden_size=128, num_hidden_layers=8)
    layer = model.model.layers[3]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.self_attn.o_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_dropout_drops_in_training_only():
    model = tiny(dropout=0.5)
    ids = torch.randint(0, 50, (1, 8))
    assert not torch.equal(model(ids).logits, model(ids).logits)
    model.eval()
    assert torch.equal(model(ids).logits, model(ids).logits)


# Loss


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 20])
def test_chunked_cross_entropy_equals_the_plain_one(rows):
    torch.manual_seed(0)
    hidden = torch.randn(rows, 12, requires_grad=True)
    weight = torch.randn(30, 12, requires_grad=True)
    targets = torch.randint(0, 30, (rows,))
    loss = chunked_cross_entropy(hidden, weight, targets, chunk_rows=8)
    mine = torch.autograd.grad(3 * loss, (hidden, weight))
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(loss, plain)
    for gradient, other in zip(mine, torch.autograd.grad(3 * plain, (hidden, weight)), strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-5)


def test_the_last_chunk_is_filled_up_so_that_products_have_one_shape():
    weight = torch.randn(30, 12, dtype=torch.bfloat16, requires_grad=True)
    shapes = set()
    for rows in (17, 24, 30, 31):  # three or four chunks of 8
        hidden = torch.randn(rows, 12, dtype=torch.bfloat16, requires_grad=True)
        with ProductsSeen(shapes):
            targets = torch.randint(0, 30, (rows,))
            chunked_cross_entropy(hidden, weight, targets, chunk_rows=8).backward()
            token_log_probs(hidden, weight, targets, chunk_rows=8).sum().backward()
    assert shapes == {((8, 12), (12, 30)), ((8, 30), (30, 12)), ((30, 8), (8, 12))}


@pytest.mark.parametrize("rows", [1, 7, 8, 20])
def test_what_fills_a_chunk_is_not_counted(rows):
    torch.manual_seed(0)
    hidden = torch.randn(rows, 12).bfloat16().requires_grad_()
    weight = torch.randn(30, 12).bfloat16().requires_grad_()
    targets = torch.randint(0, 30, (rows,))
    plain = F.cross_entropy((hidden.float() @ weight.float().T), targets, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    for loss in (
        chunked_cross_entropy(hidden, weight, targets, chunk_rows=8),
        -token_log_probs(hidden, weight, targets, chunk_rows=8).sum(),
    ):
        assert loss.item() == pytest.approx(plain.item(), rel=0.01)
        for found, other in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
            assert (found - other).norm() < 0.02 * other.norm()


@pytest.mark.parametrize("rows", [0, 1, 8, 20])
def test_token_log_probs_are_those_of_a_log_softmax(rows):
    torch.manual_seed(0)
    hidden, weight = torch.randn(rows, 12, requires_grad=True), torch.randn(30, 12, requires_grad=True)
    targets, asked = torch.randint(0, 30, (rows,)), torch.randn(rows)
    found = token_log_probs(hidden, weight, targets, chunk_rows=8)
    expected = (hidden @ weight.T).log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
    assert found.shape == (rows,)
    torch.testing.assert_close(found, expected)
    mine = torch.autograd.grad((found * asked).sum(), (hidden, weight))
    plain = torch.autograd.grad((expected * asked).sum(), (hidden, weight))
    for gradient, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss_of", [chunked_cross_entropy, lambda *given: token_log_probs(*given).sum()])
@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_costs_no_product_and_the_other_gets_its_gradient(loss_of, frozen):
    torch.manual_seed(0)
    given = [torch.randn(20, 12, requires_grad=True), torch.randn(30, 12, requires_grad=True)]
    targets = torch.randint(0, 30, (20,))
    expected = torch.autograd.grad(loss_of(*given, targets), given)
    given[frozen].requires_grad_(False)
    with ProductsSeen(shapes := set()):
        loss_of(*given, targets).backward()
    assert len(shapes) == 2  # the logits, and the one gradient
    assert given[frozen].grad is None
    assert torch.equal(given[1 - frozen].grad, expected[1 - frozen])


def test_a_loss_that_nobody_derives_makes_the_logits_alone():
    torch.manual_seed(0)
    hidden, weight = torch.randn(20, 12, requires_grad=True), torch.randn(30, 12, requires_grad=True)
    targets = torch.randint(0, 30, (20,))
    expected = chunked_cross_entropy(hidden, weight, targets)
    with torch.no_grad(), ProductsSeen(shapes := set()):
        found = chunked_cross_entropy(hidden, weight, targets)
    assert shapes == {((20, 12), (12, 30))}
    assert torch.equal(found, expected)


class ProductsSeen(TorchDispatchMode):
    """Notes the shapes of the two matrices of every product."""

    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.mm.default:
            self.shapes.add((tuple(args[0].shape), tuple(args[1].shape)))
        return function(*args, **(kwargs or {}))


def test_cross_entropy_survives_logits_far_apart():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [300.0]])
    assert chunked_cross_entropy(hidden, weight, torch.tensor([0])).item() == pytest.approx(300.0)


def test_loss_is_the_mean_over_counted_labels():
    model = tiny().eval()
    ids = torch.randint(0, 50, (2, 10))
    labels = ids.clone()
    labels[0, :6] = -100
    out = model(ids, labels=labels)
    expected = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)
    assert int(out.label_count) == 13
    torch.testing.assert_close(out.loss_sum, out.loss * 13)


def test_without_usable_labels_the_loss_is_zero_with_a_graph():
    model = tiny()
    ids = torch.randint(0, 50, (2, 5))
    out = model(ids, labels=torch.full_like(ids, -100))
    assert out.loss.item() == 0
    out.loss.backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())
    assert model(ids[:, :1], labels=ids[:, :1]).loss.item() == 0


def test_without_labels_there_is_no_loss_and_aux_loss_is_zero():
    out = tiny()(torch.randint(0, 50, (1, 4)))
    assert out.loss is None
    assert out.aux_loss.item() == 0


def test_the_losses_of_the_layers_add_up_beside_the_main_one(monkeypatch):
    class Demanding(FeedForward):
        """A feed-forward layer that wants its output small, as one with experts wants them used alike."""

        def forward(self, x):
            y = super().forward(x)
            self.aux_loss = 0.5 * y.square().mean()
            return y

    monkeypatch.setattr("minimind.model.block.feed_forward", Demanding)
    model = tiny()
    ids = torch.randint(0, 50, (2, 6))
    out = model(ids, labels=ids)
    wanted = [layer.mlp.aux_loss for layer in model.model.layers]
    assert len(wanted) == 2
    torch.testing.assert_close(out.aux_loss, wanted[0] + wanted[1])
    torch.testing.assert_close(out.loss, model(ids, labels=ids).loss)  # the cross-entropy alone
    out.aux_loss.backward()
    assert model.model.layers[0].mlp.down_proj.weight.grad.any()


class ShapesSeen(TorchDispatchMode):
    """Notes the shape of every tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.sizes.add(tuple(tensor.shape))
        return result


def test_training_never_holds_logits_for_all_tokens():
    model = tiny(vocab_size=500)
    ids = torch.randint(0, 500, (8, 100))  # 792 labels, more than a chunk
    with ShapesSeen() as seen:
        model(ids, labels=ids).loss.backward()
    assert max(math.prod(shape) // 500 for shape in seen.sizes if shape[-1:] == (500,)) <= CHUNK_ROWS
    with ShapesSeen() as seen:
        _ = model(ids, labels=ids).logits
    assert (8, 100, 500) in seen.sizes  # and this is how they would have been seen


# Positions, masks, borders


def test_what_padding_holds_changes_nothing():
    model = tiny().eval()
    ids = torch.randint(0, 50, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    other = ids.clone()
    other[0, :4] = 7
    first, second = model(ids, attention_mask=mask).logits, model(other, attention_mask=mask).logits
    assert torch.equal(first[0, 4:], second[0, 4:])
    assert not first.isnan().any()
    torch.testing.assert_close(first[0, 4:], model(ids[:1, 4:]).logits[0], atol=1e-5, rtol=0)


def test_a_changed_document_leaves_its_neighbours_alone():
    model = tiny().eval()
    ids = torch.randint(0, 50, (1, 12))
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3])
    other = ids.clone()
    other[0, 5:9] = (ids[0, 5:9] + 1) % 50
    first, second = model(ids, document_ids=documents).logits, model(other, document_ids=documents).logits
    assert torch.equal(first[0, :5], second[0, :5])
    assert torch.equal(first[0, 9:], second[0, 9:])
    assert not torch.equal(first[0, 5:9], second[0, 5:9])


def test_no_label_crosses_a_border_and_padding_is_never_counted():
    model = tiny()
    ids = torch.randint(0, 50, (2, 10))
    documents = torch.tensor([[0] * 5 + [1] + [2] * 4, [0] * 7 + [-1] * 3])
    out = model(ids, labels=ids, document_ids=documents)
    assert int(out.label_count) == 4 + 0 + 3 + 6


def test_documents_restart_their_positions():
    borders = Borders(8, 8, document_ids=torch.tensor([[0, 0, 0, 1, 2, 2, -1, -1]]))
    assert borders.positions().tolist() == [[0, 1, 2, 0, 0, 1, 0, 1]]


def test_positions_count_the_ones_of_the_attention_mask():
    model = tiny().eval()
    seen = []
    model.model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1].tolist()))
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    model(torch.randint(0, 50, (2, 5)), attention_mask=mask)
    cache = KVCache(model.config, 2, 6)
    model(torch.randint(0, 50, (2, 5)), attention_mask=mask, cache=cache)
    model(torch.randint(0, 50, (2, 1)), attention_mask=torch.cat((mask, mask[:, -1:]), dim=1), cache=cache)
    assert seen == [[[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]] * 2 + [[[3], [5]]]


def test_position_ids_are_obeyed():
    model = tiny().eval()
    ids = torch.randint(0, 50, (1, 6))
    shifted = model(ids, position_ids=torch.arange(100, 106)[None]).logits
    torch.testing.assert_close(shifted, model(ids).logits, atol=1e-4, rtol=0)  # distance is all that counts
    spread = model(ids, position_ids=torch.arange(0, 12, 2)[None]).logits
    assert (spread - shifted).abs().max() > 1e-3


# Precision


def test_a_bf16_model_keeps_its_frequencies_in_fp32_and_stays_close():
    model = tiny().eval()
    ids = torch.randint(0, 50, (1, 40))
    exact = model(ids).logits
    low = model.bfloat16()
    assert low.model.frequencies.dtype == torch.float32
    assert low(ids).logits.dtype == torch.bfloat16
    torch.testing.assert_close(low(ids).logits.float(), exact, atol=0.02, rtol=0.05)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.tensor([[1, 50]])}, "input_ids has the id 50; the vocabulary has ids 0 to 49"),
        ({"input_ids": torch.tensor([[-1, 4]])}, "input_ids has the id -1"),
        ({"input_ids": torch.tensor([1, 2])}, r"input_ids must be \(batch, length\)"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, r"got \(1, 0\)"),
        ({"labels": torch.tensor([[1, 2]])}, r"labels must have shape \(1, 3\), got \(1, 2\)"),
        ({"labels": torch.tensor([[1, 2, 60]])}, "labels has the id 60"),
        ({"attention_mask": torch.ones(1, 2)}, "attention_mask must have shape"),
        ({"document_ids": torch.ones(2, 3)}, "document_ids must have shape"),
        ({"position_ids": torch.ones(1, 4)}, "position_ids must have shape"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny()(**{"input_ids": torch.tensor([[1, 2, 3]]), **arguments})


def test_loading_says_what_is_wrong(tmp_path):
    from safetensors.torch import load_file, save_file

    folder, file = tmp_path / "run", tmp_path / "run" / "model.safetensors"
    with pytest.raises(UserError, match=r"no config\.json there"):
        MiniMind.from_pretrained(folder)
    tiny().save_pretrained(folder)
    good = file.read_bytes()
    weights = load_file(file)

    def error(**changed) -> str:
        kept = {name: tensor for name, tensor in {**weights, **changed}.items() if tensor is not None}
        save_file(kept, file)
        with pytest.raises(UserError) as caught:
            MiniMind.from_pretrained(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    expected = "model.safetensors: model.norm.weight has shape (64,), config.json says (32,)"
    assert error(**{"model.norm.weight": torch.ones(64)}).endswith(expected)
    assert "model.norm.weight missing" in error(**{"model.norm.weight": None})
    assert "model.layers.0.mlp.router is not part" in error(**{"model.layers.0.mlp.router": torch.ones(1)})
    for length in (0, 5, 100, len(good) - 10):
        file.write_bytes(good[:length])
        with pytest.raises(UserError, match=r"model.safetensors: damaged"):
            MiniMind.from_pretrained(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"model.safetensors: not found"):
        MiniMind.from_pretrained(folder)


def test_a_bf16_checkpoint_loads_as_float32_unless_asked(tmp_path):
    model = tiny().bfloat16()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    again = MiniMind.from_pretrained(tmp_path)
    assert again.lm_head.weight.dtype == torch.float32
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.float())
    assert MiniMind.from_pretrained(tmp_path, dtype=torch.bfloat16).lm_head.weight.dtype == torch.bfloat16


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = tiny()
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full_disk(weights, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minimind.model.pretrained.save_file", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    tiny().save_pretrained(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    MiniMind.from_pretrained(tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_rows_may_have_positions_of_their_own():
    torch.manual_seed(0)
    x, frequencies = torch.randn(3, 2, 5, 8), rope_frequencies(8, 1e4)  # (B, H, T, D)
    positions = torch.stack([torch.arange(5) + start for start in (0, 7, 100)])  # (B, T)
    turned = apply_rope(x, positions, frequencies)
    for row in range(3):
        torch.testing.assert_close(turned[row], apply_rope(x[row], positions[row], frequencies))


@pytest.mark.parametrize(("tokens", "width"), [(4, 8), (5, 6)])
def test_positions_that_do_not_fit_are_named(tokens, width):
    with pytest.raises(ValueError, match=rf"x has {tokens} tokens of {width} numbers; the 5 positions"):
        apply_rope(torch.randn(2, tokens, width), torch.arange(5), rope_frequencies(8, 1e4))


def test_an_attention_layer_alone_goes_on_from_its_cache():
    config = ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=20)
    torch.manual_seed(0)
    attention, x = Attention(config), torch.randn(2, 7, 32)
    cache = KVCache(config, 2, 7)
    pieces = []
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        pieces.append(attention(part, cache=cache))
        cache.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(pieces, dim=1), attention(x))
