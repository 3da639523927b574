"""A run folder that this process writes: opened to start, resume or grow a run, and merged from its shards at the end.

A folder with any other content is rejected.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from act_eval.decoding import JSON, read_lines
from act_eval.errors import RunFolderError
from act_eval.results.integrity import DIGESTS, check_unchanged, digest_of, encode_digests, read_digests
from act_eval.results.locks import LOCK, locked, locked_file, turn
from act_eval.results.manifest import MANIFEST, Manifest
from act_eval.results.records import (
    METRICS,
    TIMINGS,
    ShardLine,
    encode_lines,
    merge,
    read_episodes,
    read_timings,
    sealed,
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
        self.lost: list[str] = []
        """Files that were gone when the folder was opened; their episodes run again."""
        self._shards = Shards(path / SHARDS)

    def condition(self, name: str) -> Path:
        """Return a condition's folder."""
        return self.path / name

    def finished(self) -> dict[str, list[EpisodeRecord]]:
        """Return the records of finished episodes by condition, unordered; of a shard, only its own."""
        found: dict[str, dict[int, EpisodeRecord]] = {name: {} for name in self.manifest.conditions}
        for _, line in self.lines(self.shard):
            found[line.condition][line.record.episode] = line.record
        for name in self.manifest.conditions:
            if self.is_merged(name):
                found[name] = {record.episode: record for record in self.episodes(name)}
        selected = set(self.selected())
        return {name: [r for number, r in records.items() if number in selected] for name, records in found.items()}

    def lines(self, shard: Shard | None = None) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every shard line with its file; if a shard is given, without those of other shards.

        Raises:
            RunFolderError: if a shard is damaged or holds an episode of an unknown condition.
        """
        for path, line in self._shards.lines(shard):
            if line.condition not in self.manifest.conditions:
                known = ", ".join(self.manifest.conditions)
                raise RunFolderError(f"{path} holds an episode of condition {line.condition!r}; the run has {known}")
            yield path, line

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
        lines = [line for _, line in self.lines()]
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
        found = list(self.lines(self.shard))
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
        path = self.condition(condition) / EPISODES
        return read_episodes(path, self.manifest.suite.seeds, self.manifest.digested)

    def is_merged(self, name: str) -> bool:
        """Return whether a condition's shards are merged into its own files."""
        return (self.condition(name) / EPISODES).is_file()

    def note_check(self, findings: Sequence[str]) -> None:
        """Add findings of the input check to the manifest's notes.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with turn(self.path / _TURN):
            present = Manifest.read(self.path)
            _write(self.path, present.with_notes(input_check=[*dict.fromkeys((*present.input_check, *findings))]))

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
        contents = {METRICS: encode_lines(line.metrics for line in lines), EPISODES: encode_lines(records)}
        files = {name: digest for line in lines for name, digest in line.files.items()}
        files |= {name: digest_of(content) for name, content in contents.items()}
        files |= {TRACE: ""} if (folder / TRACE).is_file() else {}
        write_atomically(folder / DIGESTS, encode_digests(files))
        for name, content in contents.items():  # the records last: their presence marks the condition as finished
            write_atomically(folder / name, content)

    def take_back_lost(self) -> None:
        """Take back finished episodes whose files are gone, so that they run again; `lost` names them.

        Raises:
            RunFolderError: if one belongs to other processes than those of this shard, or a file is damaged.
        """
        merged = [name for name in self.manifest.conditions if self.is_merged(name) and self._lost_of(name)]
        found = [(path, line, self._lost(line)) for path, line in self.lines(self.shard)]
        own = None if self.shard is None else self._shards.own(self.shard)
        elsewhere = [path for path, _, lost in found if lost and own is not None and path not in own]
        if elsewhere or (merged and self.shard is not None):
            file = elsewhere[0] if elsewhere else self.condition(merged[0]) / self._lost_of(merged[0])[0]
            raise RunFolderError(f"{file}: files of its episodes are missing; repeat the run's command without --shard")
        kept = [line for path, line, lost in found if not lost and (own is None or path in own)]
        self.lost = [lost for _, _, lost in found if lost]
        for name in merged:
            self.lost += [str(Path(name) / file) for file in self._lost_of(name)]
            kept += [line for line in self._lines_of(name) if not self._lost(line)]
        if not self.lost:
            return
        with writing(self.path):
            if self.shard is not None:
                self._shards.finish(self.shard, kept)
                return
            self._shards.replace(kept)
            for name in merged:
                (self.condition(name) / EPISODES).unlink()

    def _lost(self, line: ShardLine) -> str:
        """Return the first missing file of an episode, or nothing."""
        folder = self.condition(line.condition)
        return next((f"{line.condition}/{file}" for file in line.files if not (folder / file).is_file()), "")

    def _lost_of(self, condition: str) -> list[str]:
        """Return the missing files of a merged condition."""
        folder = self.condition(condition)
        expected = [TIMINGS, METRICS, *(read_digests(folder) or ())]
        return [file for file in dict.fromkeys(expected) if not (folder / file).is_file()]

    def _lines_of(self, condition: str) -> list[ShardLine]:
        """Return the shard lines of a merged condition; none if its metrics or timings are missing or incomplete."""
        folder = self.condition(condition)
        records = self.episodes(condition)
        if not ((folder / METRICS).is_file() and (folder / TIMINGS).is_file()):
            return []
        files: dict[int, dict[str, str]] = {}
        for name, digest in (read_digests(folder) or {}).items():
            if "/" in name:
                files.setdefault(int(re.findall(r"/(\d+)", name)[0]), {})[name] = digest
        check_unchanged(folder / METRICS)
        timings, metrics = read_timings(folder / TIMINGS), read_lines(folder / METRICS, JSON)
        if not len(records) == len(timings) == len(metrics):
            return []
        return [
            sealed(ShardLine(condition=condition, record=r, timing=t, metrics=m, files=files.get(r.episode, {})))
            for r, t, m in zip(records, timings, metrics, strict=True)
        ]


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
        folder = RunFolder(path, manifest, shard)
        folder.take_back_lost()
        yield folder


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
