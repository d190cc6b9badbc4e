"""The second build: other instructions, no labs; it computes anew, and its claims are compared with the first's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from _site.finish import compare_claims
from _site.run import digest
from mini import MiniSite
from test_deterministic import LAB
from test_exec import block, counts

CODE = """
import torch
from minimind.course.experiment import claim
claim('all is well', True)
print(torch.get_num_threads())
""".strip()


@pytest.mark.slow
def test_other_instructions_and_threads_are_another_computation(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", "# Page\n\n" + block(CODE)).write("labs/lab.py", LAB)
    first = site.build("--strict")
    assert counts(first.log) == (0, 1)
    assert "<span></span><code>1\n" in first.page()
    assert 'class="mm-figure"' in first.page("labs/lab/index.html")
    lab = sorted((tmp_path / "cache" / "labs").rglob("*.json"))
    older = {"ATEN_CPU_CAPABILITY": "default", "MINIMIND_SITE_THREADS": "2"}
    assert torch.backends.cpu.get_cpu_capability() != "DEFAULT", "the test needs instructions to switch off"
    second = site.build("--strict", variables=older, labs=False)
    assert second.status == 0, second.log
    assert counts(second.log) == (0, 1)
    assert "<span></span><code>2\n" in second.page()
    assert 'class="mm-figure"' not in second.page("labs/lab/index.html")
    assert sorted((tmp_path / "cache" / "labs").rglob("*.json")) == lab, (
        "the results of cells made way for none"
    )
    assert counts(site.build("--strict", variables=older, labs=False).log) == (1, 0)
    assert counts(site.build("--strict").log) == (1, 0)


def site_with(folder: Path, claims: object) -> str:
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps(claims), encoding="utf-8")
    return str(folder)


def test_claims_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = site_with(tmp_path / "good", {"a.md": [["x", True], ["y", True]], "labs/l.py": [["z", True]]})
    same = site_with(tmp_path / "same", {"a.md": [["y", True], ["x", True]]})
    less = site_with(tmp_path / "less", {"a.md": [["x", True]]})
    false = site_with(tmp_path / "false", {"a.md": [["x", True], ["y", False]]})
    none = site_with(tmp_path / "none", {})
    assert compare_claims.main(good, same) == 0
    assert "2 claims, the same" in capsys.readouterr().out
    for first, second, words in (
        (good, less, "good: a.md: y"),
        (less, good, "good: a.md: y"),
        (good, false, "does not hold in"),
        (none, none, "makes no claim"),
    ):
        assert compare_claims.main(first, second) == 1
        assert words in capsys.readouterr().out


def test_what_reads_a_shipped_model_rests_on_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "minimind"
    weights = package / "shipped" / "pretrain" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"\x00\xff")
    (package / "__init__.py").write_text("")
    (package / "runs.py").write_text("SHIPPED = 'shipped'")
    (package / "other.py").write_text("")
    monkeypatch.setattr("minimind.course.digest.PACKAGE", package)
    monkeypatch.setattr(digest, "SHIPPED", package / "shipped")
    seen = []
    for content in (b"\x00\xff", b"\x00\xfe"):
        weights.write_bytes(content)
        digest.forget()
        seen.append((digest.digest_code("import minimind.runs"), digest.digest_code("import minimind.other")))
    monkeypatch.undo()
    digest.forget()
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


def test_what_names_a_file_of_the_repository_rests_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    seen = []
    for content in ("[a]", "[b]"):
        (tmp_path / "pyproject.toml").write_text(content)
        digest.forget()
        seen.append((digest.digest_code("open('pyproject.toml')"), digest.digest_code("open('other.toml')")))
    monkeypatch.undo()
    digest.forget()
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]
