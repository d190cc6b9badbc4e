"""What the scripts of snippets/ share: flags, claims, figures."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

from minimind.course import experiment

mpl.use("Agg")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def given(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["script.py", *words])

    return given


def test_a_keyword_becomes_a_flag_of_its_type(command: Callable[..., None]) -> None:
    command("--num_steps", "7", "--no-deep", "--gains", "1", "1.5", "--name", "x")
    given = experiment.flags("What it does.", num_steps=3, deep=True, gains=[0.5], name="y", rate=0.1)
    assert (given.num_steps, given.deep, given.gains, given.name, given.rate) == (
        7,
        False,
        [1.0, 1.5],
        "x",
        0.1,
    )
    assert (given.seed, given.save) == (0, None)


def test_an_unknown_flag_is_refused_and_not_guessed(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("--stepz", "--step"):
        command(word, "3")
        with pytest.raises(SystemExit) as leaving:
            experiment.flags(None, steps=1)
        assert leaving.value.code == 2
        assert word in capsys.readouterr().err


def test_help_shows_the_docstring_and_the_defaults(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("--help")
    with pytest.raises(SystemExit):
        experiment.flags("First line.\n\nTier: core", steps=12)
    shown = capsys.readouterr().out
    assert "First line.\n\nTier: core" in shown
    assert "(default: 12)" in shown


def test_the_seed_fixes_every_generator(command: Callable[..., None]) -> None:
    drawn = []
    for seed in ("3", "3", "4"):
        command("--seed", seed)
        experiment.flags(None)
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))


def test_a_claim_is_recorded_printed_or_raised(capsys: pytest.CaptureFixture[str]) -> None:
    experiment.claim("water is wet", torch.tensor(True))
    assert capsys.readouterr().out == "claim holds: water is wet\n"
    with pytest.raises(experiment.ClaimError, match="pigs fly"):
        experiment.claim("pigs fly", np.bool_(False))
    assert [claim[:2] for claim in experiment.CLAIMS[-2:]] == [("water is wet", True), ("pigs fly", False)]


def test_a_figure_is_saved_the_same_every_time(command: Callable[..., None], tmp_path: Path) -> None:
    from minimind.course import plots

    plots.style()
    saved = []
    for name in ("one", "two"):
        command("--save", str(tmp_path / name))
        experiment.flags(None)
        plots.plt.plot([1, 2])
        experiment.show("line")
        saved.append((tmp_path / name / "line.svg").read_bytes())
    assert saved[0] == saved[1]
    assert not plots.plt.get_fignums()


def test_without_a_display_it_says_so(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    from minimind.course import plots

    command()
    experiment.flags(None)
    plots.plt.plot([1, 2])
    experiment.show("line")
    assert "no display" in capsys.readouterr().out
