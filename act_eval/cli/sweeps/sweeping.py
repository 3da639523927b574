"""Carry out a sweep, one run folder after the other, and say what came of it."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.evaluations.jobs import ShardTask
from act_eval.cli.sweeps.array import sweep_by_array
from act_eval.cli.sweeps.beginning import begin, check_folder, finished_cells
from act_eval.cli.sweeps.concluding import conclude, conclude_part
from act_eval.cli.sweeps.plan import PartPlan, Request
from act_eval.cli.sweeps.screen import grid_progress
from act_eval.errors import LaunchError
from act_eval.evaluation.worker import plan as plan_blocks
from act_eval.launch import Progress, crew
from act_eval.results import RunFolder, locked, open_run
from act_eval.results.records import writing
from act_eval.results.suites import differences
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.sweep import Flags

_LOG_WIDTH = 160  # characters of a table that goes into a file


def sweep(flags: "Flags", stream: TextIO) -> int:
    """Sweep as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, a folder, a worker or a job.
    """
    width = None if stream.isatty() else _LOG_WIDTH
    console = Console(file=stream, highlight=False, soft_wrap=True, width=width)
    if flags.launch.launcher == "slurm":
        return sweep_by_array(ShardTask(sweep, flags), console)
    request, parts = begin(flags, console)
    running = [part for part in parts if part.job.arms]
    check_folder(request.out, running)  # before anything is put into it, the lock included
    with writing(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
    with locked(request.out, shared=request.part is not None):
        check_folder(request.out, running)
        try:
            results = _run_all(request, running, console)
        except KeyboardInterrupt:
            console.print(f"interrupted; finished episodes are kept in {request.out}: repeat the command to resume")
            return INTERRUPTED
        if request.part is None:
            conclude(request, parts, results, console)
        else:
            conclude_part(request.out, request.part, results, console)
    return OK


def _run_all(
    request: Request, parts: Sequence[PartPlan], console: Console
) -> dict[str, dict[str, list[EpisodeRecord]]]:
    """Return folder name → arm → records, after running what is missing."""
    with ExitStack() as stack:
        folders = [
            stack.enter_context(open_run(part.job.folder, part.manifest, may_grow=True, part=request.part))
            for part in parts
        ]
        finished = finished_cells(folders)
        if done := sum(map(len, finished.values())):
            left = len(finished) * request.episodes - done
            console.print(f"{done} episodes are finished already; {left} are left to run")
        with grid_progress(console, finished, request.episodes) as report:
            for part, folder in zip(parts, folders, strict=True):
                _run(part, folder, request, report)
        return {part.job.folder.name: folder.finish_own() for part, folder in zip(parts, folders, strict=True)}


def _run(part: PartPlan, folder: RunFolder, request: Request, report: Progress) -> None:
    """Run what is missing of a part; workers are started only where something is.

    Raises:
        LaunchError: if they run on another kind of machine than the one that the manifest names.
    """
    blocks = plan_blocks(part.job, folder.done(), request.workers)
    if not blocks:
        return

    def named(arm: str, record: EpisodeRecord) -> None:
        report(f"{folder.path.name}/{arm}", record)

    with crew(part.build, request.workers, request.place) as team:
        planned = {name: part.manifest.fingerprint[name] for name in team.machine}
        if lines := differences(planned, dict(team.machine), "machine"):
            raise LaunchError(
                "the workers run on another kind of machine than the sweep; start it on one of theirs:\n  "
                + "\n  ".join(lines)
            )
        team.run(part.job, blocks, folder.new_shards(request.workers), named)
    folder.finish_own()
