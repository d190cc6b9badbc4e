"""Perplexity on whole documents."""

import math
from itertools import islice

import pytest
import torch

from minimind import MiniMind, ModelConfig
from minimind.data import World
from minimind.errors import UserError
from minimind.metrics import HeldOut, held_out, perplexity
from minimind.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def model() -> MiniMind:
    torch.manual_seed(0)
    return MiniMind(
        ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=50, max_position_embeddings=64)
    )


def documents(lengths: list[int]) -> list[HeldOut]:
    generator = torch.Generator().manual_seed(0)
    return [HeldOut(torch.randint(3, 50, (n,), generator=generator).tolist(), bytes=3 * n) for n in lengths]


def test_documents_of_all_lengths_measure_as_each_alone(model):
    all_of_them = documents([5, 40, 2, 17, 64, 33])
    measured = perplexity(model, all_of_them)
    nats, tokens = 0.0, 0
    for document in all_of_them:
        ids = torch.tensor([document.ids])
        log_p = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
        nats -= log_p.sum().item()
        tokens += len(document.ids) - 1
    assert measured.tokens == tokens
    assert measured.nats == pytest.approx(nats, rel=1e-5)
    assert measured.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert measured.bits_per_byte == pytest.approx(
        nats / math.log(2) / (3 * sum(len(d.ids) for d in all_of_them))
    )
    assert measured.floor_perplexity is None


@pytest.mark.parametrize("length", [10, 11, 12, 13, 29])
def test_a_long_document_is_cut_but_each_token_is_predicted_once(model, length):
    [document] = documents([length])
    assert perplexity(model, [document], context_length=7).tokens == length - 1


def test_the_floor_is_the_entropy_of_the_documents_in_tokens(model):
    items = list(islice(World(0).documents("validation"), 20))
    tokenizer = train_tokenizer([item.text for item in items], 300)
    torch.manual_seed(0)
    fresh = MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=300))
    measured = perplexity(fresh, held_out(tokenizer, items))
    assert measured.tokens == sum(len(tokenizer.encode(item.text)) + 1 for item in items)
    assert measured.floor_perplexity == pytest.approx(
        math.exp(sum(item.nats for item in items) / measured.tokens)
    )
    assert measured.perplexity == pytest.approx(300, rel=0.2)  # an untrained model hesitates between all ids
    assert measured.floor_perplexity < measured.perplexity
    assert measured.bytes == sum(len(item.text.encode()) for item in items)


def test_measuring_leaves_the_model_in_its_mode(model):
    model.train()
    perplexity(model, documents([5]))
    assert model.training
    model.eval()
    perplexity(model, documents([5]))
    assert not model.training


def test_nothing_to_predict_is_said(model):
    with pytest.raises(UserError, match="nothing to measure"):
        perplexity(model, documents([1]))
    with pytest.raises(UserError, match="nothing to measure"):
        perplexity(model, [])
