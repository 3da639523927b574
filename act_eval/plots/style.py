"""Style and output of every figure: Figure objects without pyplot, equal data give equal bytes."""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): distinct under every common kind of colour blindness."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_DPI = 150
_COLUMNS = 3
_INK = "#444444"
_SMALL = 7.5


class Look(NamedTuple):
    """Colour, marker and dashes of one method; no two differ in colour alone."""

    colour: str
    marker: str
    dashes: str


def looks(count: int) -> list[Look]:
    """Return `count` looks."""
    return list(islice(map(Look, cycle(COLOURS), cycle(_MARKERS), cycle(_DASHES)), count))


def panels(count: int, width: float = 3.6, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` axes, at most three side by side; `width` and `height` of one are in inches."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(width * columns, 4.2) + 0.6, height * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes[:count]


def rate_axis(axis: Axes, label: str) -> None:
    """Set the vertical axis to 0 … 100 %."""
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel(label)
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def caption(figure: Figure, title: str, note: str, axes: Sequence[Axes] = ()) -> None:
    """Set the title above, and below one legend for `axes`, each label once, with a note about the marks."""
    figure.suptitle(title, fontsize=11)
    found = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found.update({label: handle for handle, label in zip(handles, labels, strict=True) if label not in found})
    if not found:
        figure.supxlabel(note, fontsize=_SMALL, color=_INK)
        return
    legend = figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=min(3, len(found)),
        fontsize=8,
        frameon=False,
        title=note,
        title_fontsize=_SMALL,
    )
    legend.get_title().set_color(_INK)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `STEM.png` and `STEM.svg`; without dates and random names."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    with mpl.rc_context({"svg.hashsalt": "act_eval", "svg.fonttype": "none"}):
        for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
            unfinished = path.with_name(path.name + ".part")
            figure.savefig(unfinished, format=path.suffix[1:], dpi=_DPI, metadata=metadata)
            unfinished.replace(path)
    return paths
