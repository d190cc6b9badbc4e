"""Mistakes of the user: one line that says what to do, exit status 2, nothing lost, no traceback."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import arguments, tiny_settings, write_texts

from minimind.cli import main
from minimind.training import limits, pretrain


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    pretrain(tiny_settings(folder))
    return folder / "run"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "good.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "blank.jsonl").write_text("\n\n")
    (tmp_path / "broken.jsonl").write_text('{"text": "fine"}\n{"text": "cut o\n')
    (tmp_path / "field.jsonl").write_text('{"txt": "wrong field"}\n')
    (tmp_path / "number.jsonl").write_text('{"text": 7}\n')
    (tmp_path / "one.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "a_file").write_text("not a folder")
    (tmp_path / "tokenizer_half").mkdir()
    (tmp_path / "tokenizer_half" / "tokenizer.json").write_text("{")
    (tmp_path / "run_half").mkdir()
    (tmp_path / "run_half" / "config.json").write_text("{}")
    (tmp_path / "run_cut").mkdir()
    (tmp_path / "run_cut" / "run.json").write_text('{"status": "unf')
    return tmp_path


def fails(capsys, words: str, *given: str) -> str:
    """The command leaves with 2 and one line that has these words."""
    capsys.readouterr()
    status = main(list(given))
    said = capsys.readouterr()
    assert status == 2, said.out
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err + said.out
    assert words in said.err
    return said.err


BAD_DATA = [
    ("missing.jsonl", "missing.jsonl: no such file"),
    ("missing*.jsonl", "no file matches"),
    ("empty.jsonl", "empty.jsonl: the file is empty"),
    ("blank.jsonl", "no rows"),
    ("broken.jsonl", "broken.jsonl:2: broken JSON"),
    ("field.jsonl", "field.jsonl:1: the field 'text' is missing; found 'txt'"),
    ("number.jsonl", "number.jsonl:1: 'text' must be a string"),
    ("a_file", "a_file"),
]


@pytest.mark.parametrize(("name", "words"), BAD_DATA)
def test_bad_data(here, capsys, finished_run, name, words):
    fails(capsys, words, "pretrain", "--data-path", name, "--output", "out")
    assert not (here / "out" / "run.json").exists()
    fails(capsys, words, "tokenizer", "train", "--data-path", name, "--output", "out")
    fails(capsys, words, "evaluate", str(finished_run), "--data-path", name)


def test_a_text_of_one_token(here, capsys, finished_run):
    fails(capsys, "at least two", "pretrain", "--data-path", "one.jsonl")
    fails(capsys, "larger than the data allows", "tokenizer", "train", "--data-path", "one.jsonl")
    assert main(["evaluate", str(finished_run), "--data-path", "one.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 2  # the letter and the end
    assert main(["generate", str(finished_run), "--prompt", "a", "--max-new-tokens", "1"]) == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--vocab-size", "9000"], "vocab_size 9000 is larger than the data allows"),
        (["--vocab-size", "100"], "vocab_size must be at least 259"),
        (["--hidden-size", "40", "--num-attention-heads", "8"], "head_dim must be even for RoPE, got 5"),
        (["--head-dim", "7"], "head_dim must be even"),
        (
            ["--hidden-size", "100", "--num-attention-heads", "3"],
            "num_attention_heads must divide hidden_size",
        ),
        (["--num-attention-heads", "4", "--num-key-value-heads", "3"], "num_key_value_heads must divide"),
        (["--preset", "huge"], "no preset named 'huge'"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
        (["--batch-size", "-3"], "batch_size must be at least 1"),
        (["--accumulation-steps", "0"], "accumulation_steps must be at least 1"),
        (["--max-seq-len", "1"], "max_seq_len must be at least 2"),
        (["--dropout", "1.5"], "dropout must be"),
        (["--num-hidden-layers", "0"], "num_hidden_layers must be at least 1"),
        (["--learning-rate", "-1"], "learning_rate must be above 0"),
        (["--clip-norm", "0"], "clip_norm must be above 0"),
        (["--warmup", "2"], "warmup must be between 0 and 1"),
        (["--validation-share", "1"], "validation_share must be above 0 and below 1"),
        (["--max-seconds", "-1"], "max_seconds must be at least 0"),
        (["--checkpoint-seconds", "-1"], "checkpoint_seconds must be at least 0"),
        (["--max-seq-len", "1000000000"], "needs a mask of"),
        (["--max-seq-len", "131072"], "needs a mask of 137,438,953,472 entries"),
        (["--batch-size", "99999999999999999999"], "--batch-size must be at most 1,000,000,000"),
        (["--accumulation-steps", "99999999999999999999"], "--accumulation-steps must be at most"),
        (["--hidden-size", "99999999999999999998"], "--hidden-size must be at most"),
        (["--hidden-size", "999999998"], "hidden_size must be at most 131,072"),
        (["--num-hidden-layers", "99999999"], "num_hidden_layers must be at most 1,000"),
        (["--head-dim", "0"], "head_dim must be at least 1"),
        (["--vocab-size", "1" + "0" * 23], "--vocab-size must be at most"),
        (["--vocab-size", "100000000"], "vocab_size must be at most 4,194,304"),
        (["--validation-documents", "1" + "0" * 30], "--validation-documents must be at most"),
        (["--learning-rate", "1e38"], "learning_rate must be above 0 and at most 1000"),
        (["--learning-rate", "nan"], "learning_rate must be above 0"),
        (["--device", "cpu:x"], "device 'cpu:x' is not available here"),
        (["--device", "cpu:7"], "device 'cpu:7' is not available here"),
        (["--preset", "nanoo", "--hidden-size", "32"], "no preset named 'nanoo'"),
        (["--device", "abacus"], "no device named 'abacus'"),
        (["--tokenizer", "missing"], "missing"),
        (["--tokenizer", "tokenizer_half"], "tokenizer_half"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--output", "a_file"], "a file stands where"),
        (["--output", "a_file/run"], "a_file"),
        (["--output", "run_half"], "holds config.json but no run.json"),
        (["--output", "run_cut"], "run.json: damaged"),
        (["--output", "run_cut", "--resume"], "run.json: damaged"),
    ],
)
def test_bad_settings_of_pretraining(here, capsys, given, words):
    base = ["--hidden-size", "32"] if not {"--preset", "--hidden-size"} & set(given) else []
    small = ["--num-hidden-layers", "1"] if "--num-hidden-layers" not in given else []
    before = sorted(path.name for path in here.iterdir())
    fails(capsys, words, "pretrain", "--data-path", "good.jsonl", *base, *small, *given)
    left = {path.name for path in here.iterdir()} - set(before)
    assert not left  # not even an empty folder


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["pretrain", "--hidden-sze", "32"], "no argument '--hidden-sze' here; did you mean --hidden-size?"),
        (["pretrain", "--resume", "--hidden_sze", "4"], "did you mean --hidden-size?"),
        (["pretrain", "--zzz"], "no argument '--zzz' here; see `minimind pretrain --help`"),
        (["pretrain", "--steps", "many"], "--steps must be a whole number, got 'many'"),
        (["pretrain", "--max-seconds", "x"], "--max-seconds must be a number, got 'x'"),
        (["pretrain", "--steps"], "Missing value for argument '--steps'"),
        (["pretrain", "--optimizer", "sgd"], "invalid choice 'sgd' for argument '--optimizer'"),
        (["generate", "one", "two"], "no argument 'two' here"),
        (["generate", "--temperature", "warm"], "--temperature"),
        (["data"], "Which data to write"),
        (["data", "moon"], "invalid choice 'moon'"),
        (["pretrian"], "no command 'pretrian'; did you mean 'pretrain'?"),
    ],
)
def test_arguments_that_cannot_be_read(capsys, given, words):
    fails(capsys, words, *given)


@pytest.mark.parametrize(
    "given", [["--help"], ["pretrain", "--help"], pytest.param(["doctor"], marks=pytest.mark.slow)]
)
def test_no_room_for_what_a_command_says(given):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "minimind", *given], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ran.returncode == 2
    *before, last = ran.stderr.splitlines()
    assert last.startswith("error: ")
    assert before in ([], ["measuring two seconds of training …"])


def test_a_model_too_large_for_memory_does_not_cost_the_run_before_it(
    here, capsys, finished_run, monkeypatch
):
    shutil.copytree(finished_run, here / "run")
    before = snapshot(here / "run")

    def too_large(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(sys.modules["minimind.training.pretrain"], "MiniMind", too_large)
    flags = arguments(tiny_settings(here, output=str(here / "run"), overwrite=True))
    fails(capsys, "out of memory; lower", "pretrain", *flags)
    assert snapshot(here / "run") == before


def test_run_json_of_nothing(here, capsys):
    settings = tiny_settings(here, max_seconds=0)
    pretrain(settings)
    (here / "run" / "run.json").write_text("{}")
    fails(capsys, "run.json: damaged", "pretrain", "--output", "run", "--resume")
    fails(capsys, "run.json: damaged", "pretrain", *arguments(settings))


def test_all_checkpoints_damaged(here, capsys):
    pretrain(tiny_settings(here, max_seconds=0))
    for state in (here / "run" / "checkpoints").glob("step-*/state.json"):
        state.write_text("")
    for _ in range(2):  # the same words each time: nothing was renamed or removed
        fails(capsys, "no checkpoint can be read, start over", "pretrain", "--output", "run", "--resume")


def test_a_tokenizer_of_another_run(here, capsys, finished_run):
    """Of the same size, so nothing but its digest tells them apart."""
    pretrain(tiny_settings(here, max_seconds=0, data_path=str(write_texts(here / "other.jsonl", seed=5))))
    shutil.copytree(finished_run, here / "copy")
    shutil.copy(here / "run" / "tokenizer.json", here / "copy" / "tokenizer.json")
    fails(capsys, "not the tokenizer that this run was trained with", "generate", str(here / "copy"))
    fails(capsys, "not the tokenizer that this run was trained with", "evaluate", str(here / "copy"))


def test_a_run_without_its_data(here, capsys):
    pretrain(tiny_settings(here, max_seconds=0))
    shutil.rmtree(here / "run" / "data")
    fails(capsys, "start over with --overwrite", "pretrain", "--output", "run", "--resume")


def test_epochs_of_an_endless_world(here, capsys):
    fails(capsys, "no epochs", "pretrain", "--epochs", "2")


@pytest.mark.parametrize("verb", ["generate", "evaluate"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "no such run"),
        ("run_half", "config.json"),
        ("run_cut", "no config.json there"),
        ("a_file", "no such"),
    ],
)
def test_bad_run_folders(here, capsys, verb, name, words):
    fails(capsys, words, verb, name)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_run_folder_that_is_half_written(here, capsys, finished_run, name, damage):
    shutil.copytree(finished_run, "run")
    path = here / "run" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    fails(capsys, name, "generate", "run")


def test_weights_of_another_shape(here, capsys, finished_run):
    shutil.copytree(finished_run, "run")
    config = json.loads((here / "run" / "config.json").read_text())
    (here / "run" / "config.json").write_text(json.dumps({**config, "vocab_size": 301}))
    fails(capsys, "shape", "generate", "run")


def test_a_checkpoint_of_another_shape(here, capsys):
    settings = tiny_settings(here, max_seconds=0)
    pretrain(settings)
    run = json.loads((here / "run" / "run.json").read_text())
    run["settings"]["hidden_size"] = 64
    (here / "run" / "run.json").write_text(json.dumps(run))
    fails(capsys, "another shape", "pretrain", "--output", "run", "--resume")


def test_an_unfinished_run_is_not_written_over(here, capsys):
    settings = tiny_settings(here, max_seconds=0)
    pretrain(settings)
    fails(capsys, "holds an unfinished run; --resume", "pretrain", *arguments(settings))


def test_stored_data_that_were_damaged(here, capsys):
    pretrain(tiny_settings(here, max_seconds=0))
    (here / "run" / "data" / "rows" / "labels.bin").write_bytes(b"\0")
    fails(capsys, "labels.bin", "pretrain", "--output", "run", "--resume")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--temperature", "-1"], "error: temperature must be at least 0, got -1.0"),
        (["--top-p", "2"], "error: top_p must be between 0 and 1, got 2.0"),
        (["--seed", "-4"], f"error: seed must be between 0 and {2**63 - 1}, got -4"),
        (["--repetition-penalty", "0"], "repetition_penalty"),
        (["--repetition-penalty", "nan"], "repetition_penalty must be between 0.1 and 10"),
        (["--repetition-penalty", "1e-300"], "repetition_penalty must be between 0.1 and 10"),
        (["--max-new-tokens", "999999999999999999"], "--max-new-tokens must be at most"),
        (["--device", "cpu:x"], "device 'cpu:x'"),
        (["--max-new-tokens", "-1"], "max_new_tokens"),
    ],
)
def test_bad_settings_of_generation(here, capsys, finished_run, given, words):
    fails(capsys, words, "generate", str(finished_run), *given)


def test_other_commands(here, capsys, finished_run):
    fails(capsys, "documents must be at least 1", "data", "world", "--documents", "0")
    fails(capsys, "documents must be at least 1", "evaluate", str(finished_run), "--documents", "0")
    fails(capsys, "a_file", "data", "world", "--output", "a_file", "--documents", "3")
    fails(
        capsys,
        "a_file",
        "tokenizer",
        "train",
        "--data-path",
        "good.jsonl",
        "--vocab-size",
        "270",
        "--output",
        "a_file",
    )
    fails(capsys, "no module 'nothing'", "run", "nothing")


def test_a_full_disk_while_data_are_written(here, capsys, monkeypatch):
    real_open = open

    def full(path, *args, **names):
        if str(path).endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real_open(path, *args, **names)

    monkeypatch.setattr("builtins.open", full)
    fails(capsys, "the disk is full", "data", "world", "--documents", "3")
    assert not list(here.glob("dataset/*"))


def test_a_full_disk_while_training(here):
    """A real limit: no file may grow beyond what the data need, so the checkpoint does not fit."""
    resource = pytest.importorskip("resource")
    settings = tiny_settings(here, hidden_size=64)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    ran = subprocess.run(
        [sys.executable, "-m", "minimind", "pretrain", *arguments(settings)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "the checkpoint cannot be written" in ran.stderr
    assert not list((here / "run" / "checkpoints").iterdir())
    assert main(["pretrain", "--output", str(here / "run"), "--resume"]) == 0


def test_no_room_for_output_at_all(finished_run):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "minimind", "evaluate", str(finished_run), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
def test_weights_without_run_json_are_nobodys_to_delete(flag, finished_run, here, capsys):
    shutil.copytree(finished_run, here / "run")
    (here / "run" / "run.json").unlink()
    before = snapshot(here / "run")
    assert main(["pretrain", *arguments(tiny_settings(here)), flag]) == 2
    assert "no run.json" in capsys.readouterr().err
    assert snapshot(here / "run") == before


def test_overwrite_does_not_delete_a_folder_that_is_no_run(here, capsys):
    (here / "run" / "data").mkdir(parents=True)
    (here / "run" / "data" / "mine.txt").write_text("years of work")
    assert main(["pretrain", *arguments(tiny_settings(here)), "--overwrite"]) == 2
    assert "holds data but no run.json" in capsys.readouterr().err
    assert (here / "run" / "data" / "mine.txt").read_text() == "years of work"


@pytest.mark.parametrize("seed", ["-1", str(10**26)])
def test_a_seed_out_of_range_costs_nothing(seed, finished_run, here, capsys):
    shutil.copytree(finished_run, here / "run")
    before = snapshot(here / "run")
    assert main(["pretrain", *arguments(tiny_settings(here)), "--overwrite", "--seed", seed]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert snapshot(here / "run") == before


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(finished_run, here, capsys):
    shutil.copytree(finished_run, here / "run")
    config = json.loads((here / "run" / "config.json").read_text())
    from minimind import MiniMind, ModelConfig

    MiniMind(ModelConfig.preset("nano", vocab_size=config["vocab_size"] - 1)).save_pretrained(here / "run")
    assert main(["generate", str(here / "run")]) == 2
    assert "they are not of the same run" in capsys.readouterr().err


def test_no_rounds_are_no_benchmark(capsys):
    assert main(["benchmark", "decode", "--rounds", "0"]) == 2
    assert "rounds must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--tensorboard", "--compile"])
def test_what_this_machine_cannot_do_costs_nothing(flag, here, capsys, finished_run, monkeypatch):
    shutil.copytree(finished_run, here / "run")
    before = snapshot(here / "run")

    def no_compiler(_):
        raise RuntimeError("no C++ compiler\nwas found")

    monkeypatch.setattr(limits, "find_spec", lambda name: None)
    monkeypatch.setattr(limits.torch, "compile", no_compiler)
    flags = arguments(tiny_settings(here, output=str(here / "run"), overwrite=True))
    fails(capsys, "leave", "pretrain", *flags, flag)
    assert snapshot(here / "run") == before


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_an_output_without_unicode_ends_no_training(here, encoding):
    settings = tiny_settings(here)
    ran = subprocess.run(
        [sys.executable, "-m", "minimind", "pretrain", *arguments(settings)],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding},
    )
    assert ran.returncode == 0, ran.stderr
    for given in (["--help"], ["pretrain", "--help"], ["generate", str(here / "run")]):
        ran = subprocess.run(
            [sys.executable, "-m", "minimind", *given],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("steps", "abc"), ("seed", None), ("optimizer", "sgd"), ("compile", 1)]
)
def test_a_setting_in_run_json_of_another_type(here, capsys, name, value):
    pretrain(tiny_settings(here, max_seconds=0))
    run = json.loads((here / "run" / "run.json").read_text())
    run["settings"][name] = value
    (here / "run" / "run.json").write_text(json.dumps(run))
    fails(capsys, f"the setting {name} is {value!r}", "pretrain", "--output", "run", "--resume")


@pytest.mark.parametrize("row", ["[1]", '{"step": "a"}', "{}"])
def test_metrics_that_are_no_rows_are_dropped(here, capsys, row):
    pretrain(tiny_settings(here, max_seconds=0))
    with open(here / "run" / "metrics.jsonl", "a") as file:
        file.write(row + "\n")
    assert main(["pretrain", "--output", "run", "--resume"]) == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rms_norm_eps", "x", "rms_norm_eps must be a number, got 'x'"),
        ("num_hidden_layers", 99999999, "num_hidden_layers must be at most 1,000"),
    ],
)
def test_a_config_with_a_wrong_value(here, capsys, finished_run, name, value, words):
    shutil.copytree(finished_run, here / "run")
    config = json.loads((here / "run" / "config.json").read_text())
    (here / "run" / "config.json").write_text(json.dumps({**config, name: value}))
    fails(capsys, words, "evaluate", "run")


def test_a_word_of_a_million_letters_does_not_stall(here, capsys):
    """Merging a pre-token takes the square of its length, so none is long."""
    with open(here / "good.jsonl", "a") as file:
        file.write(
            json.dumps({"text": "x" * 1_000_000}) + "\n" + json.dumps({"text": " " * 100_000 + "a"}) + "\n"
        )
    given = ["tokenizer", "train", "--data-path", "good.jsonl", "--vocab-size", "280", "--output", "t"]
    ran = subprocess.run(
        [sys.executable, "-m", "minimind", *given], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


def test_a_snippet_with_a_bad_seed_says_so():
    script = Path(__file__).parents[1] / "snippets" / "world" / "exp1_floor.py"
    ran = subprocess.run([sys.executable, str(script), "--seed", "-1"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "--seed must be between 0" in ran.stderr
    assert "Traceback" not in ran.stderr
