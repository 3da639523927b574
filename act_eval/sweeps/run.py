"""Run a sweep: a list of evaluations, then one analysis of all of them with tables and figures."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from act_eval.config import SweepConfig
from act_eval.errors import RunFolderError, UsageError
from act_eval.evaluation.jobs import JobArray, PlannedFolder, ShardTask
from act_eval.evaluation.plan import PlannedRun
from act_eval.evaluation.reporter import Reporter
from act_eval.evaluation.run import run_all
from act_eval.launch import worker_pool
from act_eval.results import JOBS, Manifest, Shard, check_growing_run, locked
from act_eval.results.records import writing
from act_eval.results.run import read_run
from act_eval.sweeps.analysis import Analysis, analyse
from act_eval.sweeps.figures import write_figures
from act_eval.sweeps.grid import Setting, shared_refusals
from act_eval.sweeps.plan import SweepPlan, SweepRun, plan_runs, plan_sweep
from act_eval.sweeps.results import Cell, RunCells
from act_eval.sweeps.summary import env_tables, sentences
from act_eval.sweeps.survey import survey
from act_eval.sweeps.tables import write_tables
from act_eval.types import EpisodeRecord

OWN = frozenset({".lock", "sweep.csv", "comparisons.csv", "sweep.json", "plots", JOBS})
"""Entries of a sweep folder beside its run folders."""

Results = Mapping[Path, Mapping[str, Sequence[EpisodeRecord]]]
"""Run folder → condition → records."""


@dataclass(frozen=True, kw_only=True)
class FinishedSweep:
    """A finished sweep."""

    out: Path
    analysis: Analysis
    figures: tuple[Path, ...]
    results: Results

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size().columns)

    def text(self, width: int = 80) -> str:
        """Return tables and conclusions for a terminal of that many characters."""
        return "\n".join([*(table.text(width) for table in env_tables(self.analysis)), *sentences(self.analysis)])

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape(line)}</li>" for line in sentences(self.analysis))
        return "\n".join([*(table.html() for table in env_tables(self.analysis)), f"<ul>{lines}</ul>"])


@dataclass(frozen=True, kw_only=True)
class FinishedSweepShard:
    """A finished shard of the episodes of every cell."""

    out: Path
    shard: Shard
    results: Results


def sweep(config: SweepConfig, reporter: Reporter) -> FinishedSweep | FinishedSweepShard:
    """Run a sweep, or one shard of its episodes.

    Raises:
        ActEvalError: if the config, a folder, a worker or a job is at fault.
        Interrupted: naming the folder that keeps the finished episodes.
    """
    if config.launch.launcher == "slurm":
        return _sweep_by_jobs(config, reporter)
    plan, every = _plan(config, reporter)
    runs = [one.run for one in every if one.run.job.conditions]
    check_folder(plan.out, runs)  # before any write, the lock file included
    with writing(plan.out):
        plan.out.mkdir(parents=True, exist_ok=True)
    with locked(plan.out, shared=plan.shard is not None):
        check_folder(plan.out, runs)
        results = run_all(
            runs,
            plan.workers,
            plan.shard,
            lambda run: worker_pool(run.build, plan.workers, plan.launcher),
            reporter,
            out=plan.out,
            may_grow=True,
        )
        if plan.shard is not None:
            return FinishedSweepShard(out=plan.out, shard=plan.shard, results=results)
        return _finish(plan, every, results)


def _sweep_by_jobs(config: SweepConfig, reporter: Reporter) -> FinishedSweep:
    """Run a sweep as an array of jobs.

    This machine plans the grid; device, compile mode and fingerprint are those of the jobs.
    """
    array = JobArray.of(config, ShardTask(sweep, config), reporter)
    plan, every = _plan(replace(config, device="auto"), reporter)  # the jobs' GPUs are elsewhere
    runs = [one.run for one in every if one.run.job.conditions]
    check_folder(array.out, [replace(run, manifest=_as_begun(run, config)) for run in runs])
    folders = [PlannedFolder(run.job.folder, lambda run=run: _as_begun(run, config), run.label) for run in runs]
    results = array.run(folders, plan.workers, len(plan.seeds))
    with locked(array.out):
        return _finish(plan, every, results)


def _plan(config: SweepConfig, reporter: Reporter) -> tuple[SweepPlan, list[SweepRun]]:
    plan = plan_sweep(config)
    if plan.local_only is not None and config.workers is None:
        reporter.line(f"workers 1, in this process: {plan.local_only}")
    if plan.batch > 1 and (made := [name for name, env in plan.envs.items() if env.made]):
        reporter.line(f"batch 1 in {', '.join(made)}: a made environment has one slot")
    reporter.line(loading := f"loading {', '.join(plan.policies)} and {', '.join(plan.envs)}")
    with reporter.phase(loading):
        facts = survey(plan.policies, plan.envs, apart=plan.workers > 1, perturbations=plan.perturbations)
        runs = plan_runs(plan, facts)
    for line in (*facts.remarks, *_plan_lines(plan, runs)):
        reporter.line(line)
    return plan, runs


def _plan_lines(plan: SweepPlan, runs: Sequence[SweepRun]) -> list[str]:
    """Return the summary of a sweep, and its refused cells with reasons."""
    cells = sum(len(one.run.job.conditions) for one in runs)
    episodes = len(plan.seeds)
    share = "" if plan.shard is None else f", of which shard {plan.shard.text} has {cells * plan.episodes}"
    lines = [
        f"suite   {env}: {suite.hash}, {episodes} episodes ({plan.drawn}), the same in every cell"
        for env, suite in {one.env: one.run.manifest.suite for one in runs}.items()
    ]
    for policy, one in {one.policy: one for one in runs}.items():
        about = one.run.manifest.configuration["policy"]
        prefix = "no prefix" if about["max_delay"] is None else f"prefix of up to {about['max_delay']}"
        lines.append(f"policy  {policy}: chunk C = {about['chunk']}, {about['window']} window, {prefix}")
    for one in runs:
        lines.append(f"cells   {one.policy} in {one.env}: {', '.join(one.run.job.conditions) or 'nothing'}")
    not_run = {
        f"not run {one.policy}: {cells_text}: {reason}": None
        for one in runs
        for cells_text, reason in shared_refusals(one.expansion.refused)
    }
    at_a_time = f"{plan.workers} × {plan.batch} at a time, no videos"
    return [
        *lines,
        *not_run,
        f"run     {cells} cells, {cells * episodes} episodes{share}; {at_a_time}",
        f"folder  {plan.out}",
    ]


def check_folder(out: Path, runs: Sequence[PlannedRun]) -> None:
    """Check that a folder is new, or that of a smaller sweep, without changing anything.

    Raises:
        RunFolderError: naming the unexpected content.
    """
    check_names(out, [run.job.folder.name for run in runs])
    for run in runs:
        check_growing_run(run.job.folder, run.manifest)


def check_names(out: Path, expected: Collection[str]) -> None:
    """Check that a folder holds only expected run folders of a sweep, without changing anything.

    Raises:
        UsageError: if it is a file.
        RunFolderError: naming the unexpected content.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder")
    present = {entry.name for entry in out.iterdir()} - OWN - set(expected)
    runs = sorted(name for name in present if (out / name / "manifest.json").is_file())
    if "manifest.json" in present:
        raise RunFolderError(f"{out} is the folder of a single run; choose another --out")
    if other := sorted(present.difference(runs)):
        raise RunFolderError(
            f"{out} is not the folder of a sweep and holds {', '.join(other[:5])}; choose another --out"
        )
    if runs:
        raise RunFolderError(
            f"{out} holds {', '.join(runs)}, which are not in this grid. Cells may be added to a sweep, not removed: "
            "add them to the grid, or choose another --out"
        )


def _as_begun(run: PlannedRun, config: SweepConfig) -> Manifest:
    """Return a run's manifest with the device, compile mode and fingerprint of the job that started it."""
    if not (run.job.folder / "manifest.json").is_file():
        return run.manifest
    started = Manifest.read(run.job.folder)
    given = {"device": config.device, "compile": config.compile}
    explicit = {name: value for name, value in given.items() if value != "auto" and name in started.configuration}
    planned = {name: run.manifest.configuration[name] for name in ("policy", "conditions", "video")}
    return replace(
        run.manifest,
        configuration={**started.configuration, **planned, **explicit},
        fingerprint=started.fingerprint,
    )


def _finish(plan: SweepPlan, runs: Sequence[SweepRun], results: Results) -> FinishedSweep:
    """Write tables and figures of a finished sweep into its folder."""
    with writing(plan.out):
        analysis = analyse([_analysed(one, results.get(one.folder, {})) for one in runs])
        write_tables(plan.out, analysis, plan.axes)
        figures = write_figures(plan.out / "plots", analysis)
    return FinishedSweep(out=plan.out, analysis=analysis, figures=tuple(figures), results=results)


def _analysed(one: SweepRun, records: Mapping[str, Sequence[EpisodeRecord]]) -> RunCells:
    """Return a finished run's cells, after writing the summary of each into its folder."""
    rules = {condition: series.rule for series in reversed(one.expansion.series) for condition in series.conditions}
    return RunCells(
        policy=one.policy,
        env=one.env,
        suite=one.run.manifest.suite,
        control_s=one.control_s,
        default_executor=one.default_executor,
        cells={
            setting.condition: _cell(one, setting, rules[setting.condition], records[setting.condition])
            for setting in one.expansion.settings
        },
        series=one.expansion.series,
        refused=one.expansion.refused,
    )


def _cell(one: SweepRun, setting: Setting, rule: str, records: Sequence[EpisodeRecord]) -> Cell:
    stored = read_run(one.folder).conditions[setting.condition]
    return Cell(
        policy=one.policy,
        env=one.env,
        setting=setting,
        rule=rule,
        records=tuple(records),
        metrics=stored.write_summary(),
        measured=stored.episode_metrics,
    )
