"""The fence ```checklist: things a reader ticks; the browser remembers them."""

from __future__ import annotations

import hashlib
from typing import Any

from ..marks.markup import check_keys, escape, inline
from ..run.state import BlockError, build


def checklist(data: Any, md: Any) -> str:
    """A list of boxes. An item is text, or `{id: ..., text: ...}` if its tick should outlive a rewording."""
    if not isinstance(data, list) or not data:
        raise BlockError("a checklist is a YAML list")
    page = build.page.file.src_uri if build.page else ""
    rows = []
    for item in data:
        if isinstance(item, dict):
            check_keys(item, {"id", "text"}, set(), "an item")
            identity, text = str(item["id"]), str(item["text"])
        else:
            text = str(item)
            identity = hashlib.sha256(f"{page}\n{text}".encode()).hexdigest()[:10]
        rows.append(
            f'<li><label><input type="checkbox" data-check="{escape(identity)}">'
            f"<span>{inline(md, text)}</span></label></li>"
        )
    return f'<ul class="mm-checklist">{"".join(rows)}</ul>'
