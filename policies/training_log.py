"""What a training run writes down: `train.jsonl` and TensorBoard.

`train.jsonl` has one line per step (`step`, `loss`, further metrics, `grad_norm`, `lr`) and one per validation and
closed-loop evaluation. Nothing in a step's line depends on the clock, so that two runs can be compared byte by byte.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from act_eval.decoding import JSON, build, decode, read_text
from act_eval.errors import CheckpointError


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
