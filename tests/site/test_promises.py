"""The page that says how the site is checked names files, tests and commands that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-this-site-checks-itself.md").read_text(encoding="utf-8")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:minimind|snippets|tests|docs)/[\w./]*)`", PAGE)))
)
def test_a_file_that_is_named_exists(name):
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_test_that_is_named_exists(name):
    assert f"def {name}(" in TESTS


def test_what_it_says_to_break_is_there():
    for name, file in re.findall(r"In `(\w+)` in `([\w./]+)`", PAGE):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    assert "HIDE" in (ROOT / "minimind" / "data" / "world" / "story.py").read_text(encoding="utf-8")


def test_the_commands_name_files_that_exist():
    commands = re.findall(r"`pytest ([^`]+)`", PAGE)
    assert commands
    for command in commands:
        assert all((ROOT / name).exists() for name in command.split())


def test_the_claim_to_break_is_there():
    (file, new, old) = re.search(
        r"In `(snippets/[\w/.]+)`, ask for less: `([^`]+)` in place of `([^`]+)`", PAGE
    ).groups()
    script = (ROOT / file).read_text(encoding="utf-8")
    assert old in script
    assert new not in script
    assert f"`python {file}`" in PAGE
