"""Where conditions close between two blocks: a histogram along the axis target → confuser, and the view from above."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from act_eval.diagnostics.grasp_choice import BETWEEN, ConditionGrasps
from act_eval.plots.style import caption, looks, panels

_RANGE = (-0.4, 1.4)
_BINS = np.linspace(*_RANGE, 37)
_BLOCKS = {"target": 0.0, "confuser": 1.0}
_OUTSIDE = "closings beyond the ends stand in the outermost bin"


def grasp_histogram(conditions: Mapping[str, ConditionGrasps], title: str) -> Figure:
    """Return one panel per condition: how many closings have which grasp choice; the part between the blocks is shaded.

    Args:
        conditions: Name of a condition → its modes.
        title: Of the figure.
    """
    figure, axes = panels(len(conditions))
    for axis, (name, modes) in zip(axes, conditions.items(), strict=True):
        axis.axvspan(*BETWEEN, color="#eeeeee", zorder=0)
        axis.hist(np.clip(modes.indices, *_RANGE), bins=list(_BINS), color=looks(1)[0].colour)
        axis.set_title(f"{name}: {modes.verdict.mode}, n = {modes.closings.total}", fontsize=9)
        _name_blocks(axis)
        axis.set_ylabel("closings")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    caption(figure, title, f"grasp choice of the closing position; grey: between the blocks; {_OUTSIDE}")
    return figure


def grasp_map(conditions: Mapping[str, Mapping[str, NDArray[np.float64]]], title: str) -> Figure:
    """Return one panel per condition: where it closed, seen from above, with both blocks at their places.

    Args:
        conditions: Name of a condition → outcome → closing points (n, 2) in the frame of
            `act_eval.diagnostics.grasp_choice.grasp_points`.
        title: Of the figure.
    """
    outcomes: Sequence[str] = list(dict.fromkeys(outcome for points in conditions.values() for outcome in points))
    look_of = dict(zip(outcomes, looks(len(outcomes)), strict=True))
    figure, axes = panels(len(conditions))
    for axis, (name, points) in zip(axes, conditions.items(), strict=True):
        for place in _BLOCKS.values():
            axis.plot(place, 0, marker="s", markersize=16, color="#dddddd", linestyle="none", zorder=1)
        for outcome, at in points.items():
            look = look_of[outcome]
            marks = {"color": look.colour, "marker": look.marker, "markersize": 4, "alpha": 0.7}
            axis.plot(at[:, 0], at[:, 1], linestyle="none", label=outcome.replace("_", " "), **marks)
        axis.set_title(f"{name}, n = {sum(len(at) for at in points.values())}", fontsize=9)
        _name_blocks(axis)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_ylabel("beside, in lengths of the segment")
    caption(figure, title, "closing points seen from above, target → confuser as the unit; squares: the blocks", axes)
    return figure


def _name_blocks(axis: Axes) -> None:
    axis.set_xlim(*_RANGE)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["target", "0.25", "0.5", "0.75", "confuser"], fontsize=8)
