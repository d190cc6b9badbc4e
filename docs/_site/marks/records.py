"""`<!-- record: normalization/exp4_pre_or_post -->`: says that a result was recorded, by which command and on what."""

from __future__ import annotations

import re
from typing import Any

from ..run.state import build
from .markup import escape

MARK = re.compile(r"<!-- record: (\S+) -->")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return place(markdown)


def place(markdown: str) -> str:
    """Fill in the marks; a record that is missing or stale fails the build."""
    return MARK.sub(lambda found: _line(found[1]), markdown)


def _line(name: str) -> str:
    from minimind.course import record
    from minimind.errors import UserError

    try:
        stale = record.is_stale(name)
        script = record.find_script(name)
        made = record.read(script.with_suffix(".json"))
    except UserError as error:
        return build.fail(build.page.file.src_uri, str(error))
    if stale:
        return build.fail(
            build.page.file.src_uri, f"the record {name} is of other code; run `minimind record {name}`"
        )
    seconds = made["seconds"]
    time = f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    reason = f"it takes {time}"
    if "over_trainings(" in script.read_text(encoding="utf-8"):
        # Once for all such records, which is no part of these seconds.
        reason = "ten models are trained for it"
    return (
        f'<p class="mm-record">Recorded, because {reason}: '
        f"<code>minimind record {escape(name)}</code> made these numbers on {escape(made['machine'])} with "
        f"{made['threads']} thread{'s' if made['threads'] > 1 else ''} and torch {escape(made['torch'])}. "
        "This build has checked that the code is still the same.</p>"
    )
