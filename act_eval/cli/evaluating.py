"""Carry out an evaluation and say what came of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.closings import HISTOGRAM, MAP, write_figures
from act_eval.cli.metric_table import metric_table, summarised
from act_eval.cli.plans import Plan, make_plan, plan_crew
from act_eval.cli.screen import mode_lines, outcome_table, progress_bars, remarks
from act_eval.evaluation import plan as plan_blocks
from act_eval.launch import Crew, crew
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
    crewing = plan_crew(flags)
    processes = "this process" if crewing.workers == 1 else f"{crewing.workers} processes"
    console.print(f"loading {flags.policy} and {flags.env} in {processes}", markup=False)
    with crew(crewing.build, crewing.workers) as team:
        plan = make_plan(flags, crewing, team.facts)
        for line in (*plan.summary, *team.facts.warnings, *warnings_about(crewing.seeds)):
            console.print(line, markup=False)
        with open_run(plan.job.folder, plan.manifest) as folder:
            try:
                results = _run(plan, folder, team, crewing.workers, console)
            except KeyboardInterrupt:
                console.print(f"interrupted; finished episodes are kept in {folder.path}: repeat the command to resume")
                return INTERRUPTED
    _conclude(plan, results, console)
    return OK


def _run(plan: Plan, folder: RunFolder, team: Crew, workers: int, console: Console) -> dict[str, list[EpisodeRecord]]:
    finished = folder.finished()
    blocks = plan_blocks(plan.job, folder.done(), workers)
    if count := sum(map(len, finished.values())):
        left = sum(len(block.episodes) for block in blocks)
        console.print(f"{count} episodes are finished already; {left} are left to run")
    if blocks:
        shards = folder.new_shards(workers)
        with progress_bars(console, finished, len(plan.job.seeds)) as report:
            team.run(plan.job, blocks, shards, report)
    return folder.finish()


def _conclude(plan: Plan, results: Mapping[str, Sequence[EpisodeRecord]], console: Console) -> None:
    folder = plan.job.folder
    summaries, unmeasured = summarised(folder, list(results))
    console.print(outcome_table(results))
    if summaries:
        console.print(metric_table(results, summaries))
    for line in (*mode_lines(results, plan.manifest.suite.kwargs), *remarks(results), *unmeasured):
        console.print(line, markup=False)
    files = "manifest.json; per arm episodes.jsonl, metrics.jsonl, summary.json, timings.jsonl, steps"
    console.print(f"results {folder} ({files})", markup=False)
    if write_figures(folder, results):
        console.print(f"figures {folder}/{HISTOGRAM}.png, {folder}/{MAP}.png (and .svg)", markup=False)
    if plan.job.video != "none":
        console.print(f"videos  {folder}/ARM/videos", markup=False)
