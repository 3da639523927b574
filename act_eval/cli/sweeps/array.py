"""A sweep as an array of jobs: submit one per part of the grid's episodes, wait, and make the tables.

The grid is looked at on this machine; whatever depends on the machine is taken from what the jobs have begun.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.evaluations.jobs import JobArray, ShardTask, all_parts, job_array, parts_left
from act_eval.cli.sweeps.beginning import begin, check_folder, finished_cells
from act_eval.cli.sweeps.concluding import conclude
from act_eval.cli.sweeps.plan import PartPlan
from act_eval.cli.sweeps.screen import grid_progress
from act_eval.results import Manifest, Part, RunFolder, locked, open_run
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.sweep import Flags


def sweep_by_array(task: "ShardTask[Flags]", console: Console) -> int:
    """Sweep by array jobs; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, a folder, or a job.
    """
    array = job_array(task)
    request, parts = begin(replace(task.flags, device="auto"), console)  # the jobs' GPUs are elsewhere
    running = [part for part in parts if part.job.arms]
    check_folder(array.out, _as_begun(running, task.flags))
    runs = {part.job.folder: part.manifest for part in running}
    left = parts_left(runs, all_parts(runs, request.workers), array.out, console)
    if left and not _run(array, left, running, len(request.seeds), console):
        return INTERRUPTED
    with locked(array.out):
        conclude(request, parts, _finish(_as_begun(running, task.flags)), console)
    array.tidy()
    return OK


def _run(array: JobArray, left: Sequence[Part], parts: Sequence[PartPlan], episodes: int, console: Console) -> bool:
    """Run what is left and show it; return whether it came to its end."""
    finished = finished_cells(RunFolder(part.job.folder, part.manifest) for part in parts)
    with grid_progress(console, finished, episodes) as report:
        return array.run(
            left,
            [part.job.folder for part in parts],
            lambda run, line: report(f"{run.name}/{line.arm}", line.record),
            console,
        )


def _finish(parts: Sequence[PartPlan]) -> dict[str, dict[str, list[EpisodeRecord]]]:
    results = {}
    for part in parts:
        with open_run(part.job.folder, part.manifest, may_grow=True) as folder:
            results[part.job.folder.name] = folder.finish()
    return results


def _as_begun(parts: Sequence[PartPlan], flags: "Flags") -> list[PartPlan]:
    """Return the parts with what `auto` and the machine mean where the jobs have begun their runs."""
    return [_begun(part, flags) if (part.job.folder / "manifest.json").is_file() else part for part in parts]


def _begun(part: PartPlan, flags: "Flags") -> PartPlan:
    there = Manifest.read(part.job.folder)
    wanted = {"device": flags.device, "compile": flags.compile}
    asked = {name: value for name, value in wanted.items() if value != "auto" and name in there.configuration}
    planned = {name: part.manifest.configuration[name] for name in ("policy", "arms", "video")}
    manifest = replace(
        part.manifest,
        configuration={**there.configuration, **planned, **asked},
        fingerprint=there.fingerprint,
    )
    return replace(part, manifest=manifest)
