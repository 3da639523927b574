"""Success against severity: a small panel per axis of perturbation."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from act_eval.plots.curves import episodes_text
from act_eval.plots.style import caption, looks, panel_title, panels, rate_axis, rate_line
from act_eval.stats import SuccessRate

_SPREAD = 0.06  # of severity between neighbouring lines, so that their intervals stay visible

Line = Sequence[tuple[int, SuccessRate]]
"""(Severity, success rate) by rising severity; 0 is the unperturbed twin."""


def success_against_severity(by_axis: Mapping[str, Mapping[str, Line]], title: str) -> Figure:
    """Return a figure with a small panel per axis, and in it a line per unperturbed condition.

    Args:
        by_axis: axis → label of a line → its points.
        title: of the figure.
    """
    labels = list(dict.fromkeys(label for lines in by_axis.values() for label in lines))
    look_of = dict(zip(labels, looks(len(labels)), strict=True))
    figure, axes = panels(len(by_axis), width=2.4, height=1.9)
    for axis, (name, lines) in zip(axes, by_axis.items(), strict=True):
        for label, points in lines.items():
            look, offset = look_of[label], (labels.index(label) - (len(labels) - 1) / 2) * _SPREAD
            places = [severity + offset for severity, _ in points]
            rate_line(axis, places, [rate for _, rate in points], label, look, size=4)
        panel_title(axis, name.replace("_", " "))
        axis.set_xlim(-0.4, 5.4)
        axis.set_xticks(range(6))
        axis.set_xlabel("severity", fontsize=8)
        rate_axis(axis, "success")
    counts = sorted({rate.trials for lines in by_axis.values() for points in lines.values() for _, rate in points})
    note = f"severity 0: unperturbed; {episodes_text(counts)} per point, on the same seeds; bars: 95 % Wilson intervals"
    caption(figure, title, note, axes)
    return figure
