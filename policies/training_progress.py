"""What a training run shows while it goes on: a bar, throughput, the time that it will still take."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0  # between two lines where there is no terminal to draw a bar on


class ProgressView:
    """A bar on a terminal; elsewhere a line every half minute."""

    def __init__(self, console: Console, first: int, total: int) -> None:
        self._console = console
        self._total = total
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=first, note="")
        self._line_at = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, step: int, loss: float, samples_per_s: float, seconds_left: float) -> None:
        """Show where training stands."""
        note = f"loss {loss:.4f}, {samples_per_s:.0f} samples/s"
        self._bar.update(self._task, completed=step, note=note)
        if not self._console.is_terminal and time.monotonic() - self._line_at > _LINE_EVERY_S:
            self._line_at = time.monotonic()
            self.say(f"step {step}/{self._total}: {note}, {spell(seconds_left)} left")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False)


class Pace:
    """Throughput between two looks at the metrics, and the estimate that is said once after the first steps."""

    _WARM, _SAID = 3, 10  # steps that are not timed; steps after which the estimate is said

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._mark: tuple[int, float] | None = None
        self._announced = False
        self.samples_per_s = 0.0

    def due(self, step: int) -> bool:
        """Whether the metrics must be looked at now to time the first steps."""
        return step - self._first in (self._WARM, self._SAID)

    def mark(self, step: int, view: ProgressView, loss: float, samples: int) -> None:
        """Time the steps since the last mark and show them."""
        now = time.monotonic()
        if self._mark is not None and step > self._mark[0]:
            per_step = (now - self._mark[1]) / (step - self._mark[0])
            left = per_step * (self._last - step)
            self.samples_per_s = samples / per_step
            view.show(step, loss, self.samples_per_s, left)
            if not self._announced and step - self._first >= self._SAID:
                self._announced = True
                view.say(
                    f"measured {per_step:.2f} s a step: {self._last - step} steps to go will take about {spell(left)}, "
                    "checkpoints and evaluations apart"
                )
        if self._mark is not None or step - self._first >= self._WARM:
            self._mark = step, now

    def restart(self, step: int) -> None:
        """Begin timing anew, after something else than training."""
        self._mark = step, time.monotonic()


def spell(seconds: float) -> str:
    """Return a duration in words: `42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
