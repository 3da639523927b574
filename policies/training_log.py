"""Log of a training run: `train.jsonl`, TensorBoard, a progress bar, the estimated time.

`train.jsonl` has one line per step (`step`, `loss`, further metrics, `grad_norm`, `lr`) and one per validation and
closed-loop evaluation. Nothing in a step's line depends on the clock, so that two runs can be compared byte by byte.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter

from act_eval.decoding import JSON, build, decode, read_text
from act_eval.errors import CheckpointError

_LINE_EVERY_S = 30.0  # between two lines where there is no terminal to draw a bar on


class TrainingLog:
    """Files of one run; continues at `first_step` by dropping what an interrupted run wrote beyond it."""

    def __init__(self, out: Path, first_step: int) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "train.jsonl"
        kept = self._lines_up_to(first_step)
        self._events = {(row["step"], kind) for _, row in kept for kind in row}
        self._file = self.path.open("w")
        self._file.writelines(line for line, _ in kept)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1)

    def _lines_up_to(self, step: int) -> list[tuple[str, JSON]]:
        """Return the lines up to a step, each with its content."""
        if not self.path.exists():
            return []
        text = read_text(self.path, CheckpointError)
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        rows = [
            decode(line, JSON, f"{self.path}, line {number}", CheckpointError)
            for number, line in enumerate(whole, start=1)
        ]
        for number, row in enumerate(rows, start=1):
            build(int, row.get("step"), f"{self.path}, line {number}, step", CheckpointError)
        return [(line, row) for line, row in zip(whole, rows, strict=True) if row["step"] <= step]

    def has(self, step: int, kind: str) -> bool:
        """Return whether an earlier part of this run logged the result of a `kind` of test at `step`."""
        return (step, kind) in self._events

    def steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write one line per training step; each row holds `step`."""
        for row in rows:
            self._file.write(json.dumps(row) + "\n")
            self._scalars("train", int(row["step"]), {k: v for k, v in row.items() if k != "step"})
        self._file.flush()

    def event(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Write the result of a validation or an evaluation."""
        self._file.write(json.dumps({"step": step, kind: dict(values)}) + "\n")
        self._file.flush()
        self._scalars(kind, step, values)
        self._board.flush()

    def speed(self, step: int, samples_per_s: float) -> None:
        """Show throughput on TensorBoard only: it depends on the clock."""
        self._board.add_scalar("speed/samples_per_s", samples_per_s, step)

    def _scalars(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._board.close()


class ProgressView:
    """A bar on a terminal; elsewhere a line every half minute. Times the steps, and estimates the rest once."""

    _WARM_UP, _ESTIMATE = 3, 10  # steps that are not timed; steps before the estimate

    def __init__(self, console: Console, first: int, total: int) -> None:
        self._console, self._first, self._total = console, first, total
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
        self._mark: tuple[int, float] | None = None
        self._announced = False
        self.samples_per_s = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def due(self, step: int) -> bool:
        """Whether the metrics must be read now to time the first steps."""
        return step - self._first in (self._WARM_UP, self._ESTIMATE)

    def show(self, step: int, loss: float, samples: int) -> None:
        """Show the progress of training since the last call or restart; `samples` of each step."""
        now = time.monotonic()
        if self._mark is not None and step > self._mark[0]:
            per_step = (now - self._mark[1]) / (step - self._mark[0])
            left = format_duration(per_step * (self._total - step))
            self.samples_per_s = samples / per_step
            note = f"loss {loss:.4f}, {self.samples_per_s:.0f} samples/s"
            self._bar.update(self._task, completed=step, note=note)
            if not self._console.is_terminal and time.monotonic() - self._line_at > _LINE_EVERY_S:
                self._line_at = time.monotonic()
                self.say(f"step {step}/{self._total}: {note}, {left} left")
            if not self._announced and step - self._first >= self._ESTIMATE:
                self._announced = True
                self.say(
                    f"measured {per_step:.2f} s a step: {self._total - step} remaining steps take about "
                    f"{left}, without checkpoints and evaluations"
                )
        if self._mark is not None or step - self._first >= self._WARM_UP:
            self._mark = step, now

    def restart(self, step: int) -> None:
        """Restart timing after a pause of training."""
        self._mark = step, time.monotonic()

    def evaluating(self, done: int, total: int) -> None:
        """Show how many episodes of a closed-loop evaluation have ended; training waits for it."""
        self._bar.update(self._task, note=f"evaluating: {done}/{total} episodes")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False)


def format_duration(seconds: float) -> str:
    """Return a duration as text: `42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
