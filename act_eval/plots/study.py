"""What the cells of a study reached: success with its interval, cell by cell."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from act_eval.plots.style import caption, looks, panels
from act_eval.stats import SuccessRate

_LINE = 0.24  # height of a cell [in]


def success_of_cells(questions: Mapping[str, Sequence[tuple[str, SuccessRate, str]]], title: str) -> Figure:
    """Return one panel per question: the success of each cell with its 95 % Wilson interval.

    Args:
        questions: Question → (name of the cell, its success, where it closes), from top to bottom.
        title: Of the figure.
    """
    modes = list(dict.fromkeys(mode for cells in questions.values() for _, _, mode in cells))
    look_of = dict(zip(modes, looks(len(modes)), strict=True))
    tallest = max(len(cells) for cells in questions.values())
    figure, axes = panels(len(questions), width=4.4, height=0.9 + _LINE * tallest)
    for axis, (question, cells) in zip(axes, questions.items(), strict=True):
        for place, (_, success, mode) in enumerate(cells):
            low, high = success.wilson()
            look = look_of[mode]
            axis.plot([low, high], [place, place], color=look.colour, linewidth=1.6)
            axis.plot(success.rate, place, look.marker, color=look.colour, markersize=5, linestyle="none", label=mode)
        axis.set_yticks(range(len(cells)), [name for name, _, _ in cells], fontsize=8)
        axis.set_ylim(tallest - 0.4, -0.6)
        axis.set_xlim(-0.03, 1.03)
        axis.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        axis.set_title(question, fontsize=9)
    caption(figure, title, "success with the confuser present, 95 % Wilson; colour: where the gripper closes", axes)
    return figure
