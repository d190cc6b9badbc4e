"""A claim that does not hold says what was compared; whatever cannot be explained still fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minimind.course import claims
from minimind.course.claims import Claim, claim

LEFT = {"a": 0.31, "b": 0.4}


def make(name: str, holds: object) -> None:
    """A helper outside of the package, whose own line says nothing of the values."""
    claim(name, holds)


def said(make_claim: Callable[[], None]) -> str:
    """The values that a false claim reports."""
    with pytest.raises(claims.ClaimError, match="pigs fly"):
        make_claim()
    return claims.CLAIMS[-1].values


def test_both_sides_of_a_comparison_are_told() -> None:
    looker, limit = "a", 0.5
    assert said(lambda: claim("pigs fly", LEFT[looker] > 0.5)) == "LEFT[looker] = 0.31, expected > 0.5"
    assert said(lambda: claim("pigs fly", limit < LEFT["a"])) == "limit = 0.5, expected < LEFT['a'] = 0.31"
    assert said(lambda: claim("pigs fly", holds=len(LEFT) + 1 == limit)) == (
        "len(LEFT) + 1 = 3, expected == limit = 0.5"
    )


def test_a_chain_over_several_lines() -> None:
    def several_lines() -> None:
        claim(
            "pigs fly: 猪",
            1.8
            < LEFT["a"]  # far below
            < 2.2,
        )

    assert said(several_lines) == "LEFT['a'] = 0.31, expected 1.8 < LEFT['a'] < 2.2"


def test_of_and_the_false_part_and_of_or_all() -> None:
    assert said(lambda: claim("pigs fly", LEFT["a"] < 1 and LEFT["b"] > 1 and LEFT["a"] > 9)) == (
        "LEFT['b'] = 0.4, expected > 1"
    )
    assert said(lambda: claim("pigs fly", LEFT["a"] > 1 or len(LEFT) > 3)) == (
        "LEFT['a'] = 0.31, expected > 1; len(LEFT) = 2, expected > 3"
    )


def test_of_all_the_first_exception() -> None:
    least = 0.35
    assert said(lambda: claim("pigs fly", all(least < value for value in LEFT.values() if value))) == (
        "least = 0.35, expected < value = 0.31"
    )
    assert said(lambda: claim("pigs fly", all(a > b for a, b in zip([3, 1], [2, 2], strict=True)))) == (
        "a = 1, expected > b = 2"
    )


def test_tensors_calls_and_negations() -> None:
    share = torch.tensor(0.25)
    assert said(lambda: claim("pigs fly", share > 0.5)) == "share = 0.25, expected > 0.5"
    assert said(lambda: claim("pigs fly", torch.equal(share, share + 1))) == (
        "share = 0.25; share + 1 = 1.25"
    )
    assert said(lambda: claim("pigs fly", not LEFT)) == "LEFT = {'a': 0.31, 'b': 0.4}, expected false"


def test_without_a_comparison_or_a_source_it_fails_all_the_same() -> None:
    known = False
    assert said(lambda: claim("pigs fly", known)) == ""
    assert said(lambda: make("pigs fly", LEFT["a"] > 0.5)) == ""
    assert said(lambda: claim(*("pigs fly", False))) == ""
    code = compile("claim('pigs fly', 1 > 2)", "no such file", "exec")
    assert said(lambda: exec(code, {"claim": claim})) == ""


def test_another_way_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(claims, "when_false", print)
    claim("pigs fly", len(LEFT) > 5)
    claim("two", len(LEFT) == 2)
    assert capsys.readouterr().out == (
        "claim does not hold: pigs fly\n    measured: len(LEFT) = 2, expected > 5\nclaim holds: two\n"
    )
    assert claims.CLAIMS[-2:] == [
        Claim("pigs fly", False, "len(LEFT) = 2, expected > 5"),
        Claim("two", True),
    ]


def test_the_condition_of_a_claim_about_a_model_is_found_in_the_script(tmp_path: Path) -> None:
    helper = (
        "from minimind.course.claims import claim\ndef claim_of_model(name, holds):\n    claim(name, holds)\n"
    )
    names = {"__name__": "minimind.course.experiment"}
    exec(helper, names)
    claim_of_model = names["claim_of_model"]
    assert said(lambda: claim_of_model("pigs fly", LEFT["a"] > 0.5)) == "LEFT['a'] = 0.31, expected > 0.5"  # type: ignore[operator]
