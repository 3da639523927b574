"""Carry out an evaluation and say what came of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.plans import Plan, make_plan
from act_eval.cli.screen import outcome_table, progress_bars, remarks
from act_eval.evaluation import plan as plan_blocks
from act_eval.launch import run_blocks
from act_eval.runs import RunFolder, open_run
from act_eval.suites import warnings_about
from act_eval.types import EpisodeRecord

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags


def evaluate(flags: "Flags", stream: TextIO) -> int:
    """Evaluate as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, the run folder, or a worker.
    """
    console = Console(file=stream, highlight=False, soft_wrap=True)
    plan = make_plan(flags)
    for line in (*plan.summary, *warnings_about(plan.manifest.suite.seeds)):
        console.print(line, markup=False)
    with open_run(plan.job.folder, plan.manifest) as folder:
        try:
            results = _run(plan, folder, console)
        except KeyboardInterrupt:
            console.print(f"interrupted; finished episodes are kept in {folder.path}: repeat the command to resume")
            return INTERRUPTED
    _conclude(plan, results, console)
    return OK


def _run(plan: Plan, folder: RunFolder, console: Console) -> dict[str, list[EpisodeRecord]]:
    done = folder.done()
    blocks = plan_blocks(plan.job, done, plan.workers)
    finished = sum(map(len, done.values()))
    if finished:
        left = sum(len(block.episodes) for block in blocks)
        console.print(f"{finished} episodes are finished already; {left} are left to run")
    if blocks:
        shards = folder.new_shards(min(plan.workers, len(blocks)))
        with progress_bars(console, {arm: len(done[arm]) for arm in done}, len(plan.job.seeds)) as report:
            run_blocks(plan.job, blocks, shards, report)
    return folder.finish()


def _conclude(plan: Plan, results: Mapping[str, Sequence[EpisodeRecord]], console: Console) -> None:
    console.print(outcome_table(results))
    for line in remarks(results):
        console.print(line, markup=False)
    console.print(f"results: {plan.job.folder} (manifest.json; per arm episodes.jsonl, timings.jsonl, steps)")
    if plan.job.video != "none":
        console.print(f"videos: {plan.job.folder}/ARM/videos")
