"""The look of every figure: one theme, one colour for each class, power and condition.

Figures are made as `matplotlib.figure.Figure`, never through pyplot, so that nothing is global but the theme,
which holds only while a figure is drawn. Sizes are print sizes: 7.2 in is a page's text width, and no text is
below 8 pt on it.
"""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import fontManager

from rfmodel.figures.selection import conditions

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

WIDTH = 7.2
DPI = 200
INK = "#222222"
# Tried in turn for characters that DejaVu Sans lacks, as far as they are installed.
FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans", "PingFang SC"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Emoji", "Unifont"),
)
NULL = "#B8B8B8"

# Blue, vermilion, amber and grey differ in lightness as well as in hue, so that they stay apart without red
# or green.
KIND_COLOURS = {
    "centre-surround": "#0072B2",
    "oriented": "#D55E00",
    "mixed": "#F0B323",
    "unstructured": "#8C8C8C",
    "dead": "#E9E9E9",
}
POWER_COLOURS = {"p0": "#0072B2", "p1": "#F0B323", "p2": "#D55E00", "p_rest": "#C4C4C4"}

# Tol's muted palette, ordered so that neighbours differ most; a figure never overlays more than its length.
CONDITION_PALETTE = ("#332288", "#CC6677", "#117733", "#56A9D0", "#999933", "#882255", "#44AA99", "#AA4499")
DASHES = ("-", "--", "-.")  # by which conditions of one colour are told apart on one axis


@functools.cache
def families() -> tuple[str, ...]:
    """Return the fonts of every figure: DejaVu Sans, then those installed that have what it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in FALLBACKS if name in installed))


def theme() -> dict[str, Any]:
    """Return the rcParams of every figure, for `matplotlib.rc_context`."""
    return {
        "font.family": list(families()),
        "text.parse_math": False,  # a dollar in a label is a dollar
        "font.size": 8.0,
        "axes.titlesize": 8.5,
        "axes.labelsize": 8.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.0,
        "figure.titlesize": 9.0,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#555555",
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": "#555555",
        "ytick.color": "#555555",
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.3,
        "hatch.linewidth": 0.5,
        "legend.frameon": False,
        "image.cmap": "RdBu_r",
        "image.interpolation": "nearest",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
    }


def themed(draw: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Return a drawing function that runs under the theme, and leaves matplotlib's settings as they were.

    A character that no font has is drawn as a box, without a warning: labels are the user's, and stand whole in
    the tables.
    """

    @functools.wraps(draw)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        with matplotlib.rc_context(theme()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from (font|current font)", UserWarning)
            return draw(*args, **kwargs)

    return inside


@themed
def new_figure(height: float, width: float = WIDTH, layout: str | None = "constrained") -> Figure:
    """Return an empty figure of a print size in inches, with its own canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


@themed
def new_axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Return an empty figure of a print size in inches, and the axes that fill it."""
    figure = new_figure(height, width)
    return figure, figure.subplots()


@themed
def panel(figure: Figure | SubFigure, title: str) -> Axes:
    """Return axes that fill a part of a figure, under a title that leaves room for their key."""
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure.subplots()


@themed
def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG at 200 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def condition_colours(study: xr.Dataset) -> dict[str, str]:
    """Return the colour of each condition, by its place in the study; it recurs after eight conditions."""
    return {c: CONDITION_PALETTE[i % len(CONDITION_PALETTE)] for i, c in enumerate(conditions(study))}


def condition_dashes(study: xr.Dataset) -> dict[str, str]:
    """Return the line style of each condition: solid for the first eight, another where the colours recur."""
    return {c: DASHES[i // len(CONDITION_PALETTE) % len(DASHES)] for i, c in enumerate(conditions(study))}


def wrapped(label: str, width: int = 20) -> str:
    """Return a label broken into at most three lines; a longer one keeps its ends, by which labels differ."""
    whole = label.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")  # "r = 4" stays on one line
    lines = textwrap.wrap(whole, width) or [label]
    if len(lines) > 3:
        lines = [lines[0], lines[1][: width - 2].rstrip() + " …", lines[-1]]
    return "\n".join(lines)


def line_count(labels: list[str], width: int = 20) -> int:
    """Return the number of lines of the tallest wrapped label."""
    return max((wrapped(label, width).count("\n") + 1 for label in labels), default=1)
