"""What a page says of a record."""

from __future__ import annotations

import re

import pytest
from _site.marks import records


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("normalization/exp4_pre_or_post", r"it takes \d+ minutes"),
        ("residual_connections/exp3_logit_lens", "ten models are trained for it"),
    ],
)
def test_a_record_says_why_it_is_one(name: str, reason: str) -> None:
    said = records.place(f"Before.\n\n<!-- record: {name} -->\n")
    assert re.search(f"Recorded, because {reason}: <code>minimind record {name}</code>", said)
