"""Logits and gradients are those of Hugging Face's Llama and Qwen3, weights carried over by files alone."""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from minimind import ModelConfig
from minimind.model import MiniMind
from minimind.model.fast import speed_up

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 97, "max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
SHAPES = {
    "one key head per query head": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "groups of 2": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "groups of 4": {"num_attention_heads": 4, "num_key_value_heads": 1},
    "narrow heads": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
    "wide heads": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 48},
    "untied": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "odd feed-forward width": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 50},
    "other theta and eps": {"num_attention_heads": 4, "rope_theta": 1e4, "rms_norm_eps": 1e-2},
    "YaRN": {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 1e4, "rope_scaling": YARN},
    "YaRN, factor 16": {"num_attention_heads": 4, "rope_scaling": {**YARN, "factor": 16.0}},
    "YaRN, factor 1.5": {"num_attention_heads": 2, "rope_scaling": {**YARN, "factor": 1.5}},
    "YaRN, attention_factor": {"num_attention_heads": 4, "rope_scaling": {**YARN, "attention_factor": 1.7}},
    "YaRN, betas": {
        "num_attention_heads": 2,
        "rope_theta": 1e2,
        "rope_scaling": {**YARN, "beta_fast": 8.0, "beta_slow": 2.0},
    },
}  # fmt: skip


def random_model(qk_norm: bool, **shape) -> MiniMind:
    """A model in which every weight matters: norms away from 1, matrices wide enough for sharp attention."""
    torch.manual_seed(3)
    model = MiniMind(ModelConfig(**{**TINY, **shape}, qk_norm=qk_norm))
    del model.generation_config["pad_token_id"]  # Hugging Face gives the embedding of padding no gradient.
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(1.0, 0.3) if weight.dim() == 1 else weight.normal_(0.0, 0.1)
    return model.eval()


def hugging_face(folder) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def pair(tmp_path, qk_norm: bool, **shape) -> tuple[MiniMind, torch.nn.Module]:
    ours = random_model(qk_norm, **shape)
    ours.save_pretrained(tmp_path)
    theirs = hugging_face(tmp_path)
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if qk_norm else "LlamaForCausalLM")
    return ours, theirs


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in model.named_parameters()}


def assert_same_gradients(ours, theirs, tolerance=1e-5):
    mine, other = gradients(ours), gradients(theirs)
    assert mine.keys() == other.keys()
    for name in mine:
        torch.testing.assert_close(
            mine[name], other[name], atol=tolerance, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("qk_norm", [False, True], ids=["llama", "qwen3"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_logits_loss_and_gradients_equal_hugging_face(tmp_path, shape, qk_norm):
    ours, theirs = pair(tmp_path, qk_norm, **shape)
    ids = torch.randint(0, 97, (3, 48))
    labels = ids.clone()
    labels[0, 5:9] = -100
    out, reference = ours(ids, labels=labels), theirs(ids, labels=labels)
    torch.testing.assert_close(out.logits, reference.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.loss, reference.loss, atol=1e-5, rtol=0)
    out.loss.backward()
    reference.loss.backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("path", ["sdpa", "manual"])
def test_left_padded_rows_equal_hugging_face(tmp_path, path):
    ours, theirs = pair(tmp_path, True, num_attention_heads=4, num_key_value_heads=2)
    speed_up(ours, path)
    ids = torch.randint(0, 97, (3, 20))
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    mask[1, :1] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    seen = mask.bool()
    labels = ids.masked_fill(~seen, -100)
    out = ours(ids, labels=labels, attention_mask=mask)
    # Hugging Face also counts how well a padding token foresees the first real one; we do not.
    first = seen & ~torch.nn.functional.pad(seen, (1, 0))[:, :-1]
    first[2, 0] = False
    reference = theirs(
        ids, labels=labels.masked_fill(first, -100), attention_mask=mask, position_ids=positions
    )
    torch.testing.assert_close(out.logits[seen], reference.logits[seen], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.loss, reference.loss, atol=1e-5, rtol=0)
    out.loss.backward()
    reference.loss.backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("path", ["sdpa", "manual"])
def test_packed_documents_equal_the_same_documents_alone(tmp_path, path):
    ours, theirs = pair(tmp_path, True, num_attention_heads=4, num_key_value_heads=2)
    speed_up(ours, path)
    lengths = [[9, 1, 14, 6], [20, 8]]  # the second row ends in two tokens of padding
    ids = torch.randint(0, 97, (2, 30))
    document_ids = document_ids_of(lengths)
    packed = ours(ids, document_ids=document_ids).logits
    total, count = 0.0, 0
    for row, parts in enumerate(lengths):
        start = 0
        for length in parts:
            alone = theirs(ids[row : row + 1, start : start + length]).logits[0]
            logits = packed[row, start : start + length]
            torch.testing.assert_close(logits, alone, atol=1e-5, rtol=0)
            total = total + torch.nn.functional.cross_entropy(
                alone[:-1], ids[row, start + 1 : start + length], reduction="sum"
            )
            count += length - 1
            start += length
    out = ours(ids, labels=ids, document_ids=document_ids)
    assert int(out.label_count) == count
    torch.testing.assert_close(out.loss_sum, total, atol=1e-4, rtol=1e-6)
    out.loss.backward()
    (total / count).backward()
    assert_same_gradients(ours, theirs)


def document_ids_of(lengths, row_length=30) -> torch.Tensor:
    rows = []
    for parts in lengths:
        row = [number for number, length in enumerate(parts) for _ in range(length)]
        rows.append(row + [-1] * (row_length - len(row)))
    return torch.tensor(rows)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_hugging_face_model_loads_and_gives_the_same_logits(tmp_path, kind, tied):
    torch.manual_seed(5)
    config = (LlamaConfig if kind == "llama" else Qwen3Config)(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=96, vocab_size=97, max_position_embeddings=64, tie_word_embeddings=tied,
    )  # fmt: skip
    theirs = AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = MiniMind.from_pretrained(tmp_path)
    ids = torch.randint(0, 97, (2, 20))
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)
    assert set(ours.state_dict()) == set(theirs.state_dict())


def test_our_folder_comes_back_bit_for_bit(tmp_path):
    ours = random_model(True, num_attention_heads=4, rope_scaling=YARN)
    ours.save_pretrained(tmp_path)
    again = MiniMind.from_pretrained(tmp_path)
    assert again.config == ours.config
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_the_roadmap_size_equals_hugging_face(tmp_path):
    torch.manual_seed(0)
    ours = MiniMind(ModelConfig.preset("small")).eval()
    ours.save_pretrained(tmp_path)
    ids = torch.randint(0, 6400, (1, 64))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, hugging_face(tmp_path)(ids).logits, atol=1e-4, rtol=0)


def test_tied_weights_are_in_the_state_dict_but_not_in_the_file(tmp_path):
    from safetensors import safe_open

    ours = random_model(True)
    ours.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    assert "lm_head.weight" in ours.state_dict()
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 2


@pytest.mark.parametrize("pad", [0, 2])
def test_transformers_has_the_ids_and_trains_the_end_even_where_it_is_the_padding_too(tmp_path, pad):
    ours = random_model(True)
    ours.generation_config = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": pad}
    ours.save_pretrained(tmp_path)
    theirs = hugging_face(tmp_path)
    assert (theirs.config.bos_token_id, theirs.config.eos_token_id) == (1, 2)
    assert theirs.generation_config.pad_token_id == pad
    assert theirs.model.embed_tokens.padding_idx == (0 if pad == 0 else None)
    ids = torch.tensor([[1, 5, 2, 7, 2]])
    for model in (ours, theirs):
        model(ids, labels=ids).loss.backward()
    assert_same_gradients(ours, theirs)
