"""Progress bars: in a terminal with rich, in a notebook with IPython's display."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from act_eval.evaluation.reporter import EpisodeProgress, OnCount, Reporter, Silent
from act_eval.types import SUCCESS, EpisodeRecord

Finished = Mapping[str, Sequence[EpisodeRecord]]
_WINDOW_S = 900.0  # window of the remaining-time estimate; episodes of different conditions take different times
_MOST_BARS = 12
_TEXT_WIDTH = 44
"""Columns of a bar's line beside its name and the bar itself."""


def reporter_for(progress: bool | Reporter) -> Reporter:
    """Return the reporter of a Python call: the given one, a silent one, or that of the notebook or terminal."""
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return Silent()
    return Notebook() if _in_notebook() else Terminal(Console(stderr=True, highlight=False, soft_wrap=True))


def _in_notebook() -> bool:
    try:
        from IPython.core.getipython import get_ipython  # pyright: ignore[reportMissingImports]  # optional
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


class Tally:
    """Counts per condition: finished episodes, successes, and control steps of running episodes."""

    def __init__(self, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> None:
        self.episodes = episodes
        self.done = {name: len(records) for name, records in finished.items()}
        self.succeeded = {name: sum(one.outcome == SUCCESS for one in records) for name, records in finished.items()}
        self._horizons = horizons
        self._running = dict.fromkeys(finished, 0)
        """Control steps of episodes that have not ended."""

    def ended(self, name: str, record: EpisodeRecord) -> None:
        """Count an episode."""
        self.done[name] += 1
        self.succeeded[name] += record.outcome == SUCCESS
        self._running[name] = max(0, self._running[name] - record.steps)

    def stepped(self, name: str, steps: int) -> None:
        """Count control steps."""
        self._running[name] += steps

    def amount(self, name: str) -> float:
        """Return the number of finished episodes; a running episode counts by its share of the horizon."""
        running = self._running[name] / max(1, self._horizons[name])
        return min(self.done[name] + running, float(self.episodes))

    @property
    def total(self) -> float:
        """Sum of `amount` over all conditions."""
        return sum(map(self.amount, self.done))

    def is_complete(self, name: str) -> bool:
        """Return whether all episodes of a condition have ended."""
        return self.done[name] == self.episodes


class Terminal:
    """Reports to a rich console; outside a terminal, bars are printed once at the end."""

    def __init__(self, console: Console, one_bar: bool = False) -> None:
        self._console = console
        self._one_bar = one_bar

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    @contextmanager
    def phase(self, text: str) -> Iterator[OnCount]:
        """Show a line with elapsed time during a phase, and a bar if the phase counts."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
        off = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=off) as progress:
            bar = progress.add_task(escape_markup(text), total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)

    @contextmanager
    def episodes(self, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> Iterator[EpisodeProgress]:
        """Show a bar per condition; for many conditions, one bar and a line per finished condition."""
        tally = Tally(finished, episodes, horizons)
        longest = max(map(len, finished), default=0)
        width = max(4, min(40, self._console.width - longest - _TEXT_WIDTH))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=width),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, speed_estimate_period=_WINDOW_S) as progress:
            together = self._one_bar or len(finished) > _MOST_BARS
            yield (_OneBar if together else _Bars)(progress, tally)


def escape_markup(text: str) -> str:
    """Return a text that rich prints unchanged."""
    return text.replace("[", r"\[")


class _Bars:
    """A bar per condition."""

    def __init__(self, progress: Progress, tally: Tally) -> None:
        self._progress, self._tally = progress, tally
        self._bars: dict[str, TaskID] = {
            name: progress.add_task(
                name, total=tally.episodes, completed=int(tally.amount(name)), count=self._count(name)
            )
            for name in tally.done
        }

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        self._tally.ended(condition, record)
        self._update(condition)

    def stepped(self, condition: str, steps: int) -> None:
        self._tally.stepped(condition, steps)
        self._update(condition)

    def _update(self, name: str) -> None:
        self._progress.update(self._bars[name], completed=self._tally.amount(name), count=self._count(name))

    def _count(self, name: str) -> str:
        return f"{self._tally.done[name]}/{self._tally.episodes} {self._tally.succeeded[name]} ok"


class _OneBar:
    """One bar over all conditions."""

    def __init__(self, progress: Progress, tally: Tally) -> None:
        self._progress, self._tally = progress, tally
        self._total = len(tally.done) * tally.episodes
        self._bar = progress.add_task("starting", total=self._total, completed=int(tally.total), count=self._count())

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        self._tally.ended(condition, record)
        self._update(condition)
        if self._tally.is_complete(condition):
            succeeded = self._tally.succeeded[condition]
            self._progress.console.print(
                f"done    {condition}: {succeeded} of {self._tally.episodes} succeeded", markup=False
            )

    def stepped(self, condition: str, steps: int) -> None:
        self._tally.stepped(condition, steps)
        self._update(condition)

    def _update(self, condition: str) -> None:
        self._progress.update(
            self._bar, completed=self._tally.total, description=escape_markup(condition), count=self._count()
        )

    def _count(self) -> str:
        return f"{sum(self._tally.done.values())}/{self._total}"


class Notebook:
    """Reports below a notebook cell; needs only IPython."""

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    @contextmanager
    def phase(self, text: str) -> Iterator[OnCount]:
        """Show a bar during a phase."""
        output = _Display()
        output.update(_bar_html(text, None, ""), now=True)
        yield lambda done, total: output.update(_bar_html(text, done / max(1, total), f"{done}/{total}"))
        output.update("", now=True)

    @contextmanager
    def episodes(self, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> Iterator[EpisodeProgress]:
        """Show a bar per condition."""
        progress = _NotebookBars(Tally(finished, episodes, horizons))
        try:
            yield progress
        finally:
            progress.show(now=True)


class _NotebookBars:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._display = _Display()
        self.show(now=True)

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        self._tally.ended(condition, record)
        self.show()

    def stepped(self, condition: str, steps: int) -> None:
        self._tally.stepped(condition, steps)
        self.show()

    def show(self, now: bool = False) -> None:
        """Show all bars, at most a few times per second."""
        tally = self._tally
        bars = (
            _bar_html(
                name,
                tally.amount(name) / max(1, tally.episodes),
                f"{done}/{tally.episodes}, {tally.succeeded[name]} succeeded",
            )
            for name, done in tally.done.items()
        )
        self._display.update("".join(bars), now=now)


def _bar_html(name: str, share: float | None, count: str) -> str:
    value = "" if share is None else f' value="{share:.4f}"'
    return f"<div><code>{escape(name)}</code> <progress{value}></progress> {escape(count)}</div>"


class _Display:
    """A cell output that is replaced on every update."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._updated = 0.0

    def update(self, html: str, now: bool = False) -> None:
        from IPython.core.display import HTML  # pyright: ignore[reportMissingImports]  # a notebook has it
        from IPython.core.display_functions import display  # pyright: ignore[reportMissingImports]

        if not now and time.monotonic() - self._updated < 0.2:
            return
        self._updated = time.monotonic()
        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))
