"""The reader of run folders.

Each file is read and checked on first access. A missing, truncated, damaged or unfinished file, another schema and
missing metrics are each a `RunFolderError` that names the file and the remedy.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from act_eval.decoding import decode, read_lines
from act_eval.errors import MissingRun, RunFolderError, UnknownName, UnmeasuredRun, UsageError
from act_eval.metrics import METRICS, EpisodeMetrics, MetricDefinition, Summary, definitions_of, summary
from act_eval.results.folder import EPISODES, RunFolder
from act_eval.results.integrity import check_unchanged, read_digests
from act_eval.results.manifest import MANIFEST, Manifest
from act_eval.results.records import METRICS as METRICS_FILE
from act_eval.results.records import (
    TIMINGS,
    check_outcome,
    read_episodes,
    read_shard,
    read_timings,
    write_atomically,
)
from act_eval.results.shards import SHARDS
from act_eval.results.steps import load, path_of
from act_eval.results.suites import Suite
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, SUCCESS, EpisodeRecord, Timing
from act_eval.types.steps import EpisodeSteps

SUMMARY_FILE = "summary.json"
"""File in a condition's folder."""
SUMMARY_SCHEMA = 2
"""Version of its fields."""

_VIDEO = re.compile(r"(\d{4,})_seed(\d+)_\w+\.mp4")


def video_name(record: EpisodeRecord) -> str:
    """Return the name of an episode's video, as in `0003_seed4348884358902_wrong_block.mp4`."""
    return f"{record.episode:04d}_seed{record.seed}_{record.outcome}.mp4"


@dataclass(frozen=True, kw_only=True)
class StoredCondition:
    """One condition of a run. Its lists have one entry per episode, in suite order."""

    name: str
    folder: Path
    suite: Suite
    settings: Mapping[str, Any]
    """Its entry in the manifest."""
    own_metrics: tuple[MetricDefinition, ...] = ()
    """User-defined metrics of the run."""
    digested: bool = False
    """Whether the run recorded digests of its files."""

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """File of the condition → digest of its content; empty for runs without digests and unfinished ones."""
        return read_digests(self.folder) or {}

    @property
    def is_finished(self) -> bool:
        """Whether all episodes have finished."""
        return (self.folder / EPISODES).is_file()

    @cached_property
    def records(self) -> tuple[EpisodeRecord, ...]:
        """Record of each episode.

        Raises:
            RunFolderError: if the condition is unfinished, or the file is damaged or of another suite.
        """
        return tuple(read_episodes(self.folder / EPISODES, self.suite.seeds, self.digested))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Outcome of each episode."""
        return tuple(record.outcome for record in self.records)

    @property
    def rate(self) -> SuccessRate:
        """Successes over valid episodes; `.wilson()` is its interval."""
        return SuccessRate.of_outcomes(self.outcomes)

    @cached_property
    def episode_metrics(self) -> tuple[EpisodeMetrics, ...]:
        """Metrics of each episode.

        Raises:
            UnmeasuredRun: if the run has no metrics.
            RunFolderError: if the file is missing or damaged.
        """
        return tuple(read_metrics(self.folder))

    @cached_property
    def timings(self) -> tuple[Timing, ...]:
        """Wall-clock timing of each episode.

        Raises:
            RunFolderError: if the file is missing or damaged.
        """
        return tuple(read_timings(self.folder / TIMINGS))

    @cached_property
    def metrics(self) -> Summary:
        """Summary metrics over the valid episodes.

        Raises:
            RunFolderError: if a file is missing or damaged, or the files do not belong together.
        """
        self.check_complete()
        return summary(self.records, self.episode_metrics, self.timings, self.suite.horizon, self.own_metrics)

    @cached_property
    def videos(self) -> Mapping[int, Path]:
        """Episode → video file, for episodes that have one."""
        folder = self.folder / "videos"
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return {int(found[1]): path for path in paths if (found := _VIDEO.fullmatch(path.name))}

    def steps(self, episode: int) -> EpisodeSteps:
        """Return the steps of an episode, simulator states included.

        Raises:
            RunFolderError: if the file is missing or damaged.
        """
        path = path_of(self.folder / "steps", episode)
        return load(path, self.digests.get(f"steps/{path.name}"))

    def check_complete(self) -> None:
        """Check that records, metrics and timings cover the same episodes.

        Raises:
            RunFolderError: if they do not, or a file cannot be read.
        """
        records, metrics, timings = map(len, (self.records, self.episode_metrics, self.timings))
        if not records == metrics == timings:
            raise RunFolderError(
                f"{self.folder}: {records} episodes, {metrics} metrics and {timings} timings do not belong "
                "together; run again into another folder"
            )

    def write_summary(self) -> Summary:
        """Write `metrics` to `summary.json` if it differs, and return them.

        Raises:
            RunFolderError: as `metrics`.
        """
        clock = [metric.name for metric in METRICS if metric.wall_clock]
        parts = {
            "metrics": {name: value for name, value in self.metrics.items() if name not in clock},
            "wall_clock": {name: self.metrics[name] for name in clock},
        }
        content = (json.dumps({"schema": SUMMARY_SCHEMA, **parts}, indent=1, allow_nan=False) + "\n").encode()
        path = self.folder / SUMMARY_FILE
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
        return self.metrics

    def readable_records(self, problems: list[str]) -> dict[int, EpisodeRecord]:
        """Return the readable records by episode.

        Args:
            problems: Receives the error of a damaged file.
        """
        try:
            return {record.episode: record for record in self.records}
        except RunFolderError as error:
            problems.append(str(error))
        found: dict[int, EpisodeRecord] = {}
        path = self.folder / EPISODES
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
            with suppress(RunFolderError):
                record = decode(line, EpisodeRecord, f"{path}, line {number}")
                check_outcome(record, path.name)
                found[record.episode] = record
        return found


class Conditions(dict[str, StoredCondition]):
    """The conditions of a run by name, in manifest order; an unknown name is an error that lists the known ones."""

    def __init__(self, place: Path, conditions: Iterable[StoredCondition]) -> None:
        super().__init__((condition.name, condition) for condition in conditions)
        self._place = place

    def __missing__(self, name: str) -> StoredCondition:
        raise UnknownName(f"condition of {self._place}", str(name), self)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run folder."""

    folder: Path
    manifest: Manifest
    conditions: Conditions

    @property
    def suite(self) -> Suite:
        """The episodes that every condition was evaluated on."""
        return self.manifest.suite

    @property
    def configuration(self) -> Mapping[str, Any]:
        """See `Manifest.configuration`."""
        return self.manifest.configuration

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """See `Manifest.fingerprint`."""
        return self.manifest.fingerprint

    @property
    def outcomes(self) -> dict[str, tuple[str, ...]]:
        """Condition → outcome of each episode."""
        return {name: condition.outcomes for name, condition in self.conditions.items()}

    @property
    def initial_states(self) -> dict[str, tuple[str | None, ...]]:
        """Condition → digest of the state in which each episode began; empty if none was recorded."""
        found = {name: tuple(r.initial_state for r in condition.records) for name, condition in self.conditions.items()}
        return found if any(map(any, found.values())) else {}

    @property
    def policy(self) -> str:
        """Name of the policy; that of the folder if the manifest has none."""
        entry = self.manifest.configuration.get("policy")
        return entry.get("name", self.folder.name) if entry else self.folder.name

    def check_complete(self) -> "StoredRun":
        """Return this run after checking all files except steps and videos.

        Raises:
            RunFolderError: if it is unfinished or damaged, or has no metrics.
        """
        for condition in self.conditions.values():
            condition.check_complete()
        return self

    def ended(self) -> dict[str, list[EpisodeRecord]]:
        """Return by condition the records of ended episodes; the run may be unfinished.

        Raises:
            RunFolderError: if a file is damaged.
        """
        return RunFolder(self.folder, self.manifest).finished()

    def shard_records(self, problems: list[str]) -> dict[str, dict[int, EpisodeRecord]]:
        """Return by condition and episode the readable records in the shards of an unfinished run.

        Args:
            problems: Receives the error of each damaged shard.
        """
        found: dict[str, dict[int, EpisodeRecord]] = {}
        for path in sorted((self.folder / SHARDS).glob("*.jsonl")):
            try:
                for line in read_shard(path):
                    found.setdefault(line.condition, {})[line.record.episode] = line.record
            except RunFolderError as error:
                problems.append(str(error))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per episode and condition.

        Raises:
            RunFolderError: as `check_complete`.
        """
        about = {"run": self.folder.name, "suite": self.suite.hash, "env": self.suite.env, "policy": self.policy}
        return [
            {**about, **row}
            for condition in self.check_complete().conditions.values()
            for row in _rows(self, condition)
        ]


def read_run(folder: Path | str) -> StoredRun:
    """Return the run in a folder; only its manifest is read at once.

    Raises:
        MissingRun: if the folder does not exist.
        RunFolderError: if it is not a run folder, or its manifest is damaged or of another schema.
        UsageError: if it holds run folders instead, as a sweep folder does.
    """
    folder = Path(folder)
    if not folder.is_dir():
        how = "is a file" if folder.exists() else "does not exist"
        raise MissingRun(f"{folder} {how}; name a run folder of evaluate")
    if not (folder / MANIFEST).exists() and (inner := runs_in(folder)):
        named = ", ".join(map(str, inner[:6]))
        more = f", … ({len(inner)} in all)" if len(inner) > 6 else ""
        raise UsageError(f"{folder} is not a run folder but holds some; name one of them: {named}{more}")
    manifest = Manifest.read(folder)
    own = definitions_of(manifest.configuration)
    conditions = (
        StoredCondition(
            name=name,
            folder=folder / name,
            suite=manifest.suite,
            settings=entry,
            own_metrics=own,
            digested=manifest.digested,
        )
        for name, entry in manifest.configuration["conditions"].items()
    )
    return StoredRun(folder=folder, manifest=manifest, conditions=Conditions(folder, conditions))


def runs_in(folder: Path) -> list[Path]:
    """Return the run folders in a folder, such as that of a sweep."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []


def run_folders(places: Iterable[Path]) -> list[Path]:
    """Return run folders; a folder of run folders expands to those in it.

    Raises:
        UsageError: if there is none, or one occurs twice.
    """
    found: list[Path] = []
    for place in places:
        found += ([] if (place / MANIFEST).exists() else runs_in(place)) or [place]
    if not found:
        raise UsageError("report takes at least one run folder of evaluate")
    resolved = [folder.resolve() for folder in found]
    twice = sorted({str(folder) for folder, whole in zip(found, resolved, strict=True) if resolved.count(whole) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is named twice; name every run once")
    return found


def read_metrics(condition: Path) -> list[EpisodeMetrics]:
    """Read the metrics of a condition's episodes from its folder, in suite order.

    Raises:
        UnmeasuredRun: if the run has no metrics.
        RunFolderError: if the file is damaged, or the run is unfinished.
    """
    path = condition / METRICS_FILE
    if not path.is_file():
        if (condition / EPISODES).is_file():
            raise UnmeasuredRun(
                f"{path} is missing: repeat the run's command, which runs the episodes of the condition again"
            )
        raise RunFolderError(f"{path} is missing: the run has not finished; repeat its command to resume it")
    found = read_lines(path, EpisodeMetrics)
    if [one.episode for one in found] != list(range(len(found))):
        raise RunFolderError(f"{path} does not hold its episodes in order; delete it and repeat the run's command")
    check_unchanged(path)
    return found


def _rows(run: StoredRun, condition: StoredCondition) -> Iterable[dict[str, Any]]:
    together = zip(condition.records, condition.episode_metrics, condition.timings, strict=True)
    for record, metrics, timing in together:
        video = condition.videos.get(record.episode)
        yield {
            "condition": condition.name,
            **{f.name: getattr(record, f.name) for f in fields(record) if f.name != "detail"},
            # Null for an invalid episode: it neither succeeded nor failed.
            "success": None if record.outcome == INVALID else record.outcome == SUCCESS,
            **{f"detail_{name}": value for name, value in sorted(record.detail.items())},
            **{f.name: getattr(metrics, f.name) for f in fields(metrics) if f.name not in ("episode", "own")},
            **metrics.own,
            "wall_s": timing.wall_s,
            "video_s": timing.video_s,
            "inference_ms": list(timing.inference_ms),
            "video": None if video is None else str(video.relative_to(run.folder)),
        }
