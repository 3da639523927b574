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
    """Counts per condition: finished episodes, successes, steps of running episodes. Subclasses show them."""

    def __init__(self, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> None:
        self.episodes = episodes
        self.done = {name: len(records) for name, records in finished.items()}
        self.succeeded = {name: sum(one.outcome == SUCCESS for one in records) for name, records in finished.items()}
        self._horizons = horizons
        self._running = dict.fromkeys(finished, 0)
        """Control steps of episodes that have not ended."""

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        """Count an episode."""
        self.done[condition] += 1
        self.succeeded[condition] += record.outcome == SUCCESS
        self._running[condition] = max(0, self._running[condition] - record.steps)
        self.update(condition)

    def stepped(self, condition: str, steps: int) -> None:
        """Count control steps."""
        self._running[condition] += steps
        self.update(condition)

    def update(self, condition: str) -> None:
        """Show what has changed of a condition."""

    def amount(self, name: str) -> float:
        """Return the number of finished episodes; a running episode counts by its share of the horizon."""
        running = self._running[name] / max(1, self._horizons[name])
        return min(self.done[name] + running, float(self.episodes))

    @property
    def total(self) -> float:
        """Sum of `amount` over all conditions."""
        return sum(map(self.amount, self.done))


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
            yield (_OneBar if together else _Bars)(progress, finished, episodes, horizons)


def escape_markup(text: str) -> str:
    """Return a text that rich prints unchanged."""
    return text.replace("[", r"\[")


class _Bars(Tally):
    """A bar per condition."""

    def __init__(self, progress: Progress, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> None:
        super().__init__(finished, episodes, horizons)
        self._progress = progress
        self._bars: dict[str, TaskID] = {
            name: progress.add_task(name, total=episodes, completed=int(self.amount(name)), count=self._count(name))
            for name in self.done
        }

    def update(self, condition: str) -> None:
        bar = self._bars[condition]
        self._progress.update(bar, completed=self.amount(condition), count=self._count(condition))

    def _count(self, name: str) -> str:
        return f"{self.done[name]}/{self.episodes} {self.succeeded[name]} ok"


class _OneBar(Tally):
    """One bar over all conditions."""

    def __init__(self, progress: Progress, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> None:
        super().__init__(finished, episodes, horizons)
        self._progress, self._all = progress, len(finished) * episodes
        self._bar = progress.add_task("starting", total=self._all, completed=int(self.total), count=self._count())

    def ended(self, condition: str, record: EpisodeRecord) -> None:
        super().ended(condition, record)
        if self.done[condition] == self.episodes:
            self._progress.console.print(
                f"done    {condition}: {self.succeeded[condition]} of {self.episodes} succeeded", markup=False
            )

    def update(self, condition: str) -> None:
        description = escape_markup(condition)
        self._progress.update(self._bar, completed=self.total, description=description, count=self._count())

    def _count(self) -> str:
        return f"{sum(self.done.values())}/{self._all}"


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
        progress = _NotebookBars(finished, episodes, horizons)
        try:
            yield progress
        finally:
            progress.update(now=True)


class _NotebookBars(Tally):
    def __init__(self, finished: Finished, episodes: int, horizons: Mapping[str, int]) -> None:
        super().__init__(finished, episodes, horizons)
        self._display = _Display()
        self.update(now=True)

    def update(self, condition: str = "", now: bool = False) -> None:
        """Show all bars, at most a few times per second."""
        bars = (
            _bar_html(
                name,
                self.amount(name) / max(1, self.episodes),
                f"{done}/{self.episodes}, {self.succeeded[name]} succeeded",
            )
            for name, done in self.done.items()
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
