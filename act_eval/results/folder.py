"""A run folder that this process writes: opened to start, resume or grow a run, and merged from its shards at the end.

A folder with any other content is rejected.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from act_eval.errors import RunFolderError
from act_eval.results.locks import LOCK, locked, locked_file, turn
from act_eval.results.manifest import MANIFEST, Manifest
from act_eval.results.records import (
    METRICS,
    TIMINGS,
    ShardLine,
    merge,
    read_episodes,
    write_atomically,
    write_lines,
    writing,
)
from act_eval.results.shards import JOBS, SHARDS, Shard, Shards, episodes_of
from act_eval.timing import Trace, recorded_trace, write_trace
from act_eval.types import EpisodeRecord

TRACE = "trace.json"
"""File in a condition's folder: the delays of its requests, for `--delay trace:FILE`."""
_TURN = ".manifest.lock"
_OURS = (LOCK, _TURN, SHARDS, JOBS, f"{MANIFEST}.part")  # the last one if its writer was killed
EPISODES = "episodes.jsonl"
"""File in a condition's folder; it exists if and only if the condition is finished."""


class RunFolder:
    """A run folder, or a shard of one, that only this process writes."""

    def __init__(self, path: Path, manifest: Manifest, shard: Shard | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.shard = shard
        """The shard that this process owns; None if it owns the whole run."""
        self._shards = Shards(path / SHARDS)

    def condition(self, name: str) -> Path:
        """Return a condition's folder."""
        return self.path / name

    def finished(self) -> dict[str, list[EpisodeRecord]]:
        """Return the records of finished episodes by condition, unordered; of a shard, only its own."""
        found: dict[str, dict[int, EpisodeRecord]] = {name: {} for name in self.manifest.conditions}
        for _, line in self._shards.lines(self.shard):
            found.setdefault(line.condition, {})[line.record.episode] = line.record
        for name in self.manifest.conditions:
            if self.is_merged(name):
                found[name] = {record.episode: record for record in self.episodes(name)}
        selected = set(self.selected())
        return {name: [r for number, r in records.items() if number in selected] for name, records in found.items()}

    def is_complete(self) -> bool:
        """Return whether every episode of this process has finished."""
        finished = self.finished()
        return all(len(finished[name]) == len(self.selected()) for name in self.manifest.conditions)

    def done(self) -> dict[str, set[int]]:
        """Return by condition the numbers of episodes not to run: finished ones and those of other shards."""
        others = set(range(len(self.manifest.suite.seeds))).difference(self.selected())
        return {name: others | {record.episode for record in records} for name, records in self.finished().items()}

    def selected(self) -> range:
        """Return the numbers of the episodes that this process runs."""
        return episodes_of(self.shard, len(self.manifest.suite.seeds))

    def new_shards(self, count: int) -> list[Path]:
        """Return the paths of `count` new shard files."""
        with writing(self.path):
            return self._shards.new(count, self.shard)

    def finish(self) -> dict[str, list[EpisodeRecord]]:
        """Merge the shards into every condition's files and return the records by condition.

        Raises:
            RunFolderError: if the shards do not cover the suite exactly once, or the files cannot be written.
        """
        lines = [line for _, line in self._shards.lines()]
        for name in self.manifest.conditions:
            if not self.is_merged(name):
                with writing(self.path):
                    self._write_condition(name, merge(lines, name, self.manifest.suite.seeds))
        with writing(self.path):
            self._shards.clear()
        return {name: self.episodes(name) for name in self.manifest.conditions}

    def finish_shard(self) -> dict[str, list[EpisodeRecord]]:
        """Merge the shard's lines into one file and return its records by condition.

        Raises:
            RunFolderError: if they do not cover the shard exactly once, or the file cannot be written.
        """
        assert self.shard is not None
        found = list(self._shards.lines(self.shard))
        whole = set(self._shards.whole())
        elsewhere = {(line.condition, line.record.episode) for path, line in found if path in whole}
        own: list[ShardLine] = []
        for name in self.manifest.conditions:
            if not self.is_merged(name):
                lines = [line for _, line in found if line.record.episode in self.selected()]
                merged = merge(lines, name, self.manifest.suite.seeds, self.selected())
                own += [line for line in merged if (name, line.record.episode) not in elsewhere]
        with writing(self.path):
            self._shards.finish(self.shard, own)
        return self.finished()

    def episodes(self, condition: str) -> list[EpisodeRecord]:
        """Return a finished condition's records in suite order."""
        return read_episodes(self.condition(condition) / EPISODES, self.manifest.suite.seeds)

    def is_merged(self, name: str) -> bool:
        """Return whether a condition's shards are merged into its own files."""
        return (self.condition(name) / EPISODES).is_file()

    def finish_own(self) -> dict[str, list[EpisodeRecord]]:
        """Finish the run, or the shard that this process owns."""
        return self.finish() if self.shard is None else self.finish_shard()

    def _write_condition(self, name: str, lines: list[ShardLine]) -> None:
        folder, records = self.condition(name), [line.record for line in lines]
        folder.mkdir(exist_ok=True)
        delays_vary = isinstance(self.manifest.configuration["conditions"][name].get("delay"), str)  # named, no number
        if delays_vary and (trace := delays_of(records)) is not None:
            write_trace(folder / TRACE, trace)
        write_lines(folder / TIMINGS, [line.timing for line in lines])
        write_lines(folder / METRICS, [line.metrics for line in lines])
        write_lines(folder / EPISODES, records)  # last: its presence marks the condition as finished


@contextmanager
def open_run(path: Path, manifest: Manifest, may_grow: bool = False, shard: Shard | None = None) -> Iterator[RunFolder]:
    """Create a run folder, or resume an interrupted run of the same configuration; nothing is overwritten.

    Args:
        path: the folder.
        manifest: the requested run.
        may_grow: whether conditions may be added to an existing run; its own conditions must be requested unchanged.
        shard: own only this shard, beside processes that own other shards.

    Raises:
        RunFolderError: if the folder holds other files, another run (naming the differences), or is in use.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _check_is_run_folder(path)  # before any write, the lock file included
    with locked(path, shared=shard is not None), ExitStack() as stack:
        if shard is not None:
            stack.enter_context(_own(path, shard))
        with turn(path / _TURN):
            if (path / MANIFEST).exists():
                manifest = _grow(path, manifest) if may_grow else _resume(path, manifest)
            else:
                _check_is_run_folder(path)
                _write(path, manifest)
        yield RunFolder(path, manifest, shard)


@contextmanager
def _own(path: Path, shard: Shard) -> Iterator[None]:
    """Hold a shard's lock, after checking that the run is split into the same number of shards."""
    with writing(path):
        (path / SHARDS).mkdir(exist_ok=True)
    if other := Shards(path / SHARDS).counts() - {shard.count}:
        raise RunFolderError(
            f"{path} is already split into {min(other)} shards, and --shard is one of {shard.count}; "
            f"choose one of {min(other)}, or another --out"
        )
    with locked_file(path / SHARDS / f".{shard.name}.lock", path / SHARDS / shard.name):
        yield


def _check_is_run_folder(path: Path) -> None:
    """Reject a folder that has other files and no manifest."""
    other = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
    if other and MANIFEST not in other:
        raise RunFolderError(f"{path} is not a run folder and holds {', '.join(other[:5])}; choose another --out")


def _resume(path: Path, requested: Manifest) -> Manifest:
    """Return the folder's own manifest, after checking that the requested run is the same."""
    present = Manifest.read(path)
    if lines := present.differences(requested):
        raise RunFolderError(
            f"{path} holds another run (existing against requested):\n  "
            + "\n  ".join(lines)
            + "\nChoose another --out, or repeat that run's command to resume it."
        )
    return present


def check_growing_run(path: Path, requested: Manifest) -> None:
    """Check whether `open_run` can grow a folder into the requested run, without changing anything.

    Raises:
        RunFolderError: if the folder holds other files, or another run, naming the differences.
    """
    if path.is_dir():
        _check_is_run_folder(path)
        if (path / MANIFEST).exists():
            _resume_subset(path, requested)


def _resume_subset(path: Path, requested: Manifest) -> Manifest:
    """Return the folder's own manifest, after checking that the requested run only adds conditions."""
    known = set(Manifest.read(path).conditions)
    shared = {name: condition for name, condition in requested.configuration["conditions"].items() if name in known}
    return _resume(path, replace(requested, configuration={**requested.configuration, "conditions": shared}))


def _grow(path: Path, requested: Manifest) -> Manifest:
    """Add the missing requested conditions to the folder's manifest, write it and return it."""
    present = _resume_subset(path, requested)
    conditions = requested.configuration["conditions"]
    if set(present.conditions) == set(conditions):
        return present
    # In the requested order, which is that of the tables.
    grown = replace(
        present,
        configuration={**present.configuration, "conditions": dict(conditions)},
        notes={**present.notes, "grown": [*present.notes.get("grown", ()), dict(requested.notes)]},
    )
    _write(path, grown)
    return grown


def _write(path: Path, manifest: Manifest) -> None:
    with writing(path):
        write_atomically(path / MANIFEST, (json.dumps(manifest.to_json(), indent=2) + "\n").encode())


def delays_of(records: Sequence[EpisodeRecord]) -> Trace | None:
    """Return the trace of a condition's delays; None if no request was answered.

    A trace counts the steps from request to answer; records count from the observation, so its age is subtracted.
    """
    episodes: dict[int, list[int | None]] = {}
    for record in records:
        actual = record.detail.get("actual_delays", ())
        ages = record.detail.get("observation_ages", [0] * len(actual))
        delays = [None if steps is None else steps - age for steps, age in zip(actual, ages, strict=True)]
        episodes[record.seed] = delays[1:]  # the first chunk draws no delay
    answered = any(delay is not None for delays in episodes.values() for delay in delays)
    return recorded_trace(episodes) if answered else None
