"""Layers joined for decoding give what they give one by one, also after they have changed."""

import copy

import pytest
import torch
from torch import nn

from minimind import MiniMind, ModelConfig
from minimind.model.joined import JoinedLinears, joined


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 4, bias=False), nn.Linear(6, 3, bias=False)
        self.both = JoinedLinears(self, "one", "two")

    def check(self, dtype=torch.float32, as_one=True):
        x = torch.randn(2, 1, 6, dtype=dtype)
        with torch.no_grad(), joined(self):
            assert (self.both.weight is not None) == as_one
            one, two = self.both(x)
            torch.testing.assert_close(one, self.one(x))
            torch.testing.assert_close(two, self.two(x))
        assert self.both.weight is None


@pytest.fixture
def pair():
    torch.manual_seed(0)
    pair = Pair()
    pair.check()
    return pair


def test_a_weight_that_is_written_to_is_seen(pair):
    with torch.no_grad():
        pair.one.weight.mul_(2)
    pair.check()
    pair.two.weight.data.neg_()  # not even torch counts this as a change
    pair.check()


def test_a_weight_that_is_replaced_is_seen(pair):
    pair.one.weight = nn.Parameter(torch.randn(4, 6))
    pair.check()


def test_another_dtype_and_back_is_seen(pair):
    pair.to(torch.bfloat16).check(torch.bfloat16)
    pair.to(torch.float32).check()


def test_loaded_weights_are_seen(pair):
    pair.load_state_dict(Pair().state_dict())
    pair.check()


def test_a_copy_has_layers_of_its_own(pair):
    other = copy.deepcopy(pair)
    with torch.no_grad():
        other.one.weight.zero_()
    other.check()
    pair.check()


def test_an_adapter_in_a_layers_place_is_called(pair):
    pair.one = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 4))
    pair.check(as_one=False)


def test_who_listens_to_a_layer_hears_it(pair):
    heard = []
    pair.two.register_forward_hook(lambda *_: heard.append(1))
    with torch.no_grad(), joined(pair):
        pair.both(torch.randn(1, 1, 6))
    assert heard == [1]


def test_gradients_reach_the_layers(pair):
    with joined(pair):
        sum(y.sum() for y in pair.both(torch.randn(1, 1, 6))).backward()
    assert pair.one.weight.grad is not None


def test_training_between_two_generations_counts():
    torch.manual_seed(0)
    model = MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50))
    prompt = torch.tensor([[1, 5, 9]])
    model.generate(prompt, max_new_tokens=4, temperature=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight))
    ids = model.generate(prompt, max_new_tokens=8, temperature=0, eos_token_id=None)
    with torch.no_grad():
        for end in range(3, 11):  # one by one, without a cache
            assert model(ids[:, :end]).logits[0, -1].argmax() == ids[0, end]


def test_a_model_of_inference_tensors_generates():
    with torch.inference_mode():
        model = MiniMind(
            ModelConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
        )
    assert model.generate(torch.tensor([[1, 5]]), max_new_tokens=3, eos_token_id=None).shape == (1, 5)
