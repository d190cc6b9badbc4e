"""The flat step for one token gives what the modules give, calls linear layers of any kind, and else stands back."""

import copy

import pytest
import torch
from torch import nn

from minimind import MiniMind, ModelConfig
from minimind.model.attention import Attention
from minimind.model.cache import KVCache
from minimind.model.fast.step import ModuleStep, Step, can_step

SHAPES = {
    "plain": {},
    "grouped": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "one key head": {"num_attention_heads": 4, "num_key_value_heads": 1},
    "wide heads": {"head_dim": 24},
    "without QK-norm": {"qk_norm": False},
    "untied": {"tie_word_embeddings": False},
    "YaRN": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    "dropout": {"dropout": 0.5},
}


def make(**shape):
    torch.manual_seed(0)
    values = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
    model = MiniMind(ModelConfig(**(values | shape))).eval()
    with torch.no_grad():  # norms of a fresh model are all 1 and would hide a norm in the wrong place
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


@torch.inference_mode()
def both(model, attention_mask=None, steps=4):
    """Logits of the step and of the modules, `(steps, B, V)` each, after the same tokens."""
    ids = torch.randint(3, 50, (3, 5))
    results = []
    for kind in (Step, ModuleStep):
        cache = KVCache(model.config, 3, 5 + steps, model.model.embed_tokens.weight.dtype)
        model(ids, attention_mask=attention_mask, cache=cache)
        step = kind(model, cache, attention_mask)
        results.append(torch.stack([step(ids[:, i]) for i in range(steps)]))
    return results


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("padded", [False, True])
def test_the_step_gives_the_logits_of_the_modules(shape, padded):
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]]) if padded else None
    model = make(**shape)
    assert can_step(model)
    step, modules = both(model, mask)
    torch.testing.assert_close(step, modules, atol=1e-5, rtol=1e-5)


def test_in_bf16_they_differ_by_rounding_only():
    step, modules = both(make(num_attention_heads=4, num_key_value_heads=2).to(torch.bfloat16))
    # About two roundings of 2^-8 each; how many, the processor's products decide.
    assert (step - modules).abs().mean() < 0.03 * modules.abs().mean()


class Wrapped(nn.Module):
    """A linear layer that is no `nn.Linear`, as adapters and quantized weights are, and counts its calls."""

    def __init__(self, linear):
        super().__init__()
        self.inner, self.calls = linear, 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x)


def wrap(
    model, names=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in names:
                setattr(module, name, Wrapped(child))


def adapter(model):
    mlp = model.model.layers[0].mlp
    mlp.up_proj = nn.Sequential(mlp.up_proj, nn.Linear(mlp.up_proj.out_features, mlp.up_proj.out_features))


def bias(model):
    model.lm_head.bias = nn.Parameter(torch.randn(50))
    model.model.layers[0].self_attn.k_proj.bias = nn.Parameter(torch.randn(16))


def own_forward(module):
    module.forward = lambda x: type(module).forward(module, x).flip(-1)


def doubled(module):
    module.register_forward_hook(lambda module, inputs, out: out * 2)


class Doubling(nn.Linear):
    """A linear layer by its class, but more than its matrix."""

    def forward(self, x):
        return 2 * super().forward(x)


def doubling(model):
    model.model.layers[0].self_attn.v_proj.__class__ = Doubling


CHANGED_LINEARS = {
    "a subclass": doubling,
    "all wrapped": wrap,
    "queries wrapped": lambda model: wrap(model, ("q_proj",)),
    "gates wrapped": lambda model: wrap(model, ("gate_proj",)),
    "a longer layer": adapter,
    "biases": bias,
    "a hook on a linear layer": lambda model: doubled(model.model.layers[0].self_attn.v_proj),
    "a hook on a feed-forward": lambda model: doubled(model.model.layers[1].mlp),
    "a forward of its own": lambda model: own_forward(model.model.layers[0].mlp.down_proj),
    "another feed-forward": lambda model: setattr(model.model.layers[0], "mlp", nn.Sequential(nn.GELU())),
}


@pytest.mark.parametrize("change", CHANGED_LINEARS.values(), ids=CHANGED_LINEARS)
def test_linear_layers_and_feed_forwards_of_any_kind_keep_the_fast_path(change):
    model = make()
    change(model)
    assert can_step(model)
    step, modules = both(model)
    torch.testing.assert_close(step, modules, atol=1e-5, rtol=1e-5)


def test_a_model_of_wrapped_linear_layers_writes_the_same_ids_on_the_fast_path(monkeypatch):
    plain, wrapped = make(num_attention_heads=4), make(num_attention_heads=4)
    wrap(wrapped)
    prompt = torch.tensor([[1, 5, 9]])
    given = {"max_new_tokens": 8, "temperature": 0, "eos_token_id": None}
    whole_forwards = []
    forward = Attention.forward
    monkeypatch.setattr(Attention, "forward", lambda *given: whole_forwards.append(1) or forward(*given))
    assert torch.equal(wrapped.generate(prompt, **given), plain.generate(prompt, **given))
    assert len(whole_forwards) == 2 * 2  # two layers of two models, for the prompt alone
    calls = {module.calls for module in wrapped.modules() if isinstance(module, Wrapped)}
    assert calls == {8}  # once for the prompt, once for each of the seven tokens after the first


def hook(model):
    doubled(model.model.layers[1].self_attn)


def pre_hook(model):
    model.model.norm.register_forward_pre_hook(lambda module, args: (args[0] * 2,))


def another_norm(model):
    model.model.layers[0].input_layernorm = nn.Identity()


def one_head_norm(model):
    model.model.layers[0].self_attn.q_norm = nn.Identity()


class NoAttention(Attention):
    def forward(self, x, *rest):
        return 0 * x


def another_attention(model):
    model.model.layers[0].self_attn.__class__ = NoAttention


@pytest.mark.parametrize(
    "change",
    [
        hook,
        pre_hook,
        lambda model: own_forward(model.model.norm),
        another_norm,
        one_head_norm,
        another_attention,
    ],
)
def test_what_the_step_would_miss_is_called(change):
    model = make()
    change(model)
    assert not can_step(model)
    written_as_asked(model)


def test_a_model_with_something_else_for_a_block_is_called():
    model = make(num_hidden_layers=1)
    model.model.layers[0] = nn.Identity()
    assert not can_step(model)
    model.model.layers[0] = make().model.layers[0].mlp  # of this package, but no block
    assert not can_step(model)


def written_as_asked(model):
    """What is generated is the most likely next token of the whole text, read without a cache, each time."""
    ids = model.generate(torch.tensor([[1, 5, 9]]), max_new_tokens=8, temperature=0, eos_token_id=None)
    with torch.no_grad():
        for end in range(3, 11):
            assert model(ids[:, :end]).logits[0, -1].argmax() == ids[0, end]


def test_weights_changed_between_two_texts_count():
    model = make()
    written_as_asked(model)
    for weight in model.parameters():
        weight.data.add_(torch.randn_like(weight))  # `.data`: not even torch counts this as a change
    written_as_asked(model)
    model.load_state_dict(make().state_dict())
    written_as_asked(model)
    written_as_asked(copy.deepcopy(model))


def test_a_model_of_inference_tensors_generates():
    with torch.inference_mode():
        model = make()
    assert model.generate(torch.tensor([[1, 5]]), max_new_tokens=3, eos_token_id=None).shape == (1, 5)
