"""Run planned runs: open their folders, run the missing episodes and finish them.

An evaluation is a list of one run, a sweep a list of many.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from act_eval.config import EvaluateConfig
from act_eval.errors import Interrupted, LaunchError
from act_eval.evaluation.checks import Records
from act_eval.evaluation.finish import FinishedRun, finish_run, load_ahead
from act_eval.evaluation.jobs import JobArray, PlannedFolder, ShardTask, kept_in
from act_eval.evaluation.plan import PlannedRun, WorkerPlan, plan_run, plan_workers
from act_eval.evaluation.reporter import EpisodeProgress, Reporter
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import Progress, WorkerPool, worker_pool
from act_eval.processes import preload
from act_eval.results import Manifest, RunFolder, Shard, open_run
from act_eval.results.manifest import MANIFEST
from act_eval.results.suites import differences, warnings_about
from act_eval.types import EpisodeRecord

StartPool = Callable[[PlannedRun], AbstractContextManager[WorkerPool]]
"""Starts the workers of a run; called only if episodes are missing."""


@dataclass(frozen=True, kw_only=True)
class FinishedShard:
    """A finished shard of a run."""

    folder: Path
    shard: Shard
    records: Records


def evaluate(config: EvaluateConfig, reporter: Reporter) -> FinishedRun | FinishedShard:
    """Evaluate a policy, or one shard of its episodes.

    Raises:
        ActEvalError: if the config, the run folder or a worker is at fault.
        Interrupted: naming the folder that keeps the finished episodes.
    """
    preload(config.policy, config.workers, config.launch.launcher)
    workers = plan_workers(config)
    if config.launch.launcher == "slurm":
        return _evaluate_by_jobs(config, workers, reporter)
    with ExitStack() as stack:
        if workers.local_only is not None and config.workers is None:
            reporter.line(f"workers 1, in this process: {workers.local_only}")
        given = (config.policy, workers.policy_label), (config.env, workers.env_label)
        policy, env = (name if isinstance(name, str) else label for name, label in given)
        if workers.workers > 1 and workers.shard is None:
            load_ahead()
        loading = f"loading {policy} and {env} in {workers.where}"
        reporter.line(loading)
        with reporter.phase(loading):
            pool = stack.enter_context(worker_pool(workers.build, workers.workers, workers.launcher))
            planned, summary = plan_run(config, workers, pool.facts, pool.machine)
        planned = replace(planned, manifest=planned.manifest.with_notes(input_check=list(pool.facts.warnings)))
        for line in (*summary, *pool.facts.warnings, *warnings_about(workers.seeds)):
            reporter.line(line)
        checked = config.probe and not config.mask_images  # masked images have no effect by design
        found = run_all([planned], workers.workers, workers.shard, lambda _: nullcontext(pool), reporter, check=checked)
    folder, records = planned.job.folder, found[planned.job.folder]
    if workers.shard is not None:
        return FinishedShard(folder=folder, shard=workers.shard, records=records)
    return finish_run(folder, records, reporter)


def run_all(
    runs: Sequence[PlannedRun],
    workers: int,
    shard: Shard | None,
    start: StartPool,
    reporter: Reporter,
    *,
    out: Path | None = None,
    may_grow: bool = False,
    check: bool = False,
) -> dict[Path, dict[str, list[EpisodeRecord]]]:
    """Run the missing episodes of every run, and return folder → condition → records.

    Args:
        runs: in running order.
        workers: number per run.
        shard: run only this shard.
        start: starts the workers of a run.
        reporter: receives the progress.
        out: folder named by `Interrupted`; that of the first run by default.
        may_grow: whether conditions may be added to existing runs.
        check: whether to check the inputs of the policy beside the first episodes; findings join the run's notes.

    Raises:
        LaunchError: if a worker died, or runs on another kind of machine than the planner.
        RunFolderError: if a folder is not a run folder, holds another run, or is in use.
        Interrupted: naming the folder that keeps the finished episodes.
    """
    with ExitStack() as stack:
        folders = [
            stack.enter_context(open_run(run.job.folder, run.manifest, may_grow=may_grow, shard=shard)) for run in runs
        ]
        try:
            _run_missing(runs, folders, workers, start, reporter, check)
            return {folder.path: folder.finish_own() for folder in folders}
        except KeyboardInterrupt as error:
            raise Interrupted(kept_in(out or folders[0].path)) from error


def _run_missing(
    runs: Sequence[PlannedRun],
    folders: Sequence[RunFolder],
    workers: int,
    start: StartPool,
    reporter: Reporter,
    check: bool,
) -> None:
    """Run the unfinished episodes; start workers only for runs that have any."""
    finished = {
        run.label + name: records
        for run, folder in zip(runs, folders, strict=True)
        for name, records in folder.finished().items()
    }
    for folder in folders:
        if folder.lost:
            more = f" and {len(folder.lost) - 3} more" if len(folder.lost) > 3 else ""
            reporter.line(f"missing {', '.join(folder.lost[:3])}{more} in {folder.path}: these episodes run again")
    episodes = len(folders[0].selected())
    if done := sum(map(len, finished.values())):
        reporter.line(f"{done} episodes are finished already; {len(finished) * episodes - done} are left to run")
        if done == len(finished) * episodes:
            return
    horizons = {run.label + name: run.manifest.suite.horizon for run in runs for name in run.job.conditions}
    with reporter.episodes(finished, episodes, horizons) as progress:
        for run, folder in zip(runs, folders, strict=True):
            if blocks := cut_blocks(run.job, folder.done(), workers):
                with start(run) as pool:
                    _check_machine(run, pool)
                    shards = folder.new_shards(workers)
                    on_check = partial(_report, folder, reporter) if check else None
                    pool.run(run.job, blocks, shards, _labelled(progress, run.label), on_check)
                folder.finish_own()


def _report(folder: RunFolder, reporter: Reporter, findings: tuple[str, ...]) -> None:
    """Print the findings of the input check, and keep them among the run's notes."""
    for line in findings:
        reporter.line(line)
    folder.note_check(findings)


def _labelled(progress: EpisodeProgress, label: str) -> Progress:
    def tell(condition: str, news: EpisodeRecord | int) -> None:
        if isinstance(news, int):
            progress.stepped(label + condition, news)
        else:
            progress.ended(label + condition, news)

    return tell


def _check_machine(run: PlannedRun, pool: WorkerPool) -> None:
    planned = {name: run.manifest.fingerprint[name] for name in pool.machine}
    if lines := differences(planned, dict(pool.machine), "machine"):
        raise LaunchError(
            "the workers run on another kind of machine than the sweep; start it on one of theirs:\n  "
            + "\n  ".join(lines)
        )


def _evaluate_by_jobs(config: EvaluateConfig, workers: WorkerPlan, reporter: Reporter) -> FinishedRun:
    array = JobArray.of(config, ShardTask(evaluate, config), reporter)
    # The jobs plan the run; a finished run gets a job too, which rejects the config of another run.
    begun = array.out / MANIFEST
    folders = [PlannedFolder(array.out, lambda: Manifest.read(array.out) if begun.is_file() else None)]
    records = array.run(folders, workers.workers, len(workers.seeds), at_least_one=True)[array.out]
    return finish_run(array.out, records, reporter)
