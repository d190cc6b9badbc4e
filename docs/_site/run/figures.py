"""Turn a matplotlib figure into SVG that belongs to its page: the page's colours, font and identifiers."""

from __future__ import annotations

import html
import io
import re
from typing import Any

COLOURS = ("BLUE", "ORANGE", "GREEN", "PURPLE", "OCHRE", "SLATE", "MUTED", "PAPER")
ID, ALT = "@@ID@@", "@@ALT@@"


def figure_to_svg(figure: Any) -> str:
    """Draw a figure without date, background and random identifiers."""
    out = io.StringIO()
    figure.savefig(
        out, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.06, metadata={"Date": None}
    )
    return clean_svg(out.getvalue())


def clean_svg(svg: str) -> str:
    """Keep of an SVG what a page needs; `place_svg` fills in identifiers and alternative text later."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.S)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r'\s+id="([^"]+)"', lambda m: f' id="{ID}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'((?:href="|url\()#)', rf"\1{ID}", svg)
    # Points become CSS pixels, so that 10 pt text on paper is 13 px text on the page.
    svg = re.sub(
        r'(width|height)="([\d.]+)pt"', lambda m: f'{m[1]}="{float(m[2]) * 4 / 3:.0f}"', svg, count=2
    )
    svg = recolour(svg)
    # Digits beyond a hundredth of a point are weight without sight.
    svg = re.sub(r"(\d+\.\d\d)\d+(?=[ \",)\n])", r"\1", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return svg.replace("<svg ", f'<svg data-search-exclude role="img" aria-label="{ALT}" ', 1)


def recolour(svg: str) -> str:
    """Swap the colours of the house style for variables of the colour scheme."""
    from minimind.course import plots

    svg = svg.replace(plots.INK, "currentColor")
    for name in COLOURS:
        colour = getattr(plots, name)
        svg = svg.replace(colour, f"var(--mm-{name.lower()}, {colour})")
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    return re.sub(r"font: (?:[a-z]+ )*([\d.]+px) [^;\"]+", r"font-size: \1", svg)


def place_svg(svg: str, identity: str, alt: str) -> str:
    """An SVG with identifiers that nothing else on the page has, and its alternative text."""
    return svg.replace(ID, f"{identity}-").replace(ALT, html.escape(alt))
