"""Success against delay, a line with its intervals for every method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from act_eval.plots.style import caption, looks, panel_title, panels, rate_axis, rate_line
from act_eval.stats import SuccessRate

_SPREAD = 0.09  # steps of delay between the marks of neighbouring methods, so that their intervals stay visible


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One method over its delays."""

    label: str
    delays: tuple[int, ...]
    """[steps], rising."""
    rates: tuple[SuccessRate, ...]


def success_against_delay(by_panel: Mapping[str, Sequence[Curve]], title: str, control_s: float) -> Figure:
    """Return a figure with one panel per entry; a method has the same look in all of them.

    Args:
        by_panel: Title of a panel → its curves.
        title: Title of the figure.
        control_s: Δt [s], for the second scale.
    """
    labels = list(dict.fromkeys(curve.label for curves in by_panel.values() for curve in curves))
    look_of = dict(zip(labels, looks(len(labels)), strict=True))
    figure, axes = panels(len(by_panel))
    for axis, (name, curves) in zip(axes, by_panel.items(), strict=True):
        for curve in curves:
            look = look_of[curve.label]
            offset = (labels.index(curve.label) - (len(labels) - 1) / 2) * _SPREAD
            rate_line(axis, [delay + offset for delay in curve.delays], curve.rates, curve.label, look)
        panel_title(axis, name)
        axis.set_xticks(sorted({delay for curve in curves for delay in curve.delays}))
        axis.set_xlabel(f"delay d [steps of {1000 * control_s:g} ms]")
        rate_axis(axis, "success")
    counts = sorted({rate.trials for curves in by_panel.values() for curve in curves for rate in curve.rates})
    caption(figure, title, f"{episodes_text(counts)} per point, the same for all; bars: 95 % Wilson intervals", axes)
    return figure


def episodes_text(counts: Sequence[int]) -> str:
    """Return a number of episodes, or the range of several."""
    return f"n = {counts[0]} episodes" if len(set(counts)) == 1 else f"n = {min(counts)} to {max(counts)} episodes"
