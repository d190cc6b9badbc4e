"""LoRA: what it adds, what learns, merging and taking back; and its files are those of PEFT, both ways."""

import copy
import json
import math
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from minimind import MiniMind, ModelConfig
from minimind.errors import UserError
from minimind.model import (
    LoRALinear,
    apply_lora,
    load_adapter,
    merge_lora,
    remove_lora,
    save_adapter,
    unmerge_lora,
)
from minimind.model.adapters import CONFIG, WEIGHTS, AdapterConfig, read_adapter_config
from minimind.model.fast import speed_up
from minimind.model.fast.step import can_step
from minimind.model.generate import generate_uncached
from minimind.model.lora import lora_layers
from minimind.sampling import Sampling
from minimind.training.optimizer import Optimizer, split_parameters

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.tensor([[1, 5, 9, 44, 2, 7], [3, 3, 8, 20, 61, 0]])


def make(**shape) -> MiniMind:
    """A model in which every weight matters."""
    torch.manual_seed(3)
    values = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 97, "num_attention_heads": 4}
    model = MiniMind(ModelConfig(**{**values, "num_key_value_heads": 2, **shape}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(1.0, 0.3) if weight.dim() == 1 else weight.normal_(0.0, 0.1)
    return model.eval()


def fill(model, seed=0) -> None:
    """Let the adapters say something, as if they had learned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.weight.normal_(0.0, 0.2, generator=generator)


def adapted(seed=0, shape=None, **settings) -> MiniMind:
    model = make(**(shape or {}))
    apply_lora(model, **({"rank": 4, "alpha": 8} | settings))
    fill(model, seed)
    return model


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(IDS).logits


def weights(model) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_same_weights(one, other) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_moved(one, other) -> None:
    """Far more than any tolerance in this file."""
    assert (one - other).abs().max() > 0.01


# What an adapter is


def test_a_layer_adds_the_scaled_product_of_two_small_matrices():
    torch.manual_seed(0)
    base, x = nn.Linear(16, 12), torch.randn(2, 5, 16)
    for stabilized, scale in ((False, 6 / 4), (True, 6 / math.sqrt(4))):
        layer = LoRALinear(base, rank=4, alpha=6, rank_stabilized=stabilized)
        nn.init.normal_(layer.lora_B.weight)
        A, B = layer.lora_A.weight, layer.lora_B.weight
        assert (A.shape, B.shape) == ((4, 16), (12, 4))
        torch.testing.assert_close(layer(x), base(x) + scale * (x @ A.T) @ B.T)
        assert layer.weight is base.weight


def test_a_starts_as_in_peft_and_b_at_zero():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 300), rank=50, alpha=1)
    theirs = get_peft_model(nn.Sequential(nn.Linear(400, 300)), LoraConfig(r=50, target_modules=["0"]))
    bound = 1 / math.sqrt(400)
    for A in (layer.lora_A.weight, theirs.base_model.model[0].lora_A["default"].weight):
        assert 0.99 * bound < A.abs().max() <= bound  # uniform
        assert A.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not layer.lora_B.weight.any()


def test_new_adapters_change_nothing_and_they_alone_learn():
    model = make()
    before, names = logits(model), set(model.state_dict())
    count = model.num_parameters()
    apply_lora(model, rank=4, alpha=8)
    assert torch.equal(logits(model), before)
    new = {f"model.layers.{i}.{part}" for i in range(2) for part in parts_of_a_block(model)}
    assert set(lora_layers(model)) == new
    learn = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learn == {f"{name}.lora_{matrix}.weight" for name in new for matrix in "AB"}
    assert set(model.state_dict()) == names | learn
    added = sum(4 * (layer.in_features + layer.out_features) for layer in lora_layers(model).values())
    assert model.num_parameters(only_trainable=True) == added
    assert model.num_parameters() == count + added


def parts_of_a_block(model) -> set[str]:
    block = model.model.layers[0]
    return {name for name, module in block.named_modules() if name.rpartition(".")[2] in LINEARS}


def test_the_ends_of_names_choose_the_layers():
    model = adapted(target_modules=["q_proj", "1.mlp.down_proj"])
    assert set(lora_layers(model)) == {
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.down_proj",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 33}, "rank in a 32 x 64 matrix must be 1 to 32, got 33"),  # k_proj; q_proj could have it
        ({"rank": 0}, "must be 1 to 64, got 0"),
        ({"alpha": 0}, "alpha must be above 0, got 0"),
        ({"alpha": math.nan}, "alpha must be above 0, got nan"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": -0.1}, "got -0.1"),
        (
            {"target_modules": ["q_proj", "proj"]},
            "'proj' is no linear layer of the model; there are down_proj, ",
        ),
        ({"target_modules": ["lm_head"]}, "'lm_head' is no linear layer"),
        ({"target_modules": ["embed_tokens"]}, "'embed_tokens' is no linear layer"),
        ({"target_modules": []}, "at least one linear layer"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_the_model_as_it_was(settings, message):
    model = make()
    before = weights(model)
    with pytest.raises(UserError, match=message) as error:
        apply_lora(model, **({"rank": 4, "alpha": 8} | settings))
    assert "\n" not in str(error.value)
    assert_same_weights(weights(model), before)
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_second_adapter_has_to_wait_for_the_first():
    model = adapted()
    before = weights(model)
    with pytest.raises(UserError, match="adapters already: merge_lora or remove_lora comes first"):
        apply_lora(model, rank=2, alpha=2)
    assert_same_weights(weights(model), before)


# How it learns


def backward(model) -> None:
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()


def test_at_the_first_step_only_b_learns_from_the_second_on_both():
    model = make()
    apply_lora(model, rank=4, alpha=8)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
    backward(model)
    for layer in lora_layers(model).values():
        assert not layer.lora_A.weight.grad.any()
        assert layer.lora_B.weight.grad.any()
    optimizer.step()
    backward(model)
    for layer in lora_layers(model).values():
        assert layer.lora_A.weight.grad.any()
        assert layer.lora_B.weight.grad.any()


def test_both_are_matrices_to_the_optimizer_and_what_is_frozen_stays_to_the_bit():
    model = make()
    before = weights(model)
    apply_lora(model, rank=4, alpha=8)
    matrices, others = split_parameters(model)
    assert {id(weight) for weight in matrices} == {
        id(weight)
        for layer in lora_layers(model).values()
        for weight in (layer.lora_A.weight, layer.lora_B.weight)
    }
    assert not others
    optimizer, losses = Optimizer(model, "adamw", 1e-2, 1e-2, weight_decay=0.1), []
    for _ in range(8):
        backward(model)
        losses.append(model(IDS, labels=IDS).loss.item())
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5
    assert_same_weights({name: model.state_dict()[name] for name in before}, before)


def test_dropout_is_for_training_alone_and_a_model_that_writes_gets_none():
    model, plain = adapted(dropout=0.5), adapted()
    torch.testing.assert_close(logits(model), logits(plain))
    model.train()
    assert_moved(logits(model), logits(plain))
    assert torch.equal(model.eval()(IDS).logits, model(IDS).logits)


# With everything that is there


@pytest.mark.parametrize("path", ["sdpa", "manual"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fast_model_gives_the_same_with_adapters(path, when):
    model = make()
    if when == "before":
        speed_up(model, path)
    apply_lora(model, rank=4, alpha=8)
    fill(model)
    if when == "after":
        speed_up(model, path)
    torch.testing.assert_close(logits(model), logits(adapted()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("targets", [None, ["v_proj"], ["up_proj"], ["down_proj", "o_proj"]])
def test_it_writes_what_the_plain_forward_writes(targets):
    model = adapted(target_modules=targets)
    assert can_step(model)
    written = model.generate(IDS, max_new_tokens=12, temperature=0, eos_token_id=None)
    assert torch.equal(written, generate_uncached(model, IDS, Sampling(max_new_tokens=12, temperature=0)))
    base = make().generate(IDS, max_new_tokens=12, temperature=0, eos_token_id=None)
    assert not torch.equal(written, base)


def test_under_bf16_autocast_and_in_bf16_it_differs_by_rounding():
    model = adapted()
    exact, base = logits(model), logits(make())
    with torch.autocast("cpu", torch.bfloat16):
        found = logits(model)
        loss = model(IDS, labels=IDS).loss
    loss.backward()
    assert all(layer.lora_A.weight.grad.isfinite().all() for layer in lora_layers(model).values())
    half = make().bfloat16()
    apply_lora(half, rank=4, alpha=8)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    model.bfloat16()
    for low in (found, logits(model)):
        assert (low - exact).norm() < 0.05 * (base - exact).norm()


# Merging


@pytest.mark.parametrize("stabilized", [False, True])
def test_a_merged_model_gives_the_same_logits_and_is_plain(stabilized):
    model = adapted(rank_stabilized=stabilized)
    before = logits(model)
    assert_moved(before, logits(make()))
    merge_lora(model)
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == make().state_dict().keys()
    assert {type(module) for module in model.modules()} == {type(module) for module in make().modules()}
    assert all(weight.requires_grad for weight in model.parameters())


def test_unmerging_gives_the_weights_back_to_the_bit():
    model = adapted()
    before, expected = weights(model), logits(model)
    for _ in range(3):
        merge_lora(model)
        unmerge_lora(model)
    assert_same_weights(weights(model), before)
    assert torch.equal(logits(model), expected)
    learn = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learn == {name for name in before if ".lora_" in name}
    remove_lora(model)
    assert_same_weights(weights(model), weights(make()))
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_merged_model_is_saved_as_a_plain_folder_and_one_with_adapters_is_not(tmp_path):
    model = adapted()
    expected = logits(model)
    with pytest.raises(UserError, match="merge them"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    merge_lora(model)
    model.save_pretrained(tmp_path)
    for read in (MiniMind.from_pretrained(tmp_path), hugging_face(tmp_path)):
        torch.testing.assert_close(logits(read), expected, atol=1e-5, rtol=1e-5)


def test_a_model_that_has_moved_since_the_merge_takes_its_layers_along():
    model = adapted(dropout=0.1)
    merge_lora(model)
    model.bfloat16().train()
    unmerge_lora(model)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert all(module.training for module in model.modules())


def test_what_cannot_be_merged_or_taken_back_is_said():
    model = make()
    with pytest.raises(UserError, match="nothing to merge"):
        merge_lora(model)
    with pytest.raises(UserError, match="nothing to unmerge"):
        unmerge_lora(model)
    apply_lora(model, rank=4, alpha=8)
    merge_lora(model)
    apply_lora(model, rank=4, alpha=8)
    with pytest.raises(UserError, match="newer adapters"):
        unmerge_lora(model)
    remove_lora(model)
    unmerge_lora(model)
    assert lora_layers(model)


def test_a_copy_of_a_merged_model_is_taken_back_alone():
    model = adapted()
    merge_lora(model)
    other = copy.deepcopy(model)
    unmerge_lora(other)
    assert lora_layers(other)
    assert not lora_layers(model)
    unmerge_lora(model)
    assert_same_weights(weights(model), weights(other))


# Files


def hugging_face(folder) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make().save_pretrained(folder)
    return folder


def peft_writes(base, folder, seed=0, **settings) -> torch.Tensor:
    """Let PEFT adapt transformers' model and save it; gives the logits."""
    torch.manual_seed(seed)
    values = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    model = get_peft_model(hugging_face(base), LoraConfig(**(values | settings))).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    return logits(model)


@pytest.mark.parametrize("stabilized", [False, True])
@pytest.mark.parametrize("targets", [None, ["q_proj", "v_proj"], ["0.self_attn.q_proj", "up_proj"]])
def test_peft_reads_ours(base, tmp_path, targets, stabilized, recwarn):
    model = adapted(target_modules=targets, rank_stabilized=stabilized, alpha=6.5, dropout=0.25)
    save_adapter(model, tmp_path, base=base)
    theirs = PeftModel.from_pretrained(hugging_face(base), tmp_path).eval()
    torch.testing.assert_close(logits(theirs), logits(model), atol=1e-5, rtol=1e-5)
    assert_moved(logits(model), logits(make()))
    assert not [warning for warning in recwarn if "adapter" in str(warning.message)]
    config = theirs.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 6.5, 0.25)
    assert config.base_model_name_or_path == str(base)
    if targets == ["q_proj", "v_proj"]:
        assert json.loads((tmp_path / CONFIG).read_text())["target_modules"] == targets


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "r": 8, "lora_dropout": 0.3},
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": r".*\.1\.mlp\..*_proj"},
        {"target_modules": ["k_proj"], "layers_to_transform": [1]},
        {
            "exclude_modules": ["o_proj"],
            "target_modules": ["k_proj", "o_proj"],
            "init_lora_weights": "gaussian",
        },
    ],
    ids=str,
)
def test_we_read_what_peft_wrote(base, tmp_path, settings):
    expected = peft_writes(base, tmp_path, **settings)
    model = MiniMind.from_pretrained(base)
    config = load_adapter(model, tmp_path)
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=1e-5)
    assert_moved(expected, logits(make()))
    assert config == read_adapter_config(tmp_path)
    rank, dropout = settings.get("r", 4), settings.get("lora_dropout", 0.0)
    assert config == AdapterConfig(rank, 8, dropout, settings.get("use_rslora", False), str(base))


def test_ours_come_back_to_the_bit_and_learn_on(tmp_path):
    model = adapted(rank_stabilized=True, dropout=0.1)
    save_adapter(model, tmp_path)
    read = make()
    assert load_adapter(read, tmp_path) == AdapterConfig(4, 8, 0.1, True, "")
    assert_same_weights(weights(read), weights(model))
    assert torch.equal(logits(read), logits(model))  # no dropout: the model was about to write
    assert read.num_parameters(only_trainable=True) == model.num_parameters(only_trainable=True)


def test_adapters_are_exchanged_and_added_as_in_peft(base, tmp_path):
    alone = {}
    for seed, name in enumerate(("one", "two")):
        targets = {"target_modules": ["q_proj"]} if name == "two" else {}
        alone[name] = peft_writes(base, tmp_path / name, seed, **targets)
    theirs = PeftModel.from_pretrained(hugging_face(base), tmp_path / "one", adapter_name="one").eval()
    theirs.load_adapter(tmp_path / "two", "two")
    theirs.base_model.set_adapter(["one", "two"])
    model = make()
    load_adapter(model, tmp_path / "one")
    with pytest.raises(UserError, match="two: the model has adapters already"):
        load_adapter(model, tmp_path / "two")
    remove_lora(model)
    load_adapter(model, tmp_path / "two")
    torch.testing.assert_close(logits(model), alone["two"], atol=1e-5, rtol=1e-5)
    merge_lora(model)
    load_adapter(model, tmp_path / "one")
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)
    merge_lora(model)
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)
    unmerge_lora(model)
    remove_lora(model)
    torch.testing.assert_close(logits(model), alone["two"], atol=1e-5, rtol=1e-5)
    unmerge_lora(model)
    remove_lora(model)
    assert_same_weights(weights(model), weights(make()))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"hidden_size": 32},
            r"lora_A of model.layers.0.mlp.down_proj has shape \(4, 192\), but this model and rank 4",
        ),
        ({"num_hidden_layers": 1}, "made for another model; here no linear layer model.layers.1"),
        ({"num_hidden_layers": 3}, "not whole; adapter_config.json names model.layers.2"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tmp_path, shape, message):
    save_adapter(adapted(), tmp_path)
    refused(tmp_path, message, make(**shape))


def refused(folder, message, model=None) -> None:
    model = model or make()
    before = weights(model)
    with pytest.raises(UserError, match=message) as error:
        load_adapter(model, folder)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(folder))
    assert_same_weights(weights(model), before)
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'; only LORA"),
        ({"bias": "all"}, "bias is 'all'; only plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"use_dora": True}, "use_dora is True"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern is"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"a_setting_of_tomorrow": 3}, "a_setting_of_tomorrow is 3"),
        ({"r": 5}, "but this model and rank 5 need"),
        ({"r": None}, "r cannot be None"),
        ({"r": True}, "r cannot be True"),
        ({"lora_alpha": "8"}, "lora_alpha cannot be '8'"),
        ({"lora_alpha": -8}, "alpha must be above 0, got -8"),
        ({"lora_dropout": 1.5}, "dropout must be at least 0 and below 1, got 1.5"),
    ],
    ids=str,
)
def test_other_adapters_and_odd_settings_are_refused(tmp_path, setting, message):
    save_adapter(adapted(), tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text()) | setting
    (tmp_path / CONFIG).write_text(json.dumps(settings))
    refused(tmp_path, message)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"lora_bias": True}], ids=str
)
def test_what_peft_writes_of_other_kinds_is_refused(base, tmp_path, settings):
    peft_writes(base, tmp_path, target_modules=["q_proj"], **settings)
    refused(tmp_path, f"{next(iter(settings))} is")


def damage(change):
    def on(folder):
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return on


Q = "base_model.model.model.layers.0.self_attn.q_proj"


DAMAGE = {
    "no settings": (
        lambda folder: (folder / CONFIG).unlink(),
        "adapter_config.json: not found; an adapter's",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model.safetensors: not found; an"),
    "half settings": (lambda folder: (folder / CONFIG).write_text("{"), "damaged or not JSON"),
    "a list": (lambda folder: (folder / CONFIG).write_text("[]"), "must hold one JSON object, found list"),
    "nothing set": (lambda folder: (folder / CONFIG).write_text("{}"), "peft_type is None"),
    "zeros": (lambda folder: (folder / WEIGHTS).write_bytes(bytes(99)), "damaged or not a safetensors file"),
    "cut off": (lambda folder: os.truncate(folder / WEIGHTS, 5000), "damaged or not a safetensors file"),
    "no tensors": (damage(lambda tensors: tensors.clear()), "holds no weights"),
    "no B": (damage(lambda tensors: tensors.pop(f"{Q}.lora_B.weight")), "0.self_attn.q_proj has no lora_B"),
    "no pair": (
        damage(lambda tensors: [tensors.pop(f"{Q}.lora_{matrix}.weight") for matrix in "AB"]),
        "not whole; adapter_config.json names model.layers.0.self_attn.q_proj",
    ),
    "a bias": (
        damage(lambda tensors: tensors.update({f"{Q}.bias": torch.ones(2)})),
        "q_proj.bias is not a matrix A or B",
    ),
    "a head": (
        damage(lambda tensors: tensors.update({"base_model.model.lm_head.lora_A.weight": torch.ones(4, 64)})),
        "here no linear layer lm_head can have an adapter",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_adapter_is_refused(tmp_path, break_it, message):
    save_adapter(adapted(), tmp_path)
    break_it(tmp_path)
    refused(tmp_path, message)


def test_what_is_no_adapter_cannot_be_saved(tmp_path):
    with pytest.raises(UserError, match="no adapter to save"):
        save_adapter(make(), tmp_path / "new")
    model = adapted(target_modules=["q_proj"])
    linear = model.model.layers[0].self_attn.k_proj
    model.model.layers[0].self_attn.k_proj = LoRALinear(linear, rank=2, alpha=8)
    with pytest.raises(ValueError, match=r"one rank, alpha and dropout, got \[\(2, 8"):
        save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot write the adapter"):
        save_adapter(adapted(), tmp_path / "file")
