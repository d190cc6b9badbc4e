"""The scripts in snippets/ run alone and keep their claims; their pages show them whole and stay short."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from minimind.course import experiment
from minimind.settings import PretrainSettings
from minimind.training import pretrain

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "snippets").glob("*/*.py"))
SCRIPTS_OF = {path.stem: path for path in SCRIPTS}
ATTENTION = ROOT / "snippets/attention/exp1_attention_basics.py"
FLOOR = ROOT / "snippets/world/exp1_floor.py"
PAGES = sorted((ROOT / "docs/quick-start").glob("*.md"))
PAGE_OF = {
    path: page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for path in re.findall(r'--8<-- "(snippets/[\w/]+\.py):', page.read_text(encoding="utf-8"))
}
TWISTS = {
    ROOT / "snippets/normalization/exp1_gradient_vanishing.py": ["--gain", "2"],
    ROOT / "snippets/position_encoding/exp1_rope_basics.py": ["--forget-keys"],
    ATTENTION: ["--looks-for", "thing"],
}


def reads_a_model(script: Path) -> bool:
    return "experiment.load_model(" in script.read_text(encoding="utf-8")


READERS = [path for path in SCRIPTS if reads_a_model(path)]
by_name = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def output_of(run, capsys):
    """Run a script as a reader does, with these arguments; gives what it printed."""

    def output(script: Path, *arguments: str) -> str:
        run(script.stem, *arguments)
        return capsys.readouterr().out

    return output


@pytest.fixture(scope="session")
def other_models(tmp_path_factory):
    """Models that a reader may have: other numbers of layers and heads, hardly trained, and one of other words."""
    home = tmp_path_factory.mktemp("other_models")
    own = home / "own.jsonl"
    words = [
        "the",
        "ship",
        "sails",
        "over",
        "the",
        "wide",
        "sea",
        "and",
        "the",
        "crew",
        "sings",
        "of",
        "home",
    ]
    rows = [" ".join(words[(i * k) % len(words)] for k in range(1, 24)) for i in range(1, 200)]
    own.write_text("".join(json.dumps({"text": f"{row} {i}."}) + "\n" for i, row in enumerate(rows)))
    kinds = {
        "one layer, other words": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "data_path": str(own),
            "vocab_size": 300,
            "seed": 5,
        },
        "one layer": {"num_hidden_layers": 1, "num_attention_heads": 2},
        "many heads": {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8},
    }
    for name, changes in kinds.items():
        sizes = {"hidden_size": 32, "steps": 12, "batch_size": 4, "max_seq_len": 64, "sample_tokens": 0}
        pretrain(
            PretrainSettings(
                output=str(home / name), device="cpu", validation_documents=4, **{**sizes, **changes}
            )
        )
    return {name: home / name for name in kinds}


def figures_of(script: Path) -> list[str]:
    return sorted(re.findall(r'experiment\.show\("(\w+)"\)', script.read_text(encoding="utf-8")))


def saved(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "figures").glob("*.svg"))


def claims_of(output: str) -> int:
    return output.count("claim holds: ")


# The site's build runs each script with its default seed, and every claim of the pages.
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if not reads_a_model(path)], ids=lambda path: path.stem
)
def test_claims_hold_over_seeds(script, seed, output_of, tmp_path):
    assert claims_of(output_of(script, "--seed", str(seed), "--save", str(tmp_path / "figures"))) >= 1
    assert saved(tmp_path) == figures_of(script)


@pytest.mark.slow
@pytest.mark.parametrize("script", READERS, ids=lambda path: path.stem)
def test_claims_hold_of_the_shipped_model(script, output_of, tmp_path):
    said = output_of(script, "--save", str(tmp_path / "figures"))
    assert "model: shipped/pretrain, which comes with the package" in said
    assert claims_of(said) >= 1
    assert "not in your model" not in said
    assert saved(tmp_path) == figures_of(script)


@pytest.mark.parametrize(
    "kind",
    [
        "one layer, other words",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("one layer", "many heads")),
    ],
)
@pytest.mark.parametrize("script", READERS, ids=lambda path: path.stem)
def test_a_readers_own_model_never_ends_a_script(script, kind, output_of, other_models):
    said = output_of(script, "--model", str(other_models[kind]))
    assert f"model: {other_models[kind]}, your own" in said
    # A model that has hardly learned anything lacks something that the script finds in the shipped one.
    if script != FLOOR:
        assert "not in your model: " in said


def test_the_quoted_numbers_are_those_of_seed_42(output_of):
    assert "seed 42 gives the quoted numbers" in output_of(SCRIPTS_OF["exp1_gradient_vanishing"])


@pytest.mark.parametrize("script", TWISTS, ids=lambda script: script.stem)
def test_claims_hold_under_the_twist_of_the_page(script, output_of):
    assert claims_of(output_of(script, *TWISTS[script])) >= 6
    assert " ".join(TWISTS[script]) in page_text(script.relative_to(ROOT).as_posix())


def test_the_map_is_the_one_that_the_model_uses(run):
    names = run(ATTENTION.stem)
    model, attention = names["model"], names["model"].model.layers[-1].self_attn
    seen = {}
    attention.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0], output=output))
    with torch.no_grad():
        model(torch.tensor([names["ids"]]))
        v = (
            attention.v_proj(seen["x"][0]).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
        )  # (K, T, D)
        v = v.repeat_interleave(attention.num_heads // attention.num_key_value_heads, dim=0)  # (H, T, D)
        output = attention.o_proj((names["maps"][-1] @ v).transpose(0, 1).flatten(1))  # (T, hidden_size)
    assert torch.allclose(output, seen["output"][0], atol=1e-5)


@pytest.mark.parametrize("script", READERS, ids=lambda path: path.stem)
def test_a_model_that_is_nowhere_is_said_in_one_line(script, output_of):
    with pytest.raises(SystemExit, match=r"^error: nowhere: no such run") as stop:
        output_of(script, "--model", "nowhere")
    assert "\n" not in str(stop.value)


@by_name
def test_help_says_how_to_run(script, output_of, capsys):
    with pytest.raises(SystemExit, match="0"):
        output_of(script, "--help")
    shown = capsys.readouterr().out
    assert "--seed" in shown
    assert "--save" in shown
    assert f"python {script.relative_to(ROOT).as_posix()}" in shown


@by_name
def test_docstring_ends_with_the_tier(script):
    docstring = script.read_text(encoding="utf-8").split('"""')[1]
    assert re.fullmatch(
        r"Tier: (visualization|training|full) · (core|extra) · about \d+ s",
        docstring.strip().splitlines()[-1],
    )


@by_name
def test_the_page_shows_the_whole_script_in_order(script):
    text = script.read_text(encoding="utf-8")
    path = script.relative_to(ROOT).as_posix()
    sections = re.findall(r"# --8<-- \[start:(\w+)\]", text)
    assert sections == re.findall(r"# --8<-- \[end:(\w+)\]", text)
    outside = re.sub(r"# --8<-- \[start:(\w+)\].*?# --8<-- \[end:\1\]", "", text, flags=re.DOTALL)
    assert outside.split('"""')[2].strip() == "", "code outside of the sections never reaches the page"
    shown: dict[str, list[str]] = {}
    for options, body in re.findall(
        r"^ *```python (.*?)\n(.*?)^ *```", page_text(path), re.DOTALL | re.MULTILINE
    ):
        session = re.search(r'session="(\w+)"', options)[1]
        shown.setdefault(session, []).extend(re.findall(rf'--8<-- "{path}:(\w+)"', body))
    first, *others = filter(None, shown.values())  # a page may show other scripts, in sessions of their own
    assert first == sections
    assert all(set(other) <= set(sections) for other in others)


def page_text(path: str) -> str:
    return PAGE_OF[path].read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """What is read in one go: text, tables, captions and folded answers, without code and quiz questions."""
    text = page.read_text(encoding="utf-8")
    captions = " ".join(re.findall(r'caption="([^"]*)"', text))
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\[\[[=~].*?\]\](?!\])", "1", text + captions)


@each_page
def test_a_page_has_at_most_600_words(page):
    words = re.findall(r"\w[\w'’-]*", re.sub(r"\(\.\./[^)]*\)|<!--.*?-->", "", prose(page)))
    assert len(words) <= 600, f"{len(words)} words"


@each_page
def test_a_page_has_at_most_two_figures(page):
    assert 1 <= len(re.findall(r'\balt="', page.read_text(encoding="utf-8"))) <= 2


@each_page
def test_a_page_predicts_first_and_asks_twice_at_the_end(page):
    text = page.read_text(encoding="utf-8")
    before, after = text.split("<!-- predict end -->")
    assert before.count("```quiz") == before.count("kind: predict") == 1
    assert after.count("```quiz") == 2
    # Nothing up to the end of the run may give the finding away, not even in the list of contents.
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", before, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    assert all(heading.endswith("?") or heading == "How attention works" for heading in headings)
    assert list(re.findall(r"^## (.*)$", after, re.MULTILINE)) == ["One twist", "Key insight"]


def test_right_answers_are_spread():
    places = []
    for page in PAGES:
        for quiz in re.findall(r"```quiz\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            options = re.findall(r"^  - (right|wrong|option):", quiz, re.MULTILINE)
            places.append(options.index("right"))
    assert max(places.count(place) for place in set(places)) <= len(places) / 2


def test_a_claim_that_does_not_hold_stops_the_script():
    with pytest.raises(experiment.ClaimError, match="the moon is made of cheese"):
        experiment.claim("the moon is made of cheese", False)
