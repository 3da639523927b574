"""Carry out a sweep, one run folder after the other, and say what came of it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.sweeps.plan import PartPlan, Request, plan_parts, read_flags
from act_eval.cli.sweeps.screen import env_table, grid_progress, plan_lines, sentences
from act_eval.cli.sweeps.survey import survey
from act_eval.errors import LaunchError, RunFolderError
from act_eval.evaluation import plan as plan_blocks
from act_eval.launch import Progress, crew
from act_eval.metrics import read_metrics, write_summary
from act_eval.records import writing
from act_eval.runs import RunFolder, check_growing_run, locked, open_run
from act_eval.suites import differences
from act_eval.sweeps import Analysis, Cell, Part, Setting, analyse, write_tables
from act_eval.sweeps.figures import write_figures
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.sweep import Flags

OWN = frozenset({".lock", "sweep.csv", "comparisons.csv", "sweep.json", "plots"})
"""What a sweep's folder holds beside its run folders."""

_LOG_WIDTH = 160  # characters of a table that goes into a file


def sweep(flags: "Flags", stream: TextIO) -> int:
    """Sweep as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, a folder, or a worker.
    """
    width = None if stream.isatty() else _LOG_WIDTH
    console = Console(file=stream, highlight=False, soft_wrap=True, width=width)
    request = read_flags(flags)
    console.print(f"loading {', '.join(request.policies)} and {', '.join(request.envs)}", markup=False)
    parts = plan_parts(request, survey(request.policies, request.envs, apart=request.workers > 1))
    for line in plan_lines(request, parts):
        console.print(line, markup=False)
    running = [part for part in parts if part.job.arms]
    check_folder(request.out, running)  # before anything is put into it, the lock included
    with writing(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
    with locked(request.out):
        check_folder(request.out, running)
        try:
            finished = _run_all(request, running, console)
        except KeyboardInterrupt:
            console.print(f"interrupted; finished episodes are kept in {request.out}: repeat the command to resume")
            return INTERRUPTED
        with writing(request.out):
            analysis = analyse([_part(part, finished.get(part.job.folder.name, {})) for part in parts])
            write_tables(request.out, analysis, request.asked)
            figures = write_figures(request.out / "plots", analysis)
    _conclude(request, analysis, figures, console)
    return OK


def check_folder(out: Path, parts: Sequence[PartPlan]) -> None:
    """Refuse a folder of something else, of another sweep, or with cells that are not asked for; change nothing.

    Raises:
        RunFolderError: naming what is there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; --out is the folder of a sweep")
    wanted = {part.job.folder.name for part in parts}
    there = {entry.name for entry in out.iterdir()} - OWN - wanted
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
    for part in parts:
        check_growing_run(part.job.folder, part.manifest)


def _run_all(
    request: Request, parts: Sequence[PartPlan], console: Console
) -> dict[str, dict[str, list[EpisodeRecord]]]:
    """Return folder name → arm → records, after running what is missing."""
    with ExitStack() as stack:
        folders = [stack.enter_context(open_run(part.job.folder, part.manifest, may_grow=True)) for part in parts]
        finished = {
            f"{folder.path.name}/{arm}": records for folder in folders for arm, records in folder.finished().items()
        }
        if done := sum(map(len, finished.values())):
            left = len(finished) * len(request.seeds) - done
            console.print(f"{done} episodes are finished already; {left} are left to run")
        with grid_progress(console, finished, len(request.seeds)) as report:
            for part, folder in zip(parts, folders, strict=True):
                _run(part, folder, request, report)
        return {part.job.folder.name: folder.finish() for part, folder in zip(parts, folders, strict=True)}


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
    folder.finish()


def _part(plan: PartPlan, records: Mapping[str, Sequence[EpisodeRecord]]) -> Part:
    """Return a finished part, after writing what each of its arms comes to into its folder."""
    rules = {arm: series.rule for series in reversed(plan.expansion.series) for arm in series.arms}
    return Part(
        policy=plan.policy,
        env=plan.env,
        suite=plan.manifest.suite,
        control_s=plan.control_s,
        default_executor=plan.default_executor,
        cells={
            setting.arm: _cell(plan, setting, rules[setting.arm], records[setting.arm])
            for setting in plan.expansion.settings
        },
        series=plan.expansion.series,
        refused=plan.expansion.refused,
    )


def _cell(plan: PartPlan, setting: Setting, rule: str, records: Sequence[EpisodeRecord]) -> Cell:
    folder = plan.job.folder / setting.arm
    measured = read_metrics(folder)

    def seconds(steps: int | None) -> float | None:
        return None if steps is None else steps * plan.control_s

    return Cell(
        policy=plan.policy,
        env=plan.env,
        setting=setting,
        rule=rule,
        records=tuple(records),
        metrics=write_summary(folder),
        success_s=tuple(one.time_to_success_s for one in measured),
        informed_s=tuple(seconds(one.reaction_steps) for one in measured),
        turned_s=tuple(seconds(one.behavioural_reaction_steps) for one in measured),
    )


def _conclude(request: Request, analysis: Analysis, figures: Sequence[Path], console: Console) -> None:
    for env in dict.fromkeys(part.env for part in analysis.parts if part.cells):
        console.print(env_table(analysis, env))
    for line in sentences(analysis):
        console.print(line, markup=False)
    console.print(
        f"results {request.out} (sweep.csv, sweep.json, comparisons.csv; a run folder per policy and environment)",
        markup=False,
    )
    console.print(f"plots   {request.out / 'plots'}: {', '.join(path.name for path in figures)}", markup=False)
