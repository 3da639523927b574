"""An evaluation as an array of jobs: submit one per part, wait, and make one run of the parts."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.evaluations.concluding import conclude
from act_eval.cli.evaluations.launching import ShardTask, array_options, parts
from act_eval.cli.evaluations.plans import Crewing, plan_crew
from act_eval.cli.evaluations.screen import progress_bars
from act_eval.errors import UsageError
from act_eval.launch import Progress
from act_eval.runs import JOBS, Manifest, Part, Shards, open_run, shards_of

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags


def evaluate_by_array(flags: "Flags", console: Console) -> int:
    """Evaluate by array jobs; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, the run folder, or a job.
    """
    crewing = plan_crew(flags)
    options = array_options(flags.launch)
    if flags.out is None or flags.workers is None:
        missing = "--out, a folder that every node sees" if flags.out is None else "--workers, the number of jobs"
        raise UsageError(f"--launcher slurm needs {missing}")
    every, left = _parts(flags.out, crewing)
    console.print(f"{len(left)} of {len(every)} shards are left to run, a job each: {flags.out / JOBS}", markup=False)
    if left:
        from act_eval.launch.arrays import run_array

        with ExitStack() as stack:
            watch = _Watch(flags.out, console, stack, len(crewing.seeds))
            try:
                run_array(ShardTask(flags), left, flags.out / JOBS, options, watch)
            except KeyboardInterrupt:
                console.print(f"interrupted; finished episodes are kept in {flags.out}: repeat the command to resume")
                return INTERRUPTED
    manifest = Manifest.read(flags.out)
    with open_run(flags.out, manifest) as folder:
        results = folder.finish()
    shutil.rmtree(flags.out / JOBS, ignore_errors=True)  # logs are for failures
    conclude(flags.out, manifest, results, console)
    return OK


def _parts(out: Path, crewing: Crewing) -> tuple[list[Part], list[Part]]:
    """Return all parts, and those that have not finished; a run that is cut already keeps its number of parts."""
    shards = shards_of(out)
    every = list(parts(max(shards.counts(), default=crewing.workers)))
    if (out / "manifest.json").is_file() and not list(shards.folder.glob("*")):
        return every, [] if _is_finished(out) else every
    return every, [part for part in every if not shards.finished_file(part.name).is_file()]


def _is_finished(out: Path) -> bool:
    return all((out / arm / "episodes.jsonl").is_file() for arm in Manifest.read(out).arms)


class _Watch:
    """Moves the progress bars by what the jobs have put on the disk."""

    def __init__(self, out: Path, console: Console, stack: ExitStack, episodes: int) -> None:
        self._shards: Shards = shards_of(out)
        self._out = out
        self._console, self._stack, self._episodes = console, stack, episodes
        self._report: Progress | None = None
        self._seen: set[tuple[str, int]] = set()

    def __call__(self) -> None:
        if self._report is None:
            if not (self._out / "manifest.json").is_file():
                return
            arms = Manifest.read(self._out).arms
            bars = progress_bars(self._console, {arm: [] for arm in arms}, self._episodes)
            self._report = self._stack.enter_context(bars)
        for _, line in self._shards.lines():
            key = (line.arm, line.record.episode)
            if key not in self._seen:
                self._seen.add(key)
                self._report(line.arm, line.record)
