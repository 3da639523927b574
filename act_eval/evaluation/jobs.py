"""A list of runs as an array of Slurm jobs: a job runs one part of the episodes of every run.

It submits the parts that are left, follows the shards that the jobs write, and finishes the runs.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from act_eval.config import EvaluateConfig, SweepConfig
from act_eval.errors import ActEvalError, Interrupted, LaunchError, RunFolderError, UsageError
from act_eval.evaluation.reporter import EpisodeProgress, Lines, Reporter
from act_eval.results import JOBS, Manifest, Part, RunFolder, open_run, shards_of
from act_eval.results.records import ShardLine, read_shard
from act_eval.types import EpisodeRecord

_Config = TypeVar("_Config", EvaluateConfig, SweepConfig)


@dataclass(frozen=True)
class ShardTask(Generic[_Config]):
    """What one job does; picklable. It returns an error that was raised on purpose."""

    run: Callable[[_Config, Reporter], object]
    config: _Config

    def __call__(self, part: Part) -> ActEvalError | None:
        launch = replace(self.config.launch, launcher="local", launcher_options=(), shard=part.text)
        try:
            self.run(replace(self.config, launch=launch, workers=1), Lines())
        except ActEvalError as error:
            return error
        except KeyboardInterrupt:
            return LaunchError(f"shard {part.text} was interrupted")
        return None


@dataclass(frozen=True)
class PlannedFolder:
    """A run folder that jobs write into."""

    path: Path
    manifest: Callable[[], Manifest | None]
    """Returns the run that is wanted, in the terms of the machine that has begun it; None: jobs have yet to plan it."""
    label: str = ""
    """Prefix of its conditions' names beside those of other runs."""


@dataclass(frozen=True)
class JobArray:
    """Runs parts as jobs."""

    task: Callable[[Part], ActEvalError | None]
    out: Path
    """Folder that every node sees."""
    options: Mapping[str, Any]
    """submitit's parameters."""
    reporter: Reporter

    @classmethod
    def of(cls, config: EvaluateConfig | SweepConfig, task: "ShardTask[Any]", reporter: Reporter) -> "JobArray":
        """Return the array that a config asks for.

        Raises:
            UsageError: if it does not name a folder and a number of jobs.
        """
        if config.out is None or config.workers is None:
            missing = "--out, a folder that every node sees" if config.out is None else "--workers, the number of jobs"
            raise UsageError(f"--launcher slurm needs {missing}")
        return cls(task, config.out, config.launch.submission(), reporter)

    def run(
        self, folders: Sequence[PlannedFolder], count: int, episodes: int, *, at_least_one: bool = False
    ) -> dict[Path, dict[str, list[EpisodeRecord]]]:
        """Run what is left, a job per part, and finish the runs; return folder → condition → records.

        Args:
            folders: of the runs.
            count: parts that the episodes are cut into, unless they have been cut already.
            episodes: of each condition.
            at_least_one: submit a job even if nothing is left to run.

        Raises:
            ActEvalError: with what is wrong with submitit's parameters, or a job.
            Interrupted: finished episodes are kept.
        """
        from act_eval.launch.slurm import run_array

        every = all_parts((one.path for one in folders), count)
        left = [part for part in every if not all(_is_complete(one, part) for one in folders)]
        self.reporter.line(f"{len(left)} of {len(every)} shards are left to run, a job each: {self.out / JOBS}")
        parts = left or every[:at_least_one]
        if parts:
            with ExitStack() as stack:
                watch = _Watch(folders, episodes, self.reporter, stack)
                try:
                    run_array(self.task, parts, self.out / JOBS, self.options, watch)
                except KeyboardInterrupt as error:
                    raise Interrupted(kept_in(self.out)) from error
        found = {one.path: _finish(one) for one in folders}
        shutil.rmtree(self.out / JOBS, ignore_errors=True)  # the logs are for failures
        return found


class _Watch:
    """Reports the episodes that jobs finish, from the first one on: the conditions are known by then."""

    def __init__(self, folders: Sequence[PlannedFolder], episodes: int, reporter: Reporter, stack: ExitStack) -> None:
        self._folders, self._episodes, self._reporter, self._stack = folders, episodes, reporter, stack
        self._labels = {one.path: one.label for one in folders}
        self._before = {one.path: _finished(one) for one in folders}
        self._lines = NewLines(self._labels)
        self._progress: EpisodeProgress | None = None

    def __call__(self) -> None:
        for folder, line in self._lines.read():
            if self._progress is None:
                self._progress = self._stack.enter_context(self._begin())
            self._progress.ended(self._labels[folder] + line.condition, line.record)

    def _begin(self) -> Any:
        finished: dict[str, list[EpisodeRecord]] = {}
        horizons: dict[str, int] = {}
        for one in self._folders:
            manifest = one.manifest()
            for condition in () if manifest is None else manifest.conditions:
                finished[one.label + condition] = self._before[one.path].get(condition, [])
                horizons[one.label + condition] = 1 if manifest is None else manifest.suite.horizon
        return self._reporter.episodes(finished, self._episodes, horizons)


def kept_in(folder: Path) -> str:
    """Return the message of an interrupted run."""
    return f"interrupted; finished episodes are kept in {folder}: repeat the command to resume"


def all_parts(runs: Iterable[Path], count: int) -> list[Part]:
    """Return the parts into which runs are cut: `count`, unless they are cut already."""
    count = max((number for run in runs for number in shards_of(run).counts()), default=count)
    return [Part(number, count) for number in range(1, count + 1)]


def _finished(folder: PlannedFolder) -> dict[str, list[EpisodeRecord]]:
    manifest = folder.manifest()
    return {} if manifest is None else RunFolder(folder.path, manifest).finished()


def _is_complete(folder: PlannedFolder, part: Part) -> bool:
    manifest = folder.manifest()
    return manifest is not None and RunFolder(folder.path, manifest, part).is_complete()


def _finish(folder: PlannedFolder) -> dict[str, list[EpisodeRecord]]:
    manifest = folder.manifest()
    assert manifest is not None
    with open_run(folder.path, manifest, may_grow=True) as opened:
        return opened.finish()


class NewLines:
    """The lines that other processes add to the shards of run folders after this object was created."""

    def __init__(self, runs: Iterable[Path]) -> None:
        self._shards = {run: shards_of(run) for run in runs}
        self._sizes: dict[Path, int] = {}
        self._seen: set[tuple[Path, str, int]] = set()
        for _ in self.read():
            pass

    def read(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield each line that was not there the last time, with its run folder."""
        for run, shards in self._shards.items():
            for line in (line for file in shards.files() for line in self._grown(file)):
                key = (run, line.condition, line.record.episode)
                if key not in self._seen:
                    self._seen.add(key)
                    yield run, line

    def _grown(self, file: Path) -> list[ShardLine]:
        """Return the lines of a file that has grown."""
        try:
            size = file.stat().st_size
            if self._sizes.get(file) == size:
                return []
            lines = list(read_shard(file))
        except (FileNotFoundError, RunFolderError):
            if file.exists():
                raise
            return []  # its part has finished meanwhile: the lines are in the part's file
        self._sizes[file] = size
        return lines
