"""A list of runs as an array of Slurm jobs; each job runs one shard of every run.

This process submits the unfinished shards, reports the episodes that the jobs write, and finishes the runs.
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
from act_eval.results import JOBS, Manifest, RunFolder, Shard, open_run, shards_of
from act_eval.results.records import ShardLine, read_shard
from act_eval.types import EpisodeRecord

_Config = TypeVar("_Config", EvaluateConfig, SweepConfig)


@dataclass(frozen=True)
class ShardTask(Generic[_Config]):
    """The work of one job; picklable. An `ActEvalError` is returned, not raised."""

    run: Callable[[_Config, Reporter], object]
    config: _Config

    def __call__(self, shard: Shard) -> ActEvalError | None:
        launch = replace(self.config.launch, launcher="local", launcher_options=(), shard=shard.text)
        try:
            self.run(replace(self.config, launch=launch, workers=1), Lines())
        except ActEvalError as error:
            return error
        except KeyboardInterrupt:
            return LaunchError(f"shard {shard.text} was interrupted")
        return None


@dataclass(frozen=True)
class PlannedFolder:
    """A run folder that jobs write into."""

    path: Path
    manifest: Callable[[], Manifest | None]
    """Returns the manifest, with the facts of the machine that started the run; None until a job has planned it."""
    label: str = ""
    """Prefix of its conditions' names beside those of other runs."""

    def opened(self, shard: Shard | None = None) -> RunFolder | None:
        """Return the run folder, or one shard of it; None until a job has planned it."""
        manifest = self.manifest()
        return None if manifest is None else RunFolder(self.path, manifest, shard)

    def finish(self) -> dict[str, list[EpisodeRecord]]:
        """Merge the shards; return condition → records."""
        manifest = self.manifest()
        assert manifest is not None
        with open_run(self.path, manifest, may_grow=True) as opened:
            return opened.finish()


@dataclass(frozen=True)
class JobArray:
    """An array of jobs, one per shard."""

    task: Callable[[Shard], ActEvalError | None]
    out: Path
    """Folder that every node sees."""
    options: Mapping[str, Any]
    """submitit's parameters."""
    reporter: Reporter

    @classmethod
    def of(cls, config: EvaluateConfig | SweepConfig, task: "ShardTask[Any]", reporter: Reporter) -> "JobArray":
        """Return the array of a config.

        Raises:
            UsageError: if the config has no folder or no number of jobs.
        """
        if config.out is None or config.workers is None:
            missing = "--out, a folder that every node sees" if config.out is None else "--workers, the number of jobs"
            raise UsageError(f"--launcher slurm needs {missing}")
        return cls(task, config.out, config.launch.submission(), reporter)

    def run(
        self, folders: Sequence[PlannedFolder], count: int, episodes: int, *, at_least_one: bool = False
    ) -> dict[Path, dict[str, list[EpisodeRecord]]]:
        """Run the unfinished shards, one job each, and finish the runs; return folder → condition → records.

        Args:
            folders: of the runs.
            count: number of shards, unless the runs are already split.
            episodes: of each condition.
            at_least_one: submit a job even if nothing is left to run.

        Raises:
            ActEvalError: if submitit's parameters are invalid, or a job failed.
            Interrupted: finished episodes are kept.
        """
        from act_eval.launch.slurm import run_array

        every = all_shards((one.path for one in folders), count)
        left = [
            shard for shard in every if not all((part := one.opened(shard)) and part.is_complete() for one in folders)
        ]
        self.reporter.line(f"{len(left)} of {len(every)} shards are left to run, one job each: {self.out / JOBS}")
        shards = left or every[:at_least_one]
        if shards:
            with ExitStack() as stack:
                watch = _Watch(folders, episodes, self.reporter, stack)
                try:
                    run_array(self.task, shards, self.out / JOBS, self.options, watch)
                except KeyboardInterrupt as error:
                    raise Interrupted(kept_in(self.out)) from error
        found = {one.path: one.finish() for one in folders}
        shutil.rmtree(self.out / JOBS, ignore_errors=True)  # logs are kept only after a failure
        return found


class _Watch:
    """Reports the episodes that jobs finish; starts with the first one, because the conditions are then known."""

    def __init__(self, folders: Sequence[PlannedFolder], episodes: int, reporter: Reporter, stack: ExitStack) -> None:
        self._folders, self._episodes, self._reporter, self._stack = folders, episodes, reporter, stack
        self._labels = {one.path: one.label for one in folders}
        self._before = {one.path: run.finished() if (run := one.opened()) else {} for one in folders}
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


def all_shards(runs: Iterable[Path], count: int) -> list[Shard]:
    """Return the shards of the runs: `count`, unless the runs are already split."""
    count = max((number for run in runs for number in shards_of(run).counts()), default=count)
    return [Shard(number, count) for number in range(1, count + 1)]


class NewLines:
    """The lines that other processes append to the shards of run folders after this object was created."""

    def __init__(self, runs: Iterable[Path]) -> None:
        self._shards = {run: shards_of(run) for run in runs}
        self._sizes: dict[Path, int] = {}
        self._seen: set[tuple[Path, str, int]] = set()
        for _ in self.read():
            pass

    def read(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield each line added since the last call, with its run folder."""
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
            return []  # the shard has finished: its own file holds the lines
        self._sizes[file] = size
        return lines
