"""The one drawing of the model that every page shares, with the part that the page is about lit up."""

from __future__ import annotations

from typing import Any

from ..marks.markup import check_keys
from ..run.state import BlockError

# name -> (x, y, width, label); boxes are 34 high. The stream runs up the middle at x = 60.
BOXES = {
    "embedding": (20, 392, 120, "token embedding"),
    "norm-1": (110, 322, 96, "RMSNorm"),
    "rope": (216, 298, 84, "RoPE on Q, K"),
    "attention": (110, 274, 96, "attention"),
    "norm-2": (110, 186, 96, "RMSNorm"),
    "feed-forward": (110, 138, 96, "feed-forward"),
    "final-norm": (20, 58, 80, "RMSNorm"),
    "head": (20, 10, 120, "next-token scores"),
}
PARTS = {
    "embedding": ["embedding"], "norm": ["norm-1", "norm-2", "final-norm"], "attention": ["attention"],
    "rope": ["rope"], "residual": ["stream"], "feed-forward": ["feed-forward"], "head": ["head"],
    "block": ["frame"],
}  # fmt: skip
SPOKEN = {
    "embedding": "token embedding", "norm": "RMSNorm", "attention": "attention", "rope": "RoPE",
    "residual": "the residual stream", "feed-forward": "feed-forward", "head": "the output layer",
    "block": "the block",
}  # fmt: skip
STREAM = 60


def diagram(data: Any, md: Any) -> str:
    """The fence: `here: norm`, or a list."""
    check_keys(data, {"here"}, set(), "a diagram")
    here = data["here"] if isinstance(data["here"], list) else [data["here"]]
    if unknown := set(here) - set(PARTS):
        raise BlockError(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    return draw(here)


def draw(here: list[str]) -> str:
    """The pre-norm block, read from the bottom to the top."""
    lit = {name for part in here for name in PARTS[part]}
    spoken = " and ".join(SPOKEN[part] for part in here)
    alt = (
        "The model from bottom to top: token embedding, then a block repeated for each layer, in which "
        "attention and feed-forward each read the normalized stream and add to it, then a last RMSNorm and "
        "the scores of the next token. "
        f"You are here: {spoken}."
    )
    shapes = [
        '<defs><marker id="mm-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6"'
        ' orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>',
        f'<rect class="mm-map__frame{_lit("frame", lit)}" x="8" y="108" width="304" height="262" rx="10"/>',
        '<text class="mm-map__note" x="300" y="128" text-anchor="end">one block, repeated</text>',
    ]
    stream = f"mm-map__stream{_lit('stream', lit)}"
    shapes += [
        f'<path class="{stream}" d="M{STREAM} 392V256"/>', f'<path class="{stream}" d="M{STREAM} 236V124"/>',
        f'<path class="{stream}" d="M{STREAM} 104V92"/>', f'<path class="{stream}" d="M{STREAM} 58V44"/>',
    ]  # fmt: skip
    for enter, norm, work, leave in ((366, 322, 274, 246), (222, 186, 138, 114)):
        shapes += [
            f'<path class="mm-map__wire" d="M{STREAM} {enter}H158V{norm + 34}"/>',
            f'<path class="mm-map__wire" d="M158 {norm}V{work + 34}"/>',
            f'<path class="mm-map__wire" d="M158 {work}V{leave}H{STREAM + 11}"/>',
            f'<g class="mm-map__add{_lit("stream", lit)}"><circle cx="{STREAM}" cy="{leave}" r="10"/>'
            f'<path d="M{STREAM - 5} {leave}h10M{STREAM} {leave - 5}v10"/></g>',
        ]
    shapes.append('<path class="mm-map__wire" d="M216 315H211V291H207"/>')
    for name, (x, y, width, label) in BOXES.items():
        shapes.append(
            f'<g class="mm-map__box{_lit(name, lit)}">'
            f'<rect x="{x}" y="{y}" width="{width}" height="34" rx="6"/>'
            f'<text x="{x + width / 2}" y="{y + 21.5}" text-anchor="middle">{label}</text></g>'
        )
    return (
        f'<figure class="mm-map" data-search-exclude><svg role="img" aria-label="{alt}" '
        f'viewBox="0 0 320 436" width="320" height="436">{"".join(shapes)}</svg>'
        f"<figcaption>You are here: {spoken}.</figcaption></figure>"
    )


def _lit(name: str, lit: set[str]) -> str:
    return " is-here" if name in lit else ""
