"""Style and output of every figure: Figure objects without pyplot, equal data give equal bytes."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import PercentFormatter

from act_eval.stats import SuccessRate
from act_eval.types.episodes import OUTCOME_COLOURS, OUTCOMES

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): distinct under every common kind of colour blindness."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_DPI = 150
_COLUMNS = 3
_INK = "#444444"
_SMALL = 7.5
_LINE_IN = 0.16
"""Height of a line of text beyond those that a figure has room for [in]."""


class Look(NamedTuple):
    """Colour, marker and dashes of one method; no two differ in colour alone."""

    colour: str
    marker: str
    dashes: str


def looks(count: int) -> list[Look]:
    """Return `count` looks."""
    return list(islice(map(Look, cycle(COLOURS), cycle(_MARKERS), cycle(_DASHES)), count))


OUTCOME_LOOKS: Mapping[str, Look] = {
    outcome: Look(OUTCOME_COLOURS[outcome], marker, "-")
    for outcome, marker in zip(OUTCOMES, ("*", "X", "o", "s", "^", "D", "v", "P"), strict=True)
}
"""Outcome → its look in every figure; the colours are those of the review page in its light theme."""


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


def rate_line(
    axis: Axes, places: Sequence[float], rates: Sequence[SuccessRate], label: str, look: Look, size: float = 5
) -> None:
    """Draw success rates with their 95 % Wilson intervals, joined by a line.

    Args:
        axis: where.
        places: of the rates along it.
        rates: as many.
        label: in the legend.
        look: of line and marks.
        size: of a mark [pt]; lines and ends of bars go with it.
    """
    values, ends = [rate.rate for rate in rates], [rate.wilson() for rate in rates]
    below = [value - end.low for value, end in zip(values, ends, strict=True)]
    above = [end.high - value for value, end in zip(values, ends, strict=True)]
    axis.errorbar(
        places,
        values,
        yerr=[below, above],
        label=label,
        color=look.colour,
        marker=look.marker,
        linestyle=look.dashes,
        markersize=size,
        capsize=size / 2,
        linewidth=0.4 + 0.2 * size,
    )


def rate_axis(axis: Axes, label: str) -> None:
    """Set the vertical axis to 0 … 100 %."""
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel(label)
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def panel_title(axis: Axes, title: str, beside: float = 1.0) -> None:
    """Set the title of a panel, in as many lines as its width needs; labels beside it take `beside` inches."""
    figure = axis.get_figure(root=True)
    place = axis.get_subplotspec()
    assert figure is not None
    assert place is not None
    width = figure.get_figwidth() / place.get_gridspec().ncols - beside
    axis.set_title(_wrapped(title, width, 9), fontsize=9)


def caption(figure: Figure, title: str, note: str, axes: Sequence[Axes] = ()) -> None:
    """Set the title above, and below one legend for `axes`, each label once, with a note about the marks.

    Title, note and labels take as many lines as the figure's width needs, and the figure grows by them.
    """
    width = figure.get_figwidth() - 0.3
    title, note = _wrapped(title, width, 11), _wrapped(note, width, _SMALL)
    figure.suptitle(title, fontsize=11)
    found = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found.update({label: handle for handle, label in zip(handles, labels, strict=True) if label not in found})
    labels = [_wrapped(label, width - 0.7, 8) for label in found]
    columns = max(1, min(3, len(found), int(width / (max((_width(label, 8) for label in labels), default=0) + 0.7))))
    if found:
        legend = figure.legend(
            list(found.values()),
            labels,
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
            title=note,
            title_fontsize=_SMALL,
        )
        legend.get_title().set_color(_INK)
        legend.get_title().set_multialignment("center")
    else:
        figure.supxlabel(note, fontsize=_SMALL, color=_INK)
    lines = [text.count("\n") for text in (title, note)]
    lines += [max((axis.get_title().count("\n") for axis in figure.axes), default=0) * _rows(figure)]
    lines += [max(-(-sum(1 + label.count("\n") for label in labels) // columns) - 3, 0)]
    figure.set_figheight(figure.get_figheight() + _LINE_IN * sum(lines))


def _rows(figure: Figure) -> int:
    places = (axis.get_subplotspec() for axis in figure.axes)
    return max((place.get_gridspec().nrows for place in places if place is not None), default=1)


def _wrapped(text: str, width: float, size: float) -> str:
    """Return a text in lines of at most `width` inches at a font size of `size` points."""
    columns, lines = len(text), text
    while columns > 8 and (present := _width(lines, size)) > width:
        columns = max(8, min(columns - 1, int(columns * width / present) + 1))
        lines = textwrap.fill(text, columns, break_on_hyphens=False)
    return lines


def _width(text: str, size: float) -> float:
    """Return the width of the widest line [in]."""
    font = FontProperties(size=size)
    widths = (text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.splitlines())
    return max(widths, default=0.0) / 72


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `STEM.png` and `STEM.svg`; without dates and random names."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # laid out once for both
    with mpl.rc_context({"svg.hashsalt": "act_eval", "svg.fonttype": "none"}):
        for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
            unfinished = path.with_name(path.name + ".part")
            figure.savefig(unfinished, format=path.suffix[1:], dpi=_DPI, metadata=metadata)
            unfinished.replace(path)
    return paths
