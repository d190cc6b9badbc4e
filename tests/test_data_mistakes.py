"""The rules of the world read a text and say where it stops being one of theirs."""

from itertools import islice

import pytest

from minimind.data.mistakes import longest_beginning
from minimind.data.world import World


@pytest.fixture(scope="module")
def world():
    return World(seed=0)


def test_every_beginning_of_a_document_of_the_world_is_without_mistake(world):
    for number, document in enumerate(islice(world.documents("validation"), 100)):
        beginning = document.text[: 1 + 37 * number % len(document.text)]
        assert longest_beginning(world.write, beginning) == len(beginning)
        assert longest_beginning(world.write, document.text) == len(document.text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Sums: 12 + 7 = 18. 3 + 4 = 7.", "Sums: 12 + 7 = 1"),
        ("Games: The last of flint map logbook is map.", "Games: The last of flint map logbook is "),
        ("Games: Spell gown: g o w m.", "Games: Spell gown: g o w "),
        ("Once upon a time", ""),
        ("", ""),
    ],
)
def test_the_first_mistake_is_found(world, text, right):
    assert text[: longest_beginning(world.write, text)] == right


def test_a_story_whose_ending_forgets_a_gift_is_wrong_where_it_forgets(world):
    story = (
        "One hot evening, Erik the gardener and his neighbour Tala were on the mountain. Erik had a dark "
        "torch. Tala had an icy mitten. In between, he handed the torch to her, and she felt grateful. Once "
        "more, she planted a flag. Then she rested in the hut. In the end, "
    )
    true, forgetful = "Tala had the torch.", "Erik had the torch."
    assert longest_beginning(world.write, story + true) == len(story + true)
    assert longest_beginning(world.write, story + forgetful) == len(story)
