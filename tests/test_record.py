"""A record is of the code that made it, and says when it no longer is."""

from __future__ import annotations

import json
import warnings

import pytest

from minimind import cli
from minimind.course import experiment, record
from minimind.errors import UserError

SCRIPT = '''"""A test. Tier: training · extra · about 1 s"""
# --8<-- [start:measure]
from minimind.course import experiment
from minimind.model import RMSNorm

args = experiment.flags(__doc__)
factor = 2  # what is measured
found = experiment.recorded("toy/exp1_double", lambda: {"norm": list(RMSNorm(3).weight.shape), "double": 21 * factor})
# --8<-- [end:measure]
# --8<-- [start:claims]
experiment.claim("it is doubled", found["double"] == 21 * factor)
# --8<-- [end:claims]
'''


@pytest.fixture
def script(tmp_path, monkeypatch):
    path = tmp_path / "snippets/toy/exp1_double.py"
    path.parent.mkdir(parents=True)
    path.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def test_record_measures_and_keeps(script, capfd):
    assert cli.main(["record"]) == 0
    kept = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    assert kept["result"] == {"norm": [3], "double": 42}
    assert kept["threads"] >= 1
    assert "claim holds: it is doubled" in capfd.readouterr().out
    assert cli.main(["record", "--check"]) == 0
    assert experiment.recorded("toy/exp1_double", lambda: pytest.fail("measured again")) == kept["result"]


def test_a_change_of_what_is_measured_makes_it_stale(script):
    assert cli.main(["record"]) == 0
    for old, new, stale in (
        ("factor = 2", "factor = 3", True),
        ("RMSNorm(3)", "RMSNorm(4)", True),
        ("# what is measured", "# another comment", False),
        ("A test.", "Another docstring.", False),
        ('"it is doubled"', '"it is twice as much"', False),
    ):
        script.write_text(SCRIPT.replace(old, new), encoding="utf-8")
        assert cli.main(["record", "--check"]) == int(stale), new
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            experiment.recorded("toy/exp1_double", dict)
        assert ["minimind record toy/exp1_double" in str(warning.message) for warning in heard] == [
            True
        ] * stale


def test_the_files_behind_an_import_are_those_of_its_names():
    def behind(text):
        return {path.relative_to(record.PACKAGE).as_posix() for path in record.measuring_files(text)}

    assert behind("from minimind.model import RMSNorm") == {"model/norm.py"}
    assert behind("from minimind.model.rope import rotate") == {"model/rope.py"}
    assert behind("from minimind.course import experiment, plots") == set()
    assert "data/world/words.toml" in behind("from minimind.data import World")
    whole = behind("from minimind import MiniMind")
    assert {"config.py", "model/causal_lm.py", "model/attention.py", "model/norm.py"} <= whole
    assert "training/loop.py" not in whole
    assert "tokenizer/bpe.py" not in behind("from minimind.data.world import World")


def test_what_goes_wrong_is_said_in_a_line(script, capsys):
    with pytest.raises(UserError, match=r"exp1_double\.json is missing; `minimind record toy/exp1_double`"):
        experiment.recorded("toy/exp1_double", dict)
    with pytest.raises(UserError, match="no script snippets/toy/exp2"):
        experiment.recorded("toy/exp2", dict)
    assert cli.main(["record", "toy/exp9"]) == 2
    assert "there are toy/exp1_double" in capsys.readouterr().err
    for broken in ("", "[]", '{"digest": 1}'):
        script.with_suffix(".json").write_text(broken, encoding="utf-8")
        with pytest.raises(UserError, match="minimind record"):
            experiment.recorded("toy/exp1_double", dict)


def test_a_failing_script_keeps_the_old_record(script, capfd):
    assert cli.main(["record"]) == 0
    before = script.with_suffix(".json").read_text(encoding="utf-8")
    script.write_text(SCRIPT.replace("21 * factor}", "1 / 0}"), encoding="utf-8")
    assert cli.main(["record"]) == 1
    assert script.with_suffix(".json").read_text(encoding="utf-8") == before
    assert "failed (exit status 1)" in capfd.readouterr().err


def test_all_records_of_the_repository_are_of_its_code(monkeypatch):
    monkeypatch.chdir(record.PACKAGE.parent)
    assert [name for name in record.scripts_with_records() if record.is_stale(name)] == []


PARTS = (
    SCRIPT.replace(
        'lambda: {"norm": list(RMSNorm(3).weight.shape), "double": 21 * factor})',
        "lambda: measure())",
    )
    .replace(
        "found = ",
        """def measure():
    found = [{"norm": list(RMSNorm(3).weight.shape), "double": 21 * factor, "cell": cell} for cell in range(3)]
    print("measured", 1 if record.confirming() else 3)
    return record.Part(found[:1]) if record.confirming() else found


[found, *_] = """,
    )
    .replace("from minimind.course import experiment", "from minimind.course import experiment, record")
)


def test_a_part_that_is_the_same_confirms_the_rest(script, capfd):
    script.write_text(PARTS, encoding="utf-8")
    assert cli.main(["record"]) == 0
    assert "measured 3" in capfd.readouterr().out
    kept = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    script.write_text(PARTS.replace("21 * factor", "factor * 21"), encoding="utf-8")
    assert cli.main(["record", "--check"]) == 1
    assert cli.main(["record", "--confirm"]) == 0
    said = capfd.readouterr().out
    assert "measured 1" in said
    assert "measured 3" not in said
    assert "is confirmed" in said
    assert cli.main(["record", "--check"]) == 0
    now = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    assert {**now, "digest": None} == {**kept, "digest": None}


@pytest.mark.slow
def test_a_part_that_differs_has_all_measured_anew(script, capfd):
    script.write_text(PARTS, encoding="utf-8")
    assert cli.main(["record"]) == 0
    script.write_text(PARTS.replace("factor = 2", "factor = 2.5"), encoding="utf-8")
    assert cli.main(["record", "--confirm"]) == 0
    said = capfd.readouterr().out
    assert "is not confirmed; measuring it anew" in said
    assert said.index("measured 1") < said.rindex("measured 3")
    kept = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    assert [row["double"] for row in kept["result"]] == [52.5] * 3


def test_a_cell_that_is_the_same_confirms_a_result_that_is_no_list(script, capfd):
    cells = SCRIPT.replace(
        '"double": 21 * factor})',
        '"double": [21 * factor, print("all")]}, lambda: {"double": [factor * 21]})',
    ).replace('found["double"] ==', 'found["double"][0] ==')
    assert cells != SCRIPT
    script.write_text(cells, encoding="utf-8")
    assert cli.main(["record"]) == 0
    assert "all" in capfd.readouterr().out
    script.write_text(cells.replace("factor = 2", "factor = 4 // 2"), encoding="utf-8")
    assert cli.main(["record", "--confirm"]) == 0
    said = capfd.readouterr().out
    assert "is confirmed" in said
    assert "all" not in said.splitlines()
    script.write_text(cells.replace("factor = 2", "factor = 3"), encoding="utf-8")
    assert cli.main(["record", "--confirm"]) == 0
    assert "is not confirmed; measuring it anew" in capfd.readouterr().out


def test_what_has_no_parts_is_measured_whole(script, capfd):
    assert cli.main(["record"]) == 0
    script.write_text(SCRIPT.replace("factor = 2", "factor = 3"), encoding="utf-8")
    assert cli.main(["record", "--confirm"]) == 0
    assert json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))["result"]["double"] == 63


def test_a_part_that_differs_is_measured_anew_although_the_code_is_the_same(script, capfd):
    script.write_text(PARTS, encoding="utf-8")
    assert cli.main(["record"]) == 0
    kept = script.with_suffix(".json")
    stored = json.loads(kept.read_text(encoding="utf-8"))
    stored["result"][0]["double"] = 41
    kept.write_text(json.dumps(stored), encoding="utf-8")
    assert cli.main(["record", "--confirm", "toy/exp1_double"]) == 0
    assert "is not confirmed; measuring it anew" in capfd.readouterr().out
    assert json.loads(kept.read_text(encoding="utf-8"))["result"][0]["double"] == 42
