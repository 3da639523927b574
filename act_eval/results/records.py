"""Episode records on disk: one JSON line each, in shards during the run, merged into suite order at the end.

Only one process appends to a shard. A process that dies while writing leaves at most one truncated last line, which
readers drop. Records do not depend on the clock, so `episodes.jsonl` is byte-identical for any order, batch size and
worker count; clock-dependent values are in a separate `Timing`.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from act_eval.decoding import decode, read_bytes, read_lines
from act_eval.encoding import OMIT_EMPTY, encode_line
from act_eval.errors import RunFolderError, UsageError
from act_eval.results.integrity import (
    DIGESTS,
    check_condition_name,
    check_file_names,
    check_unchanged,
    digest_of,
)
from act_eval.types import OUTCOMES, EpisodeRecord, Timing

_Kind = TypeVar("_Kind")

TIMINGS = "timings.jsonl"
METRICS = "metrics.jsonl"
"""File in a condition's folder: the metrics of its episodes, one line each, in suite order."""


@dataclass(frozen=True, kw_only=True)
class ShardLine:
    """The line that a worker writes for an ended episode, after its other files."""

    condition: str
    record: EpisodeRecord
    timing: Timing
    metrics: Any = field(default_factory=dict)
    """`act_eval.metrics.EpisodeMetrics` of the episode, or the JSON values of one."""
    files: Mapping[str, str] = field(default_factory=dict, metadata=OMIT_EMPTY)
    """Its files within the condition's folder, with the digests of their contents; see `results.integrity`."""
    digest: str = field(default="", metadata=OMIT_EMPTY, compare=False)
    """Digest of the record, which `ShardWriter` adds."""


class ShardWriter:
    """Appends lines to a new shard; each line is on the disk before `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("xb+")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk, already reported by `write`; complete lines are on disk
            self._file.close()

    def write(self, line: ShardLine) -> None:
        """Append one line, unless it is already the last one: an interrupt may come just before the return.

        Raises:
            OSError: if the disk is full, for instance.
        """
        text = encode_line(sealed(line)).encode()
        if not self._ends_with(text):
            self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _ends_with(self, text: bytes) -> bool:
        self._file.flush()  # an interrupt may have left buffered data
        behind = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(behind - len(text), 0))
        return self._file.read() == text


def read_shard(path: Path) -> Iterator[ShardLine]:
    """Yield the lines of a shard; a truncated last line is dropped.

    Raises:
        RunFolderError: if a line other than the last is not a shard line, or the file cannot be read.
    """
    content = read_bytes(path, RunFolderError)
    complete = content[: content.rfind(b"\n") + 1]
    for number, text in enumerate(complete.split(b"\n")[:-1], start=1):
        place = f"{path}, line {number}"
        try:
            line = decode(text, ShardLine, place)
        except RunFolderError as error:
            raise RunFolderError(
                f"{error}. If another version started this run, finish it with that version or choose another --out"
            ) from error
        check_outcome(line.record, place)
        check_condition_name(line.condition, place)
        check_file_names(line.files, place)
        if line.digest not in ("", found := _digest_of(line.record)):
            raise RunFolderError(
                f"{place}: the record was changed after the run: its digest is {found}, the run recorded "
                f"{line.digest}. Restore the file; or delete it and repeat the run's command"
            )
        yield line


def sealed(line: ShardLine) -> ShardLine:
    """Return a line with the digest of its record."""
    return replace(line, digest=_digest_of(line.record))


def _digest_of(record: EpisodeRecord) -> str:
    return digest_of(encode_line(record).encode())


def merge(
    lines: Iterable[ShardLine], condition: str, seeds: Sequence[int], among: Collection[int] | None = None
) -> list[ShardLine]:
    """Return a condition's lines in suite order, after checking that they cover the suite exactly once.

    Args:
        lines: of any condition, in any order.
        condition: name of the condition.
        seeds: of the suite.
        among: the episodes to cover; the whole suite by default.

    Raises:
        RunFolderError: naming episodes that are missing, duplicated, unknown or have a wrong seed.
    """
    found: dict[int, ShardLine] = {}
    doubled: set[int] = set()
    expected = sorted(range(len(seeds)) if among is None else among)
    for line in lines:
        if line.condition != condition:
            continue
        episode, seed = line.record.episode, line.record.seed
        if not 0 <= episode < len(seeds):
            raise RunFolderError(
                f"condition {condition}: episode {episode} is not in the suite of {len(seeds)} episodes"
            )
        if seed != seeds[episode]:
            raise RunFolderError(
                f"condition {condition}: episode {episode} ran with seed {seed}; the suite has {seeds[episode]}"
            )
        doubled |= {episode} & found.keys()
        found[episode] = line
    if doubled:
        raise RunFolderError(f"condition {condition}: duplicated episodes: {_list(sorted(doubled))}")
    if missing := [i for i in expected if i not in found]:
        raise RunFolderError(
            f"condition {condition}: {len(missing)} of {len(expected)} episodes are missing: {_list(missing)}"
        )
    return [found[i] for i in expected]


def read_episodes(path: Path, seeds: Sequence[int] | None = None, digested: bool = False) -> list[EpisodeRecord]:
    """Read an `episodes.jsonl`, which must hold the seeds of the suite if they are given.

    Args:
        path: The file.
        seeds: Of the suite.
        digested: Whether the run recorded digests of its files.

    Raises:
        RunFolderError: if the file is missing, truncated, changed after the run or not a list of records in order, or
            has other seeds.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} is missing: the run has not finished; repeat its command to resume it")
    if digested and not (path.parent / DIGESTS).is_file():
        raise RunFolderError(
            f"{path.parent / DIGESTS} is missing, so nobody can tell whether the outcomes are those of the run. "
            f"Restore it; or delete {path} and repeat the run's command, which runs the episodes again"
        )
    records = read_lines(path, EpisodeRecord)
    for number, record in enumerate(records):
        place = f"{path}, line {number + 1}"
        check_outcome(record, place)
        if record.episode != number:
            raise RunFolderError(f"{place}: episode is {record.episode}; it must be {number}")
    if seeds is not None and [record.seed for record in records] != list(seeds):
        raise RunFolderError(f"{path} does not hold the seeds of the suite")
    check_unchanged(path)
    return records


def check_outcome(record: EpisodeRecord, place: str) -> None:
    """Check that a record's outcome is one of `OUTCOMES`.

    Raises:
        RunFolderError: naming `place`.
    """
    if record.outcome not in OUTCOMES:
        raise RunFolderError(f"{place}: outcome is {record.outcome!r}; there are: {', '.join(OUTCOMES)}")


def read_timings(path: Path) -> list[Timing]:
    """Read a `timings.jsonl`, in suite order.

    Raises:
        RunFolderError: if the file is missing, truncated or not a list of timings.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} is missing; repeat the run's command, which runs its episodes again")
    return read_lines(path, Timing)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of writing below a folder into a `RunFolderError`.

    Raises:
        UsageError: if the folder is a file.
        RunFolderError: if writing fails, as on a full disk or in a read-only folder.
    """
    if folder.is_file():
        raise UsageError(f"{folder} is a file; name a folder")
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise RunFolderError(
            f"cannot write to {folder}: {error.strerror or error}{where}. "
            "Finished episodes are kept: repeat the command once writing is possible."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write dataclass instances as JSON lines, completely or not at all."""
    write_atomically(path, encode_lines(values))


def encode_lines(values: Iterable[Any]) -> bytes:
    """Return dataclass instances as the content of a file of JSON lines."""
    return "".join(map(encode_line, values)).encode()


def _list(numbers: Sequence[int]) -> str:
    first = ", ".join(str(n) for n in numbers[:10])
    return first if len(numbers) <= 10 else f"{first}, …"
