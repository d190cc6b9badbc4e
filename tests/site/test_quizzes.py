"""No quiz gives its answer away: right options are as long as the others, and stand in every place."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
VALUE = re.compile(r"\[\[[=~].*?\]\]")
FENCE = re.compile(r"^```quiz\n(.*?)^```", re.M | re.S)


def questions():
    """Page and data of each question with options of which one is right."""
    for page in sorted(DOCS.rglob("*.md")):
        for text in FENCE.findall(page.read_text(encoding="utf-8")):
            data = yaml.safe_load(VALUE.sub("0.00", text))  # as the build does, which fills them in first
            options = data.get("options", [])
            if sum("right" in option for option in options) == 1:
                yield pytest.param(data, id=data["id"])


def words_of(option):
    return next(option[key] for key in ("right", "wrong", "option") if key in option)


def length(option):
    return len(words_of(option))


@pytest.mark.parametrize("question", list(questions()))
def test_the_right_option_is_as_long_as_the_others(question):
    (right,) = (length(option) for option in question["options"] if "right" in option)
    others = [length(option) for option in question["options"] if "right" not in option]
    assert min(others) / 1.25 <= right <= max(others) * 1.25, (right, others)
    assert max(right, *others) <= 2 * min(right, *others), (right, others)


def test_right_options_stand_in_every_place():
    places = Counter()
    for parameter in questions():
        (question,) = parameter.values
        places[["right" in option for option in question["options"]].index(True)] += 1
    count = sum(places.values())
    assert set(places) >= {0, 1, 2}
    assert max(places.values()) <= 0.5 * count, places
    assert min(places[place] for place in (0, 1, 2)) >= 0.15 * count, places
