"""A config that does not fit together says so in one line, with the numbers that were found."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from minimind import ModelConfig
from minimind.config import PRESETS
from minimind.errors import UserError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": "abc"}, "hidden_size must be a whole number, got 'abc'"),
        ({"hidden_size": 32.5}, "hidden_size must be a whole number, got 32.5"),
        (
            {"hidden_size": 40, "num_attention_heads": 8},
            "head_dim must be even for RoPE, got 5 (hidden_size 40 / 8 heads)",
        ),
        ({"hidden_size": 64, "num_attention_heads": 6}, "num_attention_heads must divide hidden_size"),
        (
            {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 3},
            "must divide num_attention_heads",
        ),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, got 0"),
        ({"rope_scaling": "yarn"}, "rope_scaling must be a dictionary"),
        ({"rope_scaling": {"type": "yarn", "factor": "2"}}, "factor must be a positive number, got '2'"),
        ({"rope_scaling": {"type": "yarn"}}, "factor must be at least 1"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_type must be 'yarn'"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 0}},
            "original_max_position_embeddings must be a positive number",
        ),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    with pytest.raises(UserError) as caught:
        ModelConfig(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_the_way_through_config_json(name, tmp_path):
    config = ModelConfig.preset(name)
    config.save(tmp_path)
    assert ModelConfig.load(tmp_path) == config


def test_a_damaged_config_json_is_one_line_with_its_path(tmp_path):
    ModelConfig.preset("nano").save(tmp_path)
    path = tmp_path / "config.json"
    data = json.loads(path.read_text())
    for damage in ({"hidden_size": "abc"}, {"rope_scaling": "x"}, {"model_type": "mamba"}):
        path.write_text(json.dumps(data | damage))
        with pytest.raises(UserError) as caught:
            ModelConfig.load(tmp_path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_negative_eps_is_refused():
    with pytest.raises(UserError, match="rms_norm_eps must be at least 0"):
        ModelConfig(rms_norm_eps=-1)


def test_a_llama_that_transformers_would_refuse_is_refused():
    with pytest.raises(UserError, match="heads must divide hidden_size"):
        ModelConfig(hidden_size=30, num_attention_heads=4, head_dim=8, qk_norm=False)
    assert ModelConfig(hidden_size=30, num_attention_heads=4, head_dim=8).head_dim == 8


def test_a_config_is_complete_once_made():
    config = ModelConfig(hidden_size=512, num_attention_heads=None, head_dim=None)
    assert (config.num_attention_heads, config.num_key_value_heads) == (8, 2)
    assert (config.head_dim, config.intermediate_size) == (64, 1408)


def test_a_config_stays_as_it_was_made():
    config = ModelConfig.preset("nano")
    with pytest.raises(FrozenInstanceError):
        config.vocab_size = 7
    other = replace(config, vocab_size=7)
    assert (other.vocab_size, config.vocab_size) == (7, 1024)


def test_yarn_without_a_trained_length_takes_the_length_of_the_config():
    given = {"type": "yarn", "factor": 2.0, "beta_fast": None}
    config = ModelConfig(max_position_embeddings=96, rope_scaling=given)
    assert config.rope_scaling == {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 96,
    }
    assert given == {"type": "yarn", "factor": 2.0, "beta_fast": None}  # the caller's dict is left alone
    trained = ModelConfig(rope_scaling={**given, "original_max_position_embeddings": 32})
    assert trained.rope_scaling["original_max_position_embeddings"] == 32
