"""The table of experiments has every script, with what its docstring says, and pages say the tier below a command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from mini import ROOT, MiniSite

SCRIPTS = sorted((ROOT / "snippets").glob("*/exp*.py"))
FIRST = "snippets/normalization/exp1_gradient_vanishing.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    site = MiniSite(tmp_path_factory.mktemp("experiments"))
    site.write("index.md", "# All\n\n<!-- experiments -->\n")
    site.write("foundation/normalization/index.md", "# Norms\n")
    site.write(
        "foundation/normalization/why.md",
        f"# Why it fades\n\n```bash\npython {FIRST}\n```\n\nAgain:\n\n```bash\npython {FIRST} --gain 2\n```\n\n"
        "- In a list:\n\n    ```bash\n    cd here\n    python snippets/world/exp1_floor.py\n    ```\n\nAfter.\n",
    )
    result = site.build("--strict")
    assert result.status == 0, result.log
    return result


def row_of(built, script: Path):  # type: ignore[no-untyped-def]
    soup = BeautifulSoup(built.page(), "html.parser")
    name = script.relative_to(ROOT).as_posix()
    (row,) = [row for row in soup.select(".mm-experiments tr") if name in row.get_text()]
    return row


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_row_says_what_the_script_says(built, script: Path) -> None:  # type: ignore[no-untyped-def]
    text = script.read_text(encoding="utf-8")
    question = " ".join(text.split('"""')[1].split("\n\n")[0].split())
    tier, part, time = re.search(r"Tier: (\w+) · (\w+) · (.+)", text).groups()
    cells = [cell.get_text() for cell in row_of(built, script).select("td")]
    assert cells[0].startswith(question.replace("`", ""))
    assert cells[1] == f"{tier}, {part}"
    assert cells[2].startswith(time.rstrip("."))
    assert ("record" in cells[2]) == ("experiment.recorded(" in text)


def test_a_module_links_to_its_index_and_a_script_to_its_page(built) -> None:  # type: ignore[no-untyped-def]
    row = row_of(built, ROOT / FIRST)
    (link,) = row.select("a")
    assert (link.get_text(), link["href"]) == ("Why it fades", "foundation/normalization/why/")
    head = row.find_parent("tbody").find("th")
    assert (head.get_text(), head.find("a")["href"]) == ("Normalization", "foundation/normalization/")
    assert "none yet" in row_of(built, ROOT / "snippets/attention/exp1_attention_basics.py").get_text()


def test_the_tier_stands_below_the_first_command(built) -> None:  # type: ignore[no-untyped-def]
    soup = BeautifulSoup(built.page("foundation/normalization/why/index.html"), "html.parser")
    once, listed = soup.select(".mm-tier")
    time = re.search(r"about \d+ s", (ROOT / FIRST).read_text(encoding="utf-8"))[0]
    assert once.get_text() == f"Tier: visualization · {time}"
    assert "exp1_gradient" in once.find_previous_sibling("div").get_text()
    assert listed.find_parent("li")
    assert listed.get_text().startswith("exp1_floor.py: Tier: visualization")


def test_a_command_without_a_script_fails_the_build(tmp_path: Path) -> None:
    site = MiniSite(tmp_path).write("index.md", "# A\n\n```bash\npython snippets/world/exp99.py\n```\n")
    result = site.build()
    assert result.status != 0
    assert "exp99.py" in result.log
