"""The house style of every figure: colours, labels at the lines, heat maps that work on light and dark pages.

The six colours keep apart for the common kinds of colour blindness and stand out on white as text does
(contrast of 4.5 to 1 and more). On a page the build swaps each of them for a variable of the page's colour
scheme, so use these names and no colours of your own. Each part of the model has one colour: a query is blue
in every figure.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.lines import Line2D

INK = "#1d2430"
PAPER = "#fefefe"
MUTED = "#5f6877"

BLUE = "#1f62d6"
ORANGE = "#b5560f"
GREEN = "#0a7f62"
PURPLE = "#9236a0"
OCHRE = "#5c4204"
SLATE = "#333d54"
PALETTE = [BLUE, ORANGE, GREEN, PURPLE, OCHRE, SLATE]

QUERY = BLUE
KEY = ORANGE
VALUE = GREEN
RESIDUAL = PURPLE
FLOOR = MUTED

STYLE: dict[str, Any] = {
    "figure.figsize": (5.6, 3.2),
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "font.size": 10,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "minimind",
}


def style() -> None:
    """Use the house style for every figure from here on."""
    for name, value in STYLE.items():
        plt.rcParams[name] = value  # type: ignore[index]


def label_lines(ax: Axes, gap: float = 12.0) -> None:
    """Write each line's label at its right end, in the line's colour, instead of a legend.

    Call it last: it reads the final limits of the axes. Labels that would overlap are moved apart.

    Args:
        ax: the axes whose lines carry `label=`.
        gap: smallest distance between two labels, in points.
    """
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [(_last_point(line), line) for line in lines]
    ends.sort(key=lambda end: ax.transData.transform(end[0])[1])
    points_per_pixel = 72.0 / ax.figure.dpi
    previous = -np.inf
    for (x, y), line in ends:
        height = ax.transData.transform((x, y))[1] * points_per_pixel
        moved = max(height, previous + gap)
        previous = moved
        ax.annotate(
            str(line.get_label()), (x, y), xytext=(5, moved - height), textcoords="offset points",
            color=line.get_color(), va="center", annotation_clip=False,
        )  # fmt: skip


def _last_point(line: Line2D) -> tuple[float, float]:
    """The last point of a line that is a finite number."""
    x = np.asarray(line.get_xdata(), dtype=float)
    y = np.asarray(line.get_ydata(), dtype=float)
    last = np.flatnonzero(np.isfinite(x) & np.isfinite(y))[-1]
    return float(x[last]), float(y[last])


def mark_floor(ax: Axes, value: float, label: str) -> None:
    """Draw a dotted level line across the axes, with its label at the left end, just above it."""
    ax.axhline(value, color=FLOOR, linestyle=":", linewidth=1.4)
    ax.annotate(
        label, (0, value), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
        color=FLOOR, va="bottom",
    )  # fmt: skip


def heatmap(
    ax: Axes,
    matrix: Any,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    colour: str = BLUE,
    values: str | None = None,
) -> QuadMesh:
    """Draw a matrix as cells: the deeper the colour, the larger the number; below zero in orange.

    Small values are transparent rather than white, so the map reads alike on a light and on a dark page.

    Args:
        ax: where to draw; row 0 comes on top.
        matrix: (rows, columns) numbers, a tensor or an array.
        rows: a label for each row.
        columns: a label for each column.
        colour: the colour of large numbers.
        values: a format such as `.2f` to write each number into its cell.

    Returns:
        The mesh, for `colorbar`.
    """
    numbers = np.asarray(matrix, dtype=float)
    low, high = min(float(np.nanmin(numbers)), 0.0), max(float(np.nanmax(numbers)), 1e-12)
    shades = [(*to_rgb(colour), 0.0), (*to_rgb(colour), 1.0)]
    norm = Normalize(low, high)
    if low < 0:
        shades = [(*to_rgb(ORANGE), 1.0), (*to_rgb(PAPER), 0.0), (*to_rgb(colour), 1.0)]
        norm = Normalize(-max(-low, high), max(-low, high))
    shading = LinearSegmentedColormap.from_list("minimind", shades)
    mesh = ax.pcolormesh(numbers, cmap=shading, norm=norm, linewidth=0)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    if rows is not None:
        ax.set_yticks(np.arange(len(rows)) + 0.5, rows)
    if columns is not None:
        crowded = len("".join(columns)) > 24
        ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if crowded else 0)
    ax.tick_params(length=0)
    if values is not None:
        for (row, column), number in np.ndenumerate(numbers):
            deep = abs(number) > 0.6 * max(-low, high)
            ink = PAPER if deep else INK
            ax.text(column + 0.5, row + 0.5, format(number, values), ha="center", va="center", color=ink)
    return mesh
