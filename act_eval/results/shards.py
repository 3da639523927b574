"""The shards of a run and the files that its processes append to.

OUT/shards/00000.jsonl           lines of one process of a whole run
OUT/shards/2-of-8/00000.jsonl    lines of one process of shard 2, during the run
OUT/shards/2-of-8.jsonl          finished shard 2: its lines by condition and episode
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from act_eval.errors import UsageError
from act_eval.results.records import ShardLine, read_shard, write_lines

SHARDS = "shards"
"""Name of the folder in a run folder."""
JOBS = "jobs"
"""Folder in a run folder: submission files and logs of Slurm jobs."""
_SHARD_NAME = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Shard:
    """A shard of a run: every `count`-th episode of every condition, starting at episode `number - 1`."""

    number: int
    """1 … count"""
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"shard {self.number}/{self.count}: there are shards 1/{self.count} to {self.count}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of a text such as `2/8`.

        Raises:
            UsageError: if the text is malformed.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        if not found or int(found[2]) < 1:
            raise UsageError(f"--shard is {text!r}; it must be NUMBER/COUNT, as in 2/8")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """Name in files, as in `2-of-8`."""
        return f"{self.number}-of-{self.count}"

    @property
    def text(self) -> str:
        """Text for `parse`, as in `2/8`."""
        return f"{self.number}/{self.count}"

    def episodes(self, total: int) -> range:
        """Return the numbers of the shard's episodes in a suite of `total`.

        Raises:
            UsageError: if the suite has fewer episodes than there are shards.
        """
        if self.count > total:
            raise UsageError(f"--shard {self.number}/{self.count}: {total} episodes make at most {total} shards")
        return range(self.number - 1, total, self.count)


def episodes_of(shard: Shard | None, total: int) -> range:
    """Return the numbers of a shard's episodes in a suite of `total`; all of them without a shard."""
    return range(total) if shard is None else shard.episodes(total)


@dataclass(frozen=True)
class Shards:
    """The shards of a run folder."""

    folder: Path

    def whole(self) -> list[Path]:
        """Return the process files of the whole run."""
        return _numbered(self.folder)

    def names(self) -> list[str]:
        """Return the names of the shards that have started or finished."""
        names = {path.stem if path.suffix == ".jsonl" else path.name for path in self.folder.glob("*-of-*")}
        return sorted(name for name in names if _SHARD_NAME.fullmatch(name))

    def finished_file(self, shard: str) -> Path:
        """Return the file of a finished shard."""
        return self.folder / f"{shard}.jsonl"

    def files(self) -> list[Path]:
        """Return every file that holds lines."""
        return [*self.whole(), *(file for name in self.names() for file in self._files(name))]

    def counts(self) -> set[int]:
        """Return the numbers of shards that the run is split into."""
        return {int(found[2]) for name in self.names() if (found := _SHARD_NAME.fullmatch(name))}

    def lines(self, shard: Shard | None = None) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every line with its file; if a shard is given, without those of other shards."""
        for path in self.whole():
            for line in read_shard(path):
                yield path, line
        for name in self.names() if shard is None else [shard.name]:
            yield from self._lines(name)

    def new(self, count: int, shard: Shard | None = None) -> list[Path]:
        """Return the paths of `count` new files."""
        folder = self.folder if shard is None else self.folder / shard.name
        folder.mkdir(parents=True, exist_ok=True)
        first = max((int(path.stem) for path in _numbered(folder)), default=-1) + 1
        return [folder / f"{number:05d}.jsonl" for number in range(first, first + count)]

    def finish(self, shard: Shard, lines: list[ShardLine]) -> None:
        """Write a shard's lines to its file and delete its process files."""
        write_lines(self.finished_file(shard.name), lines)
        _drop(self.folder / shard.name)

    def own(self, shard: Shard) -> list[Path]:
        """Return the files that only the processes of a shard write."""
        return self._files(shard.name)

    def _files(self, shard: str) -> list[Path]:
        finished = self.finished_file(shard)
        return [finished] * finished.is_file() + _numbered(self.folder / shard)

    def _lines(self, shard: str) -> Iterator[tuple[Path, ShardLine]]:
        """Yield the lines of a shard, each once.

        A finished shard still has process files if conditions were added to the run, or if its process died at the end.
        """
        finished = self.finished_file(shard)
        kept: set[tuple[str, int]] = set()
        for path in self._files(shard):
            for line in read_shard(path):
                key = (line.condition, line.record.episode)
                if path == finished:
                    kept.add(key)
                if path == finished or key not in kept:
                    yield path, line

    def replace(self, lines: list[ShardLine]) -> None:
        """Write lines into a new file of the whole run, and delete every other file."""
        (path,) = self.new(1)
        write_lines(path, lines)
        self.clear(but=path)

    def clear(self, but: Path | None = None) -> None:
        """Delete every shard except a file, after the lines are merged into the conditions' files."""
        for path in self.whole():
            if path != but:
                path.unlink()
        for name in self.names():
            self.finished_file(name).unlink(missing_ok=True)
            _drop(self.folder / name)
        for path in self.folder.glob(".*.lock"):
            path.unlink()


def shards_of(run: Path) -> Shards:
    """Return the shards of a run folder."""
    return Shards(run / SHARDS)


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdecimal())


def _drop(folder: Path) -> None:
    if folder.is_dir():
        for path in _numbered(folder):
            path.unlink()
        folder.rmdir()
