"""Reaction times, and times to success with failed episodes censored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from act_eval.plots.curves import episodes_text
from act_eval.plots.style import caption, looks, panel_title, panels, rate_axis


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one method's episodes."""

    label: str
    seconds: tuple[float, ...]
    """Times of the episodes with the event [s]."""
    never: int
    """Episodes that ended without the event."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.seconds) + self.never


def shares_by_time(times: Times) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps of the cumulative incidence, times [s] and shares, from (0, 0) on.

    Every episode reaches the same horizon or ends for good before it, so this is one minus the survival curve with
    failures kept to the end.
    """
    at, counts = np.unique(np.asarray(times.seconds, np.float64), return_counts=True)
    shares = np.cumsum(counts) / max(times.episodes, 1)
    return np.concatenate([[0.0], at]), np.concatenate([[0.0], shares])


def survival(by_panel: Mapping[str, Sequence[Times]], title: str, horizon_s: float) -> Figure:
    """Return a figure of the share of episodes that have not succeeded yet, a panel per entry."""
    figure, axes = _stairs(by_panel, horizon_s, falling=True)
    for axis in axes:
        axis.set_xlabel("time in the episode [s]")
        rate_axis(axis, "not yet succeeded")
    note = "failed episodes are censored at the horizon"
    caption(figure, title, f"{_count(by_panel)} per line; {note}", axes)
    return figure


def reactions(by_panel: Mapping[str, Sequence[Times]], title: str, horizon_s: float, meaning: str) -> Figure:
    """Return a figure of the share of episodes in which the policy has reacted, a panel per entry.

    Args:
        by_panel: Title of a panel → its methods.
        title: Title of the figure.
        horizon_s: Length of an episode [s].
        meaning: What counts as a reaction.
    """
    longest = max((max(t.seconds, default=0.0) for times in by_panel.values() for t in times), default=0.0)
    figure, axes = _stairs(by_panel, min(horizon_s, longest * 1.1 + 0.1), falling=False)
    for axis in axes:
        axis.set_xlabel("time since the event [s]")
        rate_axis(axis, "have reacted")
    caption(
        figure, title, f"{_count(by_panel)} with an event per line; reacted: {meaning}; the rest did not react", axes
    )
    return figure


def _stairs(by_panel: Mapping[str, Sequence[Times]], end_s: float, falling: bool) -> tuple[Figure, list[Axes]]:
    labels = list(dict.fromkeys(times.label for entries in by_panel.values() for times in entries))
    look_of = dict(zip(labels, looks(len(labels)), strict=True))
    figure, axes = panels(len(by_panel))
    for axis, (name, entries) in zip(axes, by_panel.items(), strict=True):
        for times in entries:
            at, shares = shares_by_time(times)
            at, shares = np.append(at, end_s), np.append(shares, shares[-1])
            look = look_of[times.label]
            values = 1 - shares if falling else shares
            axis.step(at, values, where="post", color=look.colour, linestyle=look.dashes, label=times.label)
        axis.set_xlim(0, end_s)
        panel_title(axis, name)
    return figure, axes


def _count(by_panel: Mapping[str, Sequence[Times]]) -> str:
    return episodes_text(sorted({times.episodes for entries in by_panel.values() for times in entries}))
