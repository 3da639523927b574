"""Arrays of jobs, each of them one part of a command's runs: what a job does, which are left, what is seen of them."""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

from rich.console import Console

from act_eval.cli import OK
from act_eval.cli.evaluations.launching import array_options
from act_eval.errors import ActEvalError, LaunchError, RunFolderError, UsageError
from act_eval.results import JOBS, Manifest, Part, RunFolder, shards_of
from act_eval.results.records import ShardLine, read_shard

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags as EvaluateFlags
    from act_eval.cli.sweep import Flags as SweepFlags

_Flags = TypeVar("_Flags", "EvaluateFlags", "SweepFlags")
Report = Callable[[Path, ShardLine], None]
"""Is told of an episode that has just ended: run folder, line."""


@dataclass(frozen=True)
class ShardTask(Generic[_Flags]):
    """What one job of an array does; picklable. It returns an error that was raised on purpose."""

    command: Callable[[_Flags, TextIO], int]
    """Carries the flags out."""
    flags: _Flags

    def __call__(self, part: Part) -> ActEvalError | None:
        launch = replace(self.flags.launch, launcher="local", slurm=(), shard=part.text)
        try:
            code = self.command(replace(self.flags, launch=launch, workers=1), sys.stdout)
        except ActEvalError as error:
            return error
        return None if code == OK else LaunchError(f"shard {part.text} was interrupted")


@dataclass(frozen=True)
class JobArray:
    """Runs parts as jobs."""

    task: Callable[[Part], ActEvalError | None]
    out: Path
    """Folder that every node sees."""
    options: Mapping[str, Any]
    """submitit's parameters."""

    def run(self, parts: Sequence[Part], runs: Iterable[Path], report: Report, console: Console) -> bool:
        """Run parts, a job each, and wait for them; return False if that was interrupted.

        Args:
            parts: to run.
            runs: the folders into which the jobs write.
            report: called for each episode that ends meanwhile.
            console: where an interrupt is answered.

        Raises:
            ActEvalError: with what is wrong with submitit's parameters, or a job.
        """
        from act_eval.launch.slurm import run_array

        news = News(runs)

        def watch() -> None:
            for run, line in news.lines():
                report(run, line)

        try:
            run_array(self.task, parts, self.out / JOBS, self.options, watch)
        except KeyboardInterrupt:
            console.print(f"interrupted; finished episodes are kept in {self.out}: repeat the command to resume")
            return False
        return True

    def tidy(self) -> None:
        """Drop the jobs' logs, which are for failures."""
        shutil.rmtree(self.out / JOBS, ignore_errors=True)


def job_array(task: ShardTask[_Flags]) -> JobArray:
    """Return the array that a command's flags ask for.

    Raises:
        UsageError: if they do not name a folder and a number of jobs, or a parameter is not NAME=VALUE.
    """
    flags = task.flags
    options = array_options(flags.launch)
    if flags.out is None or flags.workers is None:
        missing = "--out, a folder that every node sees" if flags.out is None else "--workers, the number of jobs"
        raise UsageError(f"--launcher slurm needs {missing}")
    return JobArray(task, flags.out, options)


def all_parts(runs: Iterable[Path], count: int) -> list[Part]:
    """Return the parts into which runs are cut: `count`, unless they are cut already."""
    count = max((number for run in runs for number in shards_of(run).counts()), default=count)
    return [Part(number, count) for number in range(1, count + 1)]


def parts_left(runs: Mapping[Path, Manifest | None], every: Sequence[Part], out: Path, console: Console) -> list[Part]:
    """Return the parts of which something is left to run, and say how many they are.

    Args:
        runs: folder → the run that is wanted in it; None where nothing has begun.
        every: all parts of them.
        out: folder of the jobs.
        console: where it is said.
    """
    left = [part for part in every if not all(_is_complete(run, wanted, part) for run, wanted in runs.items())]
    console.print(f"{len(left)} of {len(every)} shards are left to run, a job each: {out / JOBS}", markup=False)
    return left


def _is_complete(run: Path, wanted: Manifest | None, part: Part) -> bool:
    return wanted is not None and RunFolder(run, wanted, part).is_complete()


class News:
    """The lines that processes elsewhere add to the shards of run folders; those that are there already are no news."""

    def __init__(self, runs: Iterable[Path]) -> None:
        self._shards = {run: shards_of(run) for run in runs}
        self._sizes: dict[Path, int] = {}
        self._seen: set[tuple[Path, str, int]] = set()
        for _ in self.lines():
            pass

    def lines(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield each line that was not there the last time, with its run folder."""
        for run, shards in self._shards.items():
            for line in (line for file in shards.files() for line in self._read(file)):
                key = (run, line.arm, line.record.episode)
                if key not in self._seen:
                    self._seen.add(key)
                    yield run, line

    def _read(self, file: Path) -> list[ShardLine]:
        """Return the lines of a file that has grown."""
        try:
            size = file.stat().st_size
            if self._sizes.get(file) == size:
                return []
            lines = list(read_shard(file))
        except (FileNotFoundError, RunFolderError):
            if file.exists():
                raise
            return []  # its part has finished meanwhile: the lines are in the part's own file
        self._sizes[file] = size
        return lines
