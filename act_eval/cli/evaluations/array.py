"""An evaluation as an array of jobs: submit one per part, wait, and make one run of the parts."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.evaluations.concluding import conclude
from act_eval.cli.evaluations.jobs import ShardTask, all_parts, job_array, parts_left
from act_eval.cli.evaluations.plans import plan_crew
from act_eval.cli.evaluations.screen import progress_bars
from act_eval.launch import Progress
from act_eval.results import Manifest, RunFolder, open_run
from act_eval.results.records import ShardLine
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags


def evaluate_by_array(task: "ShardTask[Flags]", console: Console) -> int:
    """Evaluate by array jobs; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, the run folder, or a job.
    """
    crewing = plan_crew(task.flags)
    array = job_array(task)
    out = array.out
    begun = Manifest.read(out) if (out / "manifest.json").is_file() else None
    runs = {out: begun}
    every = all_parts(runs, crewing.workers)
    left = parts_left(runs, every, out, console)
    with ExitStack() as stack:
        before = RunFolder(out, begun).finished() if begun else {}
        bars = _Bars(console, stack, before, len(crewing.seeds))
        # A finished run gets one job too: it has nothing to run, and refuses flags that ask for another run.
        if not array.run(left or every[:1], runs, bars, console):
            return INTERRUPTED
    manifest = Manifest.read(out)
    with open_run(out, manifest) as folder:
        results = folder.finish()
    array.tidy()
    conclude(out, manifest, results, console)
    return OK


class _Bars:
    """Progress bars that appear with the first episode: the arms are known when a job has begun the run."""

    def __init__(
        self, console: Console, stack: ExitStack, before: Mapping[str, list[EpisodeRecord]], episodes: int
    ) -> None:
        self._console, self._stack, self._before, self._episodes = console, stack, before, episodes
        self._report: Progress | None = None

    def __call__(self, run: Path, line: ShardLine) -> None:
        if self._report is None:
            finished = {arm: self._before.get(arm, []) for arm in Manifest.read(run).arms}
            self._report = self._stack.enter_context(progress_bars(self._console, finished, self._episodes))
        self._report(line.arm, line.record)
