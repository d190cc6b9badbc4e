"""What a piece of code rests on: the files of its names, or all that Python loads on the way to them."""

from minimind.course import digest


def behind(text: str, **how: bool) -> set[str]:
    return {path.relative_to(digest.PACKAGE).as_posix() for path in digest.files_behind(text, **how)}


def test_loading_runs_the_packages_on_the_way() -> None:
    text = "from minimind.model.norm import RMSNorm"
    assert behind(text) == {"model/norm.py"}
    assert {"__init__.py", "model/__init__.py", "model/attention.py", "model/norm.py"} <= behind(
        text, loaded=True
    )


def test_a_module_that_is_spelled_in_a_string_counts_and_one_for_the_type_checker_does_not() -> None:
    assert behind("load('minimind.model.norm')") == {"model/norm.py"}
    assert behind("say('minimind.model.norm is short')") == set()
    checked = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import minimind.config\n"
    assert behind(checked) == set()
    assert behind(checked + "else:\n    import minimind.errors\n") == {"errors.py"}


def test_a_digest_is_of_names_and_contents(tmp_path) -> None:
    code = tmp_path / "code.py"
    seen = []
    for text in ("x = 1", "x = 1  # one", "x = 2"):
        code.write_text(text)
        seen.append((digest.digest_files([code]), digest.digest_files([code], digest.read_bare)))
    assert len({whole for whole, _ in seen}) == 3
    assert seen[0][1] == seen[1][1] != seen[2][1]
    moved = code.rename(tmp_path / "other.py")
    assert digest.digest_files([moved]) != seen[2][0]
