"""Generation: cached equals uncached, batched equals alone, and the filters are Hugging Face's."""

import copy
import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from transformers.generation import logits_process as hf

from minimind import ModelConfig
from minimind.cli import main
from minimind.errors import UserError
from minimind.model import KVCache, MiniMind, load, sampling
from minimind.model.generate import generate_uncached
from minimind.sampling import Sampling
from minimind.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def model() -> MiniMind:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=50, num_attention_heads=4, num_key_value_heads=2
    )
    model = MiniMind(config)
    with torch.no_grad():  # wide weights, so that the next token is not a tie
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.3)
    return model.eval()


def prompts(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random prompts, padded on the left."""
    torch.manual_seed(4)
    longest = max(lengths)
    ids, mask = (
        torch.zeros(len(lengths), longest, dtype=torch.long),
        torch.zeros(len(lengths), longest, dtype=torch.long),
    )
    for row, length in enumerate(lengths):
        ids[row, longest - length :] = torch.randint(3, 50, (length,))
        mask[row, longest - length :] = 1
    return ids, mask


@pytest.mark.parametrize(
    "settings", [Sampling(20, temperature=0), Sampling(20, temperature=0.9, top_k=20, top_p=0.95, seed=5)]
)
def test_cached_and_uncached_generation_agree(model, settings):
    ids, _ = prompts(5, 5)
    plain = generate_uncached(model, ids, settings)
    assert plain.shape == (2, 25)
    assert torch.equal(model.generate(ids, sampling=settings, eos_token_id=None), plain)


def test_uncached_generation_reads_the_whole_text_for_each_token(model):
    lengths = []
    listening = model.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    generate_uncached(model, prompts(3)[0], Sampling(4, temperature=0))
    listening.remove()
    assert lengths == [3, 4, 5, 6]


@pytest.mark.parametrize("cuts", [[12], [1] * 12, [5, 7], [3, 1, 8]])
def test_a_row_read_in_pieces_gives_the_logits_of_the_whole(model, cuts):
    ids, mask = prompts(12, 7)
    whole = model(ids, attention_mask=mask).logits
    cache = KVCache(model.config, 2, 12)
    seen, pieces = 0, []
    for cut in cuts:
        piece = ids[:, seen : seen + cut]
        seen += cut
        pieces.append(model(piece, attention_mask=mask[:, :seen], cache=cache).logits)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask.bool()], whole[mask.bool()], atol=1e-5, rtol=0)
    alone, cache = ids[:1], KVCache(model.config, 1, 12)
    parts = [model(alone[:, :5], cache=cache).logits, model(alone[:, 5:], cache=cache).logits]
    torch.testing.assert_close(torch.cat(parts, 1), model(alone).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_padded_batch_gives_what_each_prompt_gives_alone(model, penalty):
    ids, mask = prompts(3, 9, 1, 6)
    settings = {"max_new_tokens": 15, "temperature": 0, "repetition_penalty": penalty, "eos_token_id": None}
    batch = model.generate(ids, attention_mask=mask, **settings)
    for row, length in enumerate((3, 9, 1, 6)):
        alone = model.generate(ids[row : row + 1, 9 - length :], **settings)
        assert torch.equal(batch[row, 9 - length :], alone[0])


def test_streaming_yields_what_generate_returns(model):
    ids, mask = prompts(4, 2)
    settings = {"max_new_tokens": 12, "temperature": 0.8, "seed": 3, "eos_token_id": None}
    steps = list(model.stream(ids, attention_mask=mask, **settings))
    whole = model.generate(ids, attention_mask=mask, **settings)
    assert all(step.shape == (2,) for step in steps)
    assert torch.equal(torch.stack(steps, 1), whole[:, 4:])
    assert torch.equal(whole[:, :4], ids)


def test_the_seed_decides_and_the_global_random_numbers_stay(model):
    ids, _ = prompts(4)
    settings = {"max_new_tokens": 20, "eos_token_id": None}
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    first = model.generate(ids, seed=1, **settings)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, model.generate(ids, seed=1, **settings))
    assert not torch.equal(first, model.generate(ids, seed=2, **settings))


def test_a_row_that_ends_is_filled_and_the_run_stops_when_all_have(model):
    ids, _ = prompts(4, 4)
    free = model.generate(ids, max_new_tokens=16, temperature=0, eos_token_id=None)[:, 4:]
    end = int(free[0, 2])
    ends_at = [row.index(end) if end in row else None for row in free.tolist()]
    out = model.generate(ids, max_new_tokens=16, temperature=0, eos_token_id=end, pad_token_id=49)[:, 4:]
    for row, at in enumerate(ends_at):
        if at is None:
            assert torch.equal(out[row], free[row])
        else:
            assert torch.equal(out[row, : at + 1], free[row, : at + 1])
            assert (out[row, at + 1 :] == 49).all()
    alone = model.generate(ids[:1], max_new_tokens=16, temperature=0, eos_token_id=end)
    assert alone.shape[1] == 4 + ends_at[0] + 1
    several = model.generate(ids[:1], max_new_tokens=16, temperature=0, eos_token_id=[end, 48])
    assert torch.equal(several, alone)
    filled = model.generate(ids, max_new_tokens=16, temperature=0, eos_token_id=end, pad_token_id=None)[:, 4:]
    assert set(filled[0, ends_at[0] :].tolist()) == {end}


def test_without_an_end_token_it_never_stops(model):
    ids, _ = prompts(3)
    assert model.generate(ids, max_new_tokens=100, eos_token_id=None, seed=0).shape == (1, 103)
    assert torch.equal(model.generate(ids, max_new_tokens=0), ids)


def test_generation_goes_beyond_the_configured_length(model):
    torch.manual_seed(0)
    short = MiniMind(
        ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=50, max_position_embeddings=8)
    )
    assert short.generate(prompts(6)[0], max_new_tokens=10, eos_token_id=None, seed=0).shape == (1, 16)


def test_generation_in_bf16_runs(model):
    low = MiniMind(model.config).bfloat16()
    out = low.generate(prompts(4, 4)[0], max_new_tokens=8, seed=0, eos_token_id=None, top_p=0.9)
    assert out.shape == (2, 12)


def test_the_mode_is_restored_and_dropout_is_off():
    torch.manual_seed(0)
    noisy = MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=2, vocab_size=50, dropout=0.5))
    ids, _ = prompts(4)
    settings = {"max_new_tokens": 10, "temperature": 0, "eos_token_id": None}
    first = noisy.train().generate(ids, **settings)
    assert noisy.training
    assert torch.equal(first, noisy.eval().generate(ids, **settings))
    assert not noisy.training
    noisy.train()
    steps = noisy.stream(ids, **settings)
    next(steps)
    steps.close()  # left early
    assert noisy.training


def test_generated_ids_can_be_trained_on(model):
    ids = model.generate(prompts(4)[0], max_new_tokens=4, seed=0)
    model(ids, labels=ids).loss.backward()
    model.zero_grad()


@pytest.mark.parametrize("seed", range(3))
def test_filters_equal_hugging_face(seed):
    torch.manual_seed(seed)
    logits = torch.randn(4, 50) * 3
    for k in (1, 5, 49, 80):
        expected = hf.TopKLogitsWarper(k)(None, logits)
        assert torch.equal(sampling.keep_top_k(logits, k), expected)
    for p in (0.0, 0.3, 0.9, 0.999):
        expected = hf.TopPLogitsWarper(p)(None, logits)
        assert torch.equal(sampling.keep_top_p(logits, p), expected)
    for p in (0.01, 0.2, 1.0):
        expected = hf.MinPLogitsWarper(p)(None, logits)
        assert torch.equal(sampling.keep_min_p(logits, p), expected)
    ids = torch.randint(0, 50, (4, 6))
    seen = torch.zeros(4, 50, dtype=torch.bool).scatter_(1, ids, True)
    for penalty in (0.7, 1.3):
        expected = hf.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
        assert torch.equal(sampling.penalize_repetition(logits, seen, penalty), expected)


def test_choose_draws_from_the_filtered_distribution_in_hugging_faces_order():
    torch.manual_seed(0)
    logits = torch.randn(1, 20) * 2
    expected = logits
    for step in (
        hf.TemperatureLogitsWarper(0.7),
        hf.TopKLogitsWarper(12),
        hf.TopPLogitsWarper(0.9),
        hf.MinPLogitsWarper(0.1),
    ):
        expected = step(None, expected)
    settings = Sampling(temperature=0.7, top_k=12, top_p=0.9, min_p=0.1)
    drawn = sampling.choose(logits.expand(40_000, -1), settings, torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=20) / 40_000
    torch.testing.assert_close(shares, expected.softmax(-1)[0], atol=0.01, rtol=0)
    assert not shares[expected[0].isinf()].any()


def test_temperature_zero_is_greedy():
    logits = torch.randn(5, 20)
    assert torch.equal(sampling.choose(logits, Sampling(temperature=0, top_k=3)), logits.argmax(-1))


def test_settings_by_name_stand_in_place_of_those_of_the_sampling(model):
    ids, _ = prompts(4)
    both = model.generate(ids, sampling=Sampling(9, temperature=0), max_new_tokens=5, eos_token_id=None)
    assert torch.equal(both, model.generate(ids, max_new_tokens=5, temperature=0, eos_token_id=None))


def test_a_sampling_out_of_range_cannot_be_made():
    for wrong in ({"top_p": 2}, {"seed": -1}, {"seed": 2**63}, {"temperature": float("nan")}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Sampling(**wrong)
    with pytest.raises(FrozenInstanceError):
        Sampling().top_p = 2


def test_the_models_own_ids_end_and_fill_a_text(model, tmp_path):
    ids, _ = prompts(4, 4)
    free = model.generate(ids, max_new_tokens=16, temperature=0, eos_token_id=None)[:, 4:]
    end = int(free[0, 2])
    other = copy.deepcopy(model)
    other.generation_config = {"eos_token_id": [end, 48], "pad_token_id": 49, "temperature": 0.6}
    given = model.generate(ids, max_new_tokens=16, temperature=0, eos_token_id=[end, 48], pad_token_id=49)
    assert not torch.equal(given[:, 4:], free)
    assert torch.equal(other.generate(ids, max_new_tokens=16, temperature=0), given)
    other.save_pretrained(tmp_path)
    read = MiniMind.from_pretrained(tmp_path)
    assert read.generation_config == other.generation_config
    assert torch.equal(read.generate(ids, max_new_tokens=16, temperature=0), given)
    # A model that names no end writes on.
    read.generation_config = {}
    assert torch.equal(read.generate(ids, max_new_tokens=16, temperature=0)[:, 4:], free)


def test_a_model_from_nothing_has_the_ids_of_our_tokenizers(model):
    tokenizer = train_tokenizer(["low lower lowest"], vocab_size=262)
    assert model.generation_config == tokenizer.special_ids
    backwards = train_tokenizer(["low lower lowest"], vocab_size=262, special_tokens=SPECIAL_TOKENS[::-1])
    swapped = Tokenizer(backwards._backend, *SPECIAL_TOKENS)
    assert swapped.special_ids == {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 0}


def test_without_generation_config_the_ids_are_those_of_config_json(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    assert MiniMind.from_pretrained(tmp_path).generation_config == model.generation_config
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "bos_token_id": 7, "eos_token_id": 9}))
    assert MiniMind.from_pretrained(tmp_path).generation_config == {
        "bos_token_id": 7,
        "eos_token_id": 9,
        "pad_token_id": 0,
    }


def test_ids_that_no_file_names_are_the_tokenizers(model, tmp_path):
    """As in a folder of Hugging Face's, whose config.json says `"pad_token_id": null`."""
    backend = train_tokenizer(["low lower lowest"], 262, SPECIAL_TOKENS[::-1])._backend
    Tokenizer(backend, *SPECIAL_TOKENS).save(tmp_path)
    wide = MiniMind(replace(model.config, vocab_size=262))
    wide.generation_config = {"eos_token_id": [3, 5]}
    wide.save_pretrained(tmp_path)
    assert load(tmp_path)[0].generation_config == {
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": [3, 5],
    }
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    assert load(tmp_path)[0].generation_config == {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 0}


def test_the_command_stops_at_each_end_id_and_saving_keeps_them(model, tmp_path, capsys):
    tokenizer = train_tokenizer(["low lower lowest"], 262)
    torch.manual_seed(0)
    wide = MiniMind(replace(model.config, vocab_size=262, tie_word_embeddings=False))  # draws almost evenly
    start = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode("low")]])
    sampling = Sampling(8, temperature=1, seed=0)
    free = wide.generate(start, sampling=sampling, eos_token_id=None)[0, start.shape[1] :].tolist()
    end = free[4]
    assert not {261, end} & set(free[:4])
    wide.generation_config["eos_token_id"] = [261, end]
    wide.save_pretrained(tmp_path / "first")
    MiniMind.from_pretrained(tmp_path / "first").save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    for name in ("generation_config.json", "config.json"):
        assert json.loads((tmp_path / name).read_text())["eos_token_id"] == [261, end]
    command = ["generate", str(tmp_path), "--prompt", "low", "--temperature", "1", "--max-new-tokens", "8"]
    assert main([*command, "--device", "cpu"]) == 0
    shown = tokenizer.decode(free[:5], skip_special_tokens=True)
    assert capsys.readouterr().out == f"low{shown}\n"


@pytest.mark.parametrize("wrong", ["</s>", [], ["a"], -1, True, 2.0])
def test_an_end_that_is_no_id_is_refused(model, tmp_path, wrong):
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": wrong}))
    with pytest.raises(UserError, match=r"generation_config\.json: eos_token_id must be a token id, found"):
        MiniMind.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_a_damaged_generation_config_is_named(model, tmp_path, content):
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(UserError, match=r"generation_config\.json"):
        MiniMind.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, "the prompt is empty"),
        ({"input_ids": torch.tensor([1, 2])}, r"must be \(batch, length\)"),
        ({"attention_mask": torch.tensor([[1, 1, 0]])}, "padded on the left"),
        ({"attention_mask": torch.tensor([[1, 1]])}, "attention_mask must have shape"),
        ({"max_new_tokens": -1}, "max_new_tokens must be at least 0, got -1"),
        ({"temperature": -0.5}, "temperature must be at least 0, got -0.5"),
        ({"top_p": 1.5}, "top_p must be between 0 and 1, got 1.5"),
        ({"min_p": -1}, "min_p must be between"),
        ({"repetition_penalty": 0}, "repetition_penalty must be between 0.1 and 10"),
        ({"input_ids": torch.tensor([[1, 2, 77]])}, "input_ids has the id 77"),
    ],
)
def test_wrong_settings_are_named(model, arguments, message):
    arguments = {"input_ids": torch.tensor([[1, 2, 3]]), **arguments}
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


def test_a_full_cache_says_so(model):
    cache = KVCache(model.config, 1, 4)
    model(torch.tensor([[1, 2, 3]]), cache=cache)
    assert cache.length == 3
    with pytest.raises(ValueError, match="holds 4 tokens, 5 were given"):
        model(torch.tensor([[1, 2]]), cache=cache)


def test_a_tiny_temperature_is_greedy_and_no_nan(model):
    prompt = torch.tensor([[1, 5, 9]])
    greedy = model.generate(prompt, max_new_tokens=5, temperature=0, eos_token_id=None)
    assert torch.equal(model.generate(prompt, max_new_tokens=5, temperature=1e-40, eos_token_id=None), greedy)


def test_no_end_tokens_are_none(model):
    prompt = torch.tensor([[1, 5, 9]])
    given = {"max_new_tokens": 4, "temperature": 0}
    never = model.generate(prompt, eos_token_id=None, **given)
    assert torch.equal(model.generate(prompt, eos_token_id=[], pad_token_id=None, **given), never)
