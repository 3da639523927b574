"""Shards: the files that a run's processes append to, and the parts into which a run may be cut.

OUT/shards/00000.jsonl           lines of one process of a whole run
OUT/shards/2-of-8/00000.jsonl    lines of one process of part 2, while it runs
OUT/shards/2-of-8.jsonl          part 2, finished: its lines by condition and episode
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from act_eval.decoding import encode_line
from act_eval.errors import UsageError
from act_eval.results.records import ShardLine, read_shard, write_atomically

SHARDS = "shards"
"""Name of the folder in a run folder."""
JOBS = "jobs"
"""Folder in a run folder: what a cluster's scheduler was given, and the jobs' logs."""
_PART = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Part:
    """A part of a run: every `count`-th episode of every condition, beginning with episode `number - 1`."""

    number: int
    """1 … count"""
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"shard {self.number}/{self.count}: there are shards 1/{self.count} to {self.count}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Return the part that a text such as `2/8` names.

        Raises:
            UsageError: if it names none.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        if not found or int(found[2]) < 1:
            raise UsageError(f"--shard is {text!r}; it is a part and their number, as in 2/8")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """As in `2-of-8`."""
        return f"{self.number}-of-{self.count}"

    @property
    def text(self) -> str:
        """As in `2/8`, which `parse` reads."""
        return f"{self.number}/{self.count}"

    def episodes(self, total: int) -> range:
        """Return the numbers of the part's episodes in a suite of `total`.

        Raises:
            UsageError: if the suite has fewer episodes than there are parts.
        """
        if self.count > total:
            raise UsageError(f"--shard {self.number}/{self.count}: {total} episodes make at most {total} shards")
        return range(self.number - 1, total, self.count)


def episodes_of(part: Part | None, total: int) -> range:
    """Return the numbers of a part's episodes in a suite of `total`; without a part all of them."""
    return range(total) if part is None else part.episodes(total)


@dataclass(frozen=True)
class Shards:
    """The shards of a run folder."""

    folder: Path

    def whole(self) -> list[Path]:
        """Return the files of processes of the whole run."""
        return _numbered(self.folder)

    def parts(self) -> list[str]:
        """Return the names of the parts that have begun or finished."""
        names = {path.stem if path.suffix == ".jsonl" else path.name for path in self.folder.glob("*-of-*")}
        return sorted(name for name in names if _PART.fullmatch(name))

    def finished_file(self, part: str) -> Path:
        """Return where a part lies when it has finished."""
        return self.folder / f"{part}.jsonl"

    def files(self) -> list[Path]:
        """Return every file that holds lines."""
        return [*self.whole(), *(file for name in self.parts() for file in self._files(name))]

    def counts(self) -> set[int]:
        """Return into how many parts the run has been cut."""
        return {int(found[2]) for name in self.parts() if (found := _PART.fullmatch(name))}

    def lines(self, part: Part | None = None) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every line with the file that holds it; those of the other parts are left out if one is named."""
        for path in self.whole():
            for line in read_shard(path):
                yield path, line
        for name in self.parts() if part is None else [part.name]:
            yield from self._lines(name)

    def new(self, count: int, part: Part | None = None) -> list[Path]:
        """Return the paths of `count` files that do not exist yet."""
        folder = self.folder if part is None else self.folder / part.name
        folder.mkdir(parents=True, exist_ok=True)
        first = max((int(path.stem) for path in _numbered(folder)), default=-1) + 1
        return [folder / f"{number:05d}.jsonl" for number in range(first, first + count)]

    def finish(self, part: Part, lines: list[ShardLine]) -> Path:
        """Put a part's lines into its file, and drop those of its processes."""
        path = self.finished_file(part.name)
        write_atomically(path, "".join(map(encode_line, lines)).encode())
        _drop(self.folder / part.name)
        return path

    def _files(self, part: str) -> list[Path]:
        finished = self.finished_file(part)
        return [finished] * finished.is_file() + _numbered(self.folder / part)

    def _lines(self, part: str) -> Iterator[tuple[Path, ShardLine]]:
        """Yield the lines of a shard, each once.

        A finished shard still has process files if conditions were added to the run, or if its process died at the end.
        """
        finished = self.finished_file(part)
        kept: set[tuple[str, int]] = set()
        for path in self._files(part):
            for line in read_shard(path):
                key = (line.condition, line.record.episode)
                if path == finished:
                    kept.add(key)
                if path == finished or key not in kept:
                    yield path, line

    def clear(self) -> None:
        """Drop every shard: the conditions' own files hold what was in them."""
        for path in self.whole():
            path.unlink()
        for name in self.parts():
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
