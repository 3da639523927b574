"""Episode records on disk: one JSON line each, in shards while running, merged into suite order at the end.

A shard is a file that one process appends to and nobody else writes. A line is complete or worthless: a process
that dies while writing leaves at most one truncated last line, which readers drop. Nothing in a record depends on
the clock, so `episodes.jsonl` is byte-identical for any order, batch size and worker count; what does depend on it
goes into a `Timing` beside.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import IO, Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from act_eval.errors import RunFolderError
from act_eval.types import EpisodeRecord

OUTCOMES = ("invalid", "policy_error", "success", "wrong_block", "dropped", "between", "missed", "timeout")
"""Every outcome, first match wins. `invalid` is outside the rate, every other one but `success` is a failure."""

INVALID, POLICY_ERROR, SUCCESS = OUTCOMES[:3]

_Kind = TypeVar("_Kind")
METRICS = "metrics.jsonl"
"""Below an arm's folder: the metrics of its episodes, one line each, in suite order."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the clock said about one episode."""

    episode: int
    wall_s: float
    """From its reset to its end, the work on episodes beside it included [s]."""
    inference_ms: tuple[float, ...] = ()
    """Each prediction that the episode took part in, all rows of it [ms]."""
    video_s: float = 0.0
    """Rendering and encoding its video [s]."""
    worker: int = 0


@dataclass(frozen=True, kw_only=True)
class ShardLine:
    """What a worker writes when an episode of an arm has ended and its other files lie in their place."""

    arm: str
    record: EpisodeRecord
    timing: Timing
    metrics: Any = field(default_factory=dict)
    """`act_eval.metrics.EpisodeMetrics` of the episode, or the JSON values of one."""


def to_line(values: Any) -> str:
    """Return a dataclass instance as one JSON line: fields in their order, mappings inside them sorted by key.

    Raises:
        RunFolderError: naming the entry that JSON cannot hold: a number that is not finite, or no JSON value at all.
    """
    content = _json(values)
    try:
        return json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
    except (TypeError, ValueError, OverflowError) as error:
        place, found = next(_unfit(content, type(values).__name__), (type(values).__name__, error))
        raise RunFolderError(f"{place} is {found}; a record holds finite numbers, text, lists and mappings") from error


def unfit(values: Any, name: str) -> str | None:
    """Return what a record cannot hold in a mapping or a dataclass instance, by its place; None: nothing."""
    place, found = next(_unfit(_json(values), name), ("", None))
    return f"{place} is {found}; a record holds finite numbers, text, lists and mappings" if place else None


def record_from_json(values: Mapping[str, Any], place: str) -> EpisodeRecord:
    """Return the record of a parsed line.

    Raises:
        RunFolderError: naming `place`, if a field is missing or unknown or the outcome is not in `OUTCOMES`.
    """
    record = build(EpisodeRecord, values, place)
    if record.outcome not in OUTCOMES:
        raise RunFolderError(f"{place}: outcome is {record.outcome!r}; there are: {', '.join(OUTCOMES)}")
    return record


class ShardWriter:
    """Appends lines to a new shard; each line is on the disk before `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("xb+")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a full disk, which `write` has named; every complete line is on it already
            self._file.close()

    def write(self, line: ShardLine) -> None:
        """Append one line, unless it is the last one already: an interrupt may come when all but the return is done.

        Raises:
            OSError: if the disk is full, for instance.
        """
        text = to_line(line).encode()
        if not self._ends_with(text):
            self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _ends_with(self, text: bytes) -> bool:
        self._file.flush()  # what an interrupt may have held back
        behind = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(behind - len(text), 0))
        return self._file.read() == text


def read_shard(path: Path) -> Iterator[ShardLine]:
    """Yield the lines of a shard; a truncated last line is dropped.

    Raises:
        RunFolderError: if a line other than the last is not a shard line, or the file cannot be read.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    complete = text[: text.rfind(b"\n") + 1]
    for number, line in enumerate(complete.splitlines(), start=1):
        place = f"{path}, line {number}"
        values = _parse(line, place)
        if set(values) != {"arm", "record", "timing", "metrics"}:
            raise RunFolderError(
                f"{place}: not a line of a shard of this version; its fields are {sorted(values)}. "
                "A run that another version began is finished by that version, or begun again in another --out"
            )
        if not isinstance(values["arm"], str):
            raise RunFolderError(f"{place}: arm is {values['arm']!r}")
        record = record_from_json(values["record"], place)
        timing = _timing(values["timing"], place)
        yield ShardLine(arm=values["arm"], record=record, timing=timing, metrics=values["metrics"])


def merge(
    lines: Iterable[ShardLine], arm: str, seeds: Sequence[int], among: Collection[int] | None = None
) -> list[ShardLine]:
    """Return an arm's lines in suite order, after checking that they cover the suite exactly once.

    Args:
        lines: of any arm, in any order.
        arm: whose lines are wanted.
        seeds: of the suite.
        among: the episodes that are to be covered; all of the suite by default.

    Raises:
        RunFolderError: naming episodes that are missing, doubled, unknown or have another seed than the suite's.
    """
    found: dict[int, ShardLine] = {}
    doubled: set[int] = set()
    wanted = sorted(range(len(seeds)) if among is None else among)
    for line in lines:
        if line.arm != arm:
            continue
        episode, seed = line.record.episode, line.record.seed
        if not 0 <= episode < len(seeds):
            raise RunFolderError(f"arm {arm}: episode {episode} is not in the suite of {len(seeds)} episodes")
        if seed != seeds[episode]:
            raise RunFolderError(f"arm {arm}: episode {episode} ran with seed {seed}, the suite says {seeds[episode]}")
        doubled |= {episode} & found.keys()
        found[episode] = line
    if doubled:
        raise RunFolderError(f"arm {arm}: these episodes are there twice: {_list(sorted(doubled))}")
    if missing := [i for i in wanted if i not in found]:
        raise RunFolderError(f"arm {arm}: {len(missing)} of {len(wanted)} episodes are missing: {_list(missing)}")
    return [found[i] for i in wanted]


def read_episodes(path: Path) -> list[EpisodeRecord]:
    """Read an `episodes.jsonl`.

    Raises:
        RunFolderError: if the file is missing, truncated or not a list of records in order.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} is missing: the run has not finished; repeat its command to resume it")
    records = []
    for values, place in parse_lines(path):
        record = record_from_json(values, place)
        if record.episode != len(records):
            raise RunFolderError(f"{place}: episode {record.episode} stands where episode {len(records)} belongs")
        records.append(record)
    return records


def read_timings(path: Path) -> list[Timing]:
    """Read a `timings.jsonl`, in suite order.

    Raises:
        RunFolderError: if the file is missing, truncated or not a list of timings.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} is missing; delete the run folder and repeat the run's command")
    return [_timing(values, place) for values, place in parse_lines(path)]


def parse_lines(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Return the JSON objects of a finished file of lines, each with its place for error messages.

    Raises:
        RunFolderError: if the file is truncated or a line is not a JSON object.
    """
    text = path.read_bytes()
    if not text.endswith(b"\n"):
        raise RunFolderError(f"{path} is truncated; delete it and repeat the run's command")
    places = (f"{path}, line {number}" for number in range(1, text.count(b"\n") + 1))
    return [(_parse(line, place), place) for line, place in zip(text.splitlines(), places, strict=True)]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Do something that writes below a folder.

    Raises:
        RunFolderError: if the disk is full, the folder is not writable, or writing fails for another such reason.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise RunFolderError(
            f"cannot write to {folder}: {error.strerror or error}{where}. "
            "Finished episodes are kept: repeat the command when that is mended."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in its place whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise RunFolderError(f"{place}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise RunFolderError(f"{place}: not a JSON object")
    return values


def _timing(values: Any, place: str) -> Timing:
    return build(Timing, values, place)


def build(kind: type[_Kind], values: Any, place: str) -> _Kind:
    """Return the dataclass instance that a parsed JSON object describes.

    Raises:
        RunFolderError: naming `place`, if a field is missing, unknown, or of another type than annotated.
    """
    hints = _hints(kind)
    expected = set(hints)
    if not isinstance(values, dict) or set(values) != expected:
        got = sorted(values) if isinstance(values, dict) else values
        raise RunFolderError(f"{place}: a {kind.__name__} has the fields {sorted(expected)}, got {got}")
    if wrong := [name for name, value in values.items() if not _fits(value, hints[name])]:
        raise RunFolderError(f"{place}: {wrong[0]} of a {kind.__name__} is {values[wrong[0]]!r}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of an annotated type; numbers must be finite."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is Mapping:
        return isinstance(value, dict)
    return kind is Any or type(value) is kind


def _json(value: Any) -> Any:
    """Return JSON values: dataclasses in the order of their fields, other mappings sorted by key."""
    if is_dataclass(value):
        return {f.name: _json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _json(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _unfit(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and value of everything that JSON cannot hold."""
    match value:
        case dict():
            for key, item in value.items():
                yield from _unfit(item, f"{place}.{key}")
        case list():
            for number, item in enumerate(value):
                yield from _unfit(item, f"{place}[{number}]")
        case float() if not math.isfinite(value):
            yield place, value
        case None | str() | int() | float():
            pass
        case _:
            yield place, f"a {type(value).__name__}"


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(n) for n in numbers[:10])
    return shown if len(numbers) <= 10 else f"{shown}, …"
