"""Where conditions close between two blocks: a histogram along the axis target → confuser, and the view from above."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from act_eval.diagnostics.grasp_choice import ConditionGrasps
from act_eval.plots.style import OUTCOME_LOOKS, caption, looks, panel_title, panels
from act_eval.types.episodes import BETWEEN

_RANGE = (-0.4, 1.4)
_BINS = np.linspace(*_RANGE, 37)
_BLOCKS = {"target": 0.0, "confuser": 1.0}
_OUTSIDE = "grasps beyond the ends are in the outermost bins"


def grasp_histogram(conditions: Mapping[str, ConditionGrasps], title: str) -> Figure:
    """Return a histogram of the grasp choice per condition; the range between the blocks is shaded.

    Args:
        conditions: Name of a condition → its grasps.
        title: Title of the figure.
    """
    figure, axes = panels(len(conditions))
    for axis, (name, grasps) in zip(axes, conditions.items(), strict=True):
        axis.axvspan(*BETWEEN, color="#eeeeee", zorder=0)
        axis.hist(np.clip(grasps.choices, *_RANGE), bins=list(_BINS), color=looks(1)[0].colour)
        panel_title(axis, f"{name}: {grasps.verdict.mode}, n = {grasps.counts.total}")
        _name_blocks(axis)
        axis.set_ylabel("grasps")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    caption(figure, title, f"grasp choice; grey: halfway between the blocks; {_OUTSIDE}")
    return figure


def grasp_map(conditions: Mapping[str, Mapping[str, NDArray[np.float64]]], title: str) -> Figure:
    """Return a map per condition: its grasps, seen from above, with both blocks.

    Args:
        conditions: Name of a condition → outcome → grasp positions (n, 2) in the frame of
            `act_eval.diagnostics.grasp_choice.grasp_points`.
        title: Title of the figure.
    """
    figure, axes = panels(len(conditions))
    for axis, (name, points) in zip(axes, conditions.items(), strict=True):
        for place in _BLOCKS.values():
            axis.plot(place, 0, marker="s", markersize=16, color="#dddddd", linestyle="none", zorder=1)
        for outcome, at in points.items():
            look = OUTCOME_LOOKS[outcome]
            marks = {"color": look.colour, "marker": look.marker, "markersize": 4, "alpha": 0.7}
            marks |= {"markeredgecolor": "#16181b", "markeredgewidth": 0.3}  # white marks are seen too
            axis.plot(at[:, 0], at[:, 1], linestyle="none", label=outcome.replace("_", " "), **marks)
        panel_title(axis, f"{name}, n = {sum(len(at) for at in points.values())}")
        _name_blocks(axis)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_ylabel("offset [distance of the blocks]")
    caption(figure, title, "grasps seen from above, in units of the distance of the blocks; squares: the blocks", axes)
    return figure


def _name_blocks(axis: Axes) -> None:
    axis.set_xlim(*_RANGE)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["target", "0.25", "0.5", "0.75", "confuser"], fontsize=8)
