"""`minimind merge`: adapters become part of their model, and a merge that changes nothing is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minimind import MiniMind, ModelConfig, load
from minimind.cli import main
from minimind.errors import UserError
from minimind.inference.merge import merge
from minimind.model import apply_lora, load_adapter, merge_lora, save_adapter
from minimind.model.lora import lora_layers
from minimind.settings import MergeSettings

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 1024}
SEED = {"settings": {"seed": 4}}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny model that nobody trained, with the tokenizer of the package's model."""
    folder = tmp_path_factory.mktemp("base") / "model"
    torch.manual_seed(0)
    MiniMind(ModelConfig(**SHAPE)).save_pretrained(folder)
    load("shipped/pretrain")[1].save(folder)
    (folder / "run.json").write_text(json.dumps(SEED))
    return folder


def make_adapter(folder: Path, base: Path, seed: int, width: float = 0.1) -> Path:
    """An adapter of some size, with matrices by chance."""
    torch.manual_seed(seed)
    model = MiniMind.from_pretrained(base)
    apply_lora(model, 2, 4)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.weight.normal_(0, width)
    save_adapter(model, folder, base)
    return folder


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return make_adapter(folder / "one", base, 1), make_adapter(folder / "two", base, 2)


def logits_of(model: MiniMind) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 200)[None]).logits


def test_a_merged_folder_is_the_adapted_model_and_a_plain_one(base, adapters, tmp_path, capsys):
    output = tmp_path / "merged"
    assert main(["merge", str(adapters[0]), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    change = float(re.search(r"the largest change of a logit is ([\d.e-]+)$", said)[1])
    expected, _ = load(base)
    plain = logits_of(expected)
    load_adapter(expected, adapters[0])
    merged, tokenizer = load(output)
    torch.testing.assert_close(logits_of(merged), logits_of(expected), atol=1e-5, rtol=0)
    assert change > 0.001
    assert change == pytest.approx(float((logits_of(merged) - plain).abs().max()), rel=1)
    assert tokenizer.vocab_size == 1024
    assert not (output / "adapter_config.json").exists()
    assert not [name for name in load_file(output / "model.safetensors") if "lora" in name]
    run = json.loads((output / "run.json").read_text())
    assert run == {**SEED, "merged": [str(adapters[0])]}
    assert not list(tmp_path.glob("*.part"))


def test_several_adapters_add_up_in_any_order(base, adapters, tmp_path):
    merge(MergeSettings(tuple(map(str, adapters)), output=str(tmp_path / "ab")))
    merge(MergeSettings(tuple(map(str, adapters[::-1])), output=str(tmp_path / "ba")))
    weights, ab, ba = (
        load_file(folder / "model.safetensors") for folder in (base, tmp_path / "ab", tmp_path / "ba")
    )
    for name, weight in weights.items():
        torch.testing.assert_close(ab[name], ba[name], atol=1e-6, rtol=0)
        expected = weight
        for adapter in adapters:
            model = MiniMind.from_pretrained(base)
            load_adapter(model, adapter)
            merge_lora(model)
            expected = expected + model.state_dict()[name] - weight
        torch.testing.assert_close(ab[name], expected, atol=1e-6, rtol=0)


def test_another_base_can_be_named(base, adapters, tmp_path):
    shutil.copytree(base, tmp_path / "moved")
    output = tmp_path / "merged"
    merge(MergeSettings((str(adapters[0]),), output=str(output), base=str(tmp_path / "moved")))
    assert (output / "model.safetensors").exists()


def refused(output: Path, words: str, *adapters: Path, base: Path | None = None) -> None:
    before = sorted(output.iterdir()) if output.is_dir() else None
    with pytest.raises(UserError, match=words) as caught:
        merge(MergeSettings(tuple(map(str, adapters)), str(output), str(base) if base else None))
    assert "\n" not in str(caught.value)
    assert (sorted(output.iterdir()) if output.is_dir() else None) == before
    assert not list(output.parent.glob("*.part"))


def test_a_merge_that_changes_nothing_is_refused(base, adapters, tmp_path):
    nothing = make_adapter(tmp_path / "nothing", base, 3, width=0.0)
    refused(tmp_path / "merged", "changes no logit of .*nothing was written", nothing)
    broken = tmp_path / "broken"
    shutil.copytree(adapters[0], broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file(
        {name: weight * float("nan") for name, weight in weights.items()},
        broken / "adapter_model.safetensors",
    )
    refused(tmp_path / "merged", "logits that are no numbers", broken)


def test_what_cannot_be_merged_is_a_line(base, adapters, tmp_path):
    refused(base, "is there already; choose another --output", adapters[0])
    refused(tmp_path / "merged", "name the adapter")
    refused(tmp_path / "merged", "holds no adapter, so there is nothing to merge", base)
    refused(tmp_path / "merged", "nowhere: no such run", Path("nowhere"))
    refused(tmp_path / "merged", "is an adapter itself", adapters[0], base=adapters[1])
    refused(tmp_path / "merged", r"layers.0.\S+ has shape", adapters[0], base=Path("shipped/pretrain"))
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "is there already", adapters[0])
    alone = tmp_path / "alone"
    shutil.copytree(adapters[0], alone)
    told = json.loads((alone / "adapter_config.json").read_text())
    (alone / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": ""}))
    refused(tmp_path / "merged", "the model that it was trained on is not there", alone)


def test_the_command_without_an_adapter_says_what_is_missing(capsys):
    assert main(["merge"]) == 2
    assert "adapter" in capsys.readouterr().err
