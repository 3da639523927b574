"""The rows of all data files, found by their global index as LeRobot finds them.

The files that the table of episodes names may be stale; every row says itself which frame it is, and of which episode.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from act_eval.datasets.columns import open_parquet, reading, whole_numbers
from act_eval.errors import DatasetError
from act_eval.types import IntArray


@dataclass(frozen=True)
class _DataFile:
    path: Path
    first: int
    """Global index of its first row."""
    rows: int


class Rows:
    """Random access to runs of rows. Nothing of the data stays in memory between two calls."""

    def __init__(self, paths: Iterable[Path], columns: Sequence[str], starts: IntArray, frames: int) -> None:
        """Read the numbers of all rows.

        Args:
            paths: the data files.
            columns: that each must have.
            starts: (E,) global index of each episode's first frame.
            frames: of all episodes.

        Raises:
            DatasetError: if a file is damaged or lacks a column, or its rows contradict the episodes or each other.
        """
        self._open: tuple[Path, pq.ParquetFile, IntArray] | None = None
        files = [_numbered(path, columns, starts, frames) for path in sorted(paths)]
        self._files = sorted((file for file in files if file.rows), key=lambda file: file.first)
        self.count = 0
        """Rows in all."""
        for file in self._files:
            if file.first != self.count:
                text = f"{file.path} begins with index {file.first}; the rows before it end at {self.count}"
                raise DatasetError(text)
            self.count += file.rows

    def read(self, start: int, length: int, names: Sequence[str]) -> pa.Table:
        """Return columns of the rows start … start + length - 1."""
        parts = []
        for file in self._files:
            low, high = max(start - file.first, 0), min(start + length - file.first, file.rows)
            if low < high:
                with reading(file.path):
                    parts.append(self._read(file.path, low, high, list(names)))
        return pa.concat_tables(parts)

    def _read(self, path: Path, low: int, high: int, names: list[str]) -> pa.Table:
        if self._open is None or self._open[0] != path:
            file = pq.ParquetFile(path)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            self._open = (path, file, np.cumsum([0, *sizes]))
        _, file, offsets = self._open
        first, last = np.searchsorted(offsets, [low, high - 1], side="right") - 1
        table = file.read_row_groups(list(range(first, last + 1)), columns=names).select(names)
        return table.slice(low - int(offsets[first]), high - low)


def _numbered(path: Path, columns: Sequence[str], starts: IntArray, frames: int) -> _DataFile:
    """Check that a data file has its columns and that its rows are numbered as the table of episodes says."""
    file = open_parquet(path, ["index", "episode_index", *columns])
    with reading(path):
        table = file.read(columns=["index", "episode_index"])
        index, episode = (whole_numbers(table[name], f"{path}: {name}") for name in ("index", "episode_index"))
    first = int(index[0]) if len(index) else 0
    if (disordered := np.flatnonzero(index != first + np.arange(len(index)))).size:
        row = int(disordered[0])
        raise DatasetError(f"{path} row {row} has index {index[row]} after {index[row - 1]}: rows must be in order")
    belongs = np.where(index < frames, np.searchsorted(starts, index, side="right") - 1, -1)
    if (foreign := np.flatnonzero((episode != belongs) | (belongs < 0))).size:
        row = int(foreign[0])
        place = f"in episode {belongs[row]}" if belongs[row] >= 0 else "in none"
        raise DatasetError(
            f"{path} row {row} has index {index[row]}, episode_index {episode[row]}; by meta/episodes that index "
            f"is {place}"
        )
    return _DataFile(path, first, len(index))
