"""From flags to a sweep that is about to run, and the folders that it may run in."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from act_eval.cli.sweeps.plan import PartPlan, Request, plan_parts, read_flags
from act_eval.cli.sweeps.screen import plan_lines
from act_eval.cli.sweeps.survey import survey
from act_eval.errors import RunFolderError
from act_eval.results import JOBS, RunFolder, check_growing_run
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.sweep import Flags

OWN = frozenset({".lock", "sweep.csv", "comparisons.csv", "sweep.json", "plots", JOBS})
"""What a sweep's folder holds beside its run folders."""


def begin(flags: "Flags", console: Console) -> tuple[Request, list[PartPlan]]:
    """Return what is to be run, and say it.

    Raises:
        ActEvalError: with what is wrong with the flags, a policy or an environment.
    """
    request = read_flags(flags)
    console.print(f"loading {', '.join(request.policies)} and {', '.join(request.envs)}", markup=False)
    parts = plan_parts(request, survey(request.policies, request.envs, apart=request.workers > 1))
    for line in plan_lines(request, parts):
        console.print(line, markup=False)
    return request, parts


def check_folder(out: Path, parts: Sequence[PartPlan]) -> None:
    """Refuse a folder of something else, of another sweep, or with cells that are not asked for; change nothing.

    Raises:
        RunFolderError: naming what is there.
    """
    check_names(out, [part.job.folder.name for part in parts])
    for part in parts:
        check_growing_run(part.job.folder, part.manifest)


def finished_cells(folders: Iterable[RunFolder]) -> dict[str, list[EpisodeRecord]]:
    """Return cell → records of the episodes that have finished already."""
    return {f"{folder.path.name}/{arm}": records for folder in folders for arm, records in folder.finished().items()}


def check_names(out: Path, wanted: Collection[str]) -> None:
    """Refuse a folder that holds something else than the wanted run folders of a sweep; change nothing.

    Raises:
        RunFolderError: naming what is there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; --out is the folder of a sweep")
    there = {entry.name for entry in out.iterdir()} - OWN - set(wanted)
    runs = sorted(name for name in there if (out / name / "manifest.json").is_file())
    if "manifest.json" in there:
        raise RunFolderError(f"{out} is the folder of a single run; choose another --out")
    if foreign := sorted(there.difference(runs)):
        raise RunFolderError(
            f"{out} is not the folder of a sweep and holds {', '.join(foreign[:5])}; choose another --out"
        )
    if runs:
        raise RunFolderError(
            f"{out} holds {', '.join(runs)}, which this command does not ask for. Cells may be added to a sweep, not "
            "left out: ask for them too, or choose another --out"
        )
