"""A run folder that this process writes, and the merging of its shards into the files of each condition."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from act_eval.encoding import encode_line
from act_eval.errors import RunFolderError
from act_eval.results.manifest import Manifest
from act_eval.results.records import METRICS, ShardLine, merge, read_episodes, write_atomically, writing
from act_eval.results.shards import SHARDS, Shard, Shards, episodes_of
from act_eval.timing import Trace, recorded_trace, write_trace
from act_eval.types import EpisodeRecord

TRACE = "trace.json"
"""File in a condition's folder: the delays of its requests, for `--delay trace:FILE`."""
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
        records = read_episodes(self.condition(condition) / EPISODES)
        if [record.seed for record in records] != list(self.manifest.suite.seeds):
            raise RunFolderError(f"{self.condition(condition) / EPISODES} does not hold the seeds of the suite")
        return records

    def lines(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every shard line with its file."""
        yield from self._shards.lines()

    def is_merged(self, name: str) -> bool:
        """Return whether a condition's shards are merged into its own files."""
        return (self.condition(name) / EPISODES).is_file()

    def finish_own(self) -> dict[str, list[EpisodeRecord]]:
        """Finish the run, or the shard that this process owns."""
        return self.finish() if self.shard is None else self.finish_shard()

    def _write_condition(self, name: str, lines: list[ShardLine]) -> None:
        self.condition(name).mkdir(exist_ok=True)
        timings = "".join(encode_line(line.timing) for line in lines)
        write_atomically(self.condition(name) / "timings.jsonl", timings.encode())
        metrics = "".join(encode_line(line.metrics) for line in lines)
        write_atomically(self.condition(name) / METRICS, metrics.encode())
        trace = delays_of([line.record for line in lines]) if self._delays_vary(name) else None
        if trace is not None:
            write_trace(self.condition(name) / TRACE, trace)
        # Written last: its presence marks the condition as finished.
        episodes = "".join(encode_line(line.record) for line in lines)
        write_atomically(self.condition(name) / EPISODES, episodes.encode())

    def _delays_vary(self, name: str) -> bool:
        """Return whether a condition's delay model is not constant: its entry is then a name, not a number."""
        return isinstance(self.manifest.configuration["conditions"][name].get("delay"), str)


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
