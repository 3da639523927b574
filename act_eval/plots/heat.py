"""Heat maps of success: over delay and execution horizon, and over estimated and actual delay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from act_eval.plots.curves import episodes_text
from act_eval.plots.style import caption, panel_title, panels
from act_eval.stats import SuccessRate


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Rates on a grid."""

    title: str
    across: tuple[int, ...]
    """Values of the horizontal axis, rising."""
    up: tuple[int, ...]
    """Values of the vertical axis, rising."""
    rates: Mapping[tuple[int, int], SuccessRate]
    """(across, up) → rate; absent cells were not part of the grid."""
    refused: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    """Cells that cannot run."""


def heat_maps(maps: Sequence[HeatMap], title: str, across: str, up: str) -> Figure:
    """Return a figure with one panel per map; `across` and `up` name the axes."""
    widest = max(len(one.across) for one in maps)
    tallest = max(len(one.up) for one in maps)
    figure, axes = panels(len(maps), width=max(2.6, 0.62 * widest + 1.0), height=max(2.2, 0.5 * tallest + 0.9))
    image = None
    for axis, one in zip(axes, maps, strict=True):
        image = _draw(axis, one)
        panel_title(axis, one.title, beside=1.6)
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    if image is not None:
        figure.colorbar(image, ax=axes, label="success", shrink=0.9)
    counts = sorted({rate.trials for one in maps for rate in one.rates.values()})
    low, high = "95 % Wilson interval below each rate", "hatched: cannot run; white: not in the grid"
    caption(figure, title, f"{episodes_text(counts)} per cell; {low}; {high}")
    return figure


def _draw(axis: Axes, one: HeatMap) -> AxesImage:
    values = np.full((len(one.up), len(one.across)), np.nan)
    for (x, y), rate in one.rates.items():
        values[one.up.index(y), one.across.index(x)] = rate.rate
    image = axis.imshow(values, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="cividis")
    for (x, y), rate in one.rates.items():
        ends = rate.wilson()
        text = f"{100 * rate.rate:.0f}\n{100 * ends.low:.0f}–{100 * ends.high:.0f}"
        ink = "black" if rate.rate > 0.55 else "white"
        place = (one.across.index(x), one.up.index(y))
        axis.text(*place, text, ha="center", va="center", fontsize=7, color=ink)
    for x, y in one.refused:
        corner = (one.across.index(x) - 0.5, one.up.index(y) - 0.5)
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor="#999999", linewidth=0))
    axis.set_xticks(range(len(one.across)), [str(x) for x in one.across])
    axis.set_yticks(range(len(one.up)), [str(y) for y in one.up])
    axis.grid(visible=False)
    axis.set_xticks([i - 0.5 for i in range(1, len(one.across))], minor=True)
    axis.set_yticks([i - 0.5 for i in range(1, len(one.up))], minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)
    return image
