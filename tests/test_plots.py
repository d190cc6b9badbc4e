"""The house style: colours that can be told apart and read, and the helpers that draw."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from minimind.course import plots

mpl.use("Agg")
plt = plots.plt
CSS = Path(__file__).parents[1] / "docs" / "assets" / "css" / "site.css"
NAMES = ("BLUE", "ORANGE", "GREEN", "PURPLE", "OCHRE", "SLATE")

# What becomes of a colour, in linear RGB (Machado, Oliveira and Fernandes 2009).
BLINDNESS = {
    "none": np.eye(3),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    light, dark = sorted(((TO_XYZ @ linear(colour))[1] for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def scheme(name: str) -> dict[str, str]:
    """The figure colours of a scheme, from the style sheet."""
    text = CSS.read_text(encoding="utf-8")
    part = text[text.index(f'[data-md-color-scheme="{name}"] {{') :]
    part = part[: part.index("}")]
    return {key.upper(): value for key, value in re.findall(r"--mm-([a-z]+): (#[0-9a-f]{6});", part)}


@pytest.mark.parametrize("name", ["default", "slate"])
def test_colours_are_read_like_text_on_their_page(name: str) -> None:
    colours = scheme(name)
    for key in (*NAMES, "MUTED"):
        assert contrast(colours[key], colours["PAPER"]) > 4.5, key


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("name", ["default", "slate"])
def test_colours_keep_apart(name: str, blindness: str) -> None:
    seen = {key: lab(BLINDNESS[blindness] @ linear(scheme(name)[key])) for key in NAMES}
    for one, other in combinations(NAMES, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 15, (one, other)


def test_the_light_page_has_the_colours_of_the_figures() -> None:
    colours = scheme("default")
    for key in (*NAMES, "MUTED"):
        assert colours[key] == getattr(plots, key)
    assert [getattr(plots, key) for key in NAMES] == plots.PALETTE


def test_labels_stand_at_the_lines_and_apart() -> None:
    plots.style()
    _, ax = plt.subplots()
    for offset in (0.0, 0.001, 1.0):
        ax.plot([0, 1, 2], [0, offset, np.nan], label=f"line {offset}")
    ax.plot([0, 1], [0, 1])  # without a label
    plots.label_lines(ax, gap=12)
    texts = ax.texts
    assert sorted(text.get_text() for text in texts) == ["line 0.0", "line 0.001", "line 1.0"]
    heights = sorted(text.get_window_extent().y0 * 72 / ax.figure.dpi for text in texts)
    assert np.diff(heights).min() > 11.9
    assert {text.get_color() for text in texts} == set(plots.PALETTE[:3])
    plt.close("all")


def test_a_heat_map_puts_row_0_on_top_and_marks_its_sign() -> None:
    _, ax = plt.subplots()
    mesh = plots.heatmap(ax, [[0.0, 1.0], [-2.0, 0.5]], ["a", "b"], ["c", "d"], values=".1f")
    assert ax.yaxis_inverted()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    shades = mesh.to_rgba(mesh.get_array())
    zero, _, low, _ = np.asarray(shades).reshape(4, 4)
    assert zero[3] < 0.01, "zero is transparent"
    assert np.allclose(low[:3], mpl.colors.to_rgb(plots.ORANGE), atol=0.01)
    assert [text.get_text() for text in ax.texts] == ["0.0", "1.0", "-2.0", "0.5"]
    plt.close("all")
