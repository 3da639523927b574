"""Carry out an evaluation and say what came of it."""

from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.evaluations.array import evaluate_by_array
from act_eval.cli.evaluations.concluding import conclude, conclude_part
from act_eval.cli.evaluations.jobs import ShardTask
from act_eval.cli.evaluations.plans import Crewing, Plan, make_plan, plan_crew
from act_eval.cli.evaluations.screen import progress_bars
from act_eval.evaluation.worker import plan as plan_blocks
from act_eval.export import check_tools, share
from act_eval.launch import Crew, Local, Ray, crew
from act_eval.results import RunFolder, open_run
from act_eval.results.run import read_run
from act_eval.results.suites import warnings_about

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags


def evaluate(flags: "Flags", stream: TextIO) -> int:
    """Evaluate as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags, the run folder, or a worker.
    """
    console = Console(file=stream, highlight=False, soft_wrap=True)
    check_tools(flags.export)
    if flags.launch.launcher == "slurm":
        return evaluate_by_array(ShardTask(evaluate, flags), console)
    crewing = plan_crew(flags)
    console.print(f"loading {flags.policy} and {flags.env} in {_who(crewing)}", markup=False)
    with crew(crewing.build, crewing.workers, crewing.place) as team:
        plan = make_plan(flags, crewing, team.facts, team.machine)
        for line in (*plan.summary, *team.facts.warnings, *warnings_about(crewing.seeds)):
            console.print(line, markup=False)
        with open_run(plan.job.folder, plan.manifest, part=crewing.part) as folder:
            try:
                _run(plan, folder, team, crewing.workers, console)
                results = folder.finish_own()
            except KeyboardInterrupt:
                console.print(f"interrupted; finished episodes are kept in {folder.path}: repeat the command to resume")
                return INTERRUPTED
    if crewing.part is None:
        conclude(plan.job.folder, plan.manifest, results, console)
        for line in (line for tool in flags.export for line in share(read_run(plan.job.folder), tool)):
            console.print(line, markup=False)
    else:
        conclude_part(plan.job.folder, crewing.part, results, console)
    return OK


def _who(crewing: Crewing) -> str:
    match crewing.place:
        case Ray():
            return f"{crewing.workers} Ray actor{'s' if crewing.workers > 1 else ''}"
        case Local():
            return "this process" if crewing.workers == 1 else f"{crewing.workers} processes"


def _run(plan: Plan, folder: RunFolder, team: Crew, workers: int, console: Console) -> None:
    finished = folder.finished()
    blocks = plan_blocks(plan.job, folder.done(), workers)
    if count := sum(map(len, finished.values())):
        left = sum(len(block.episodes) for block in blocks)
        console.print(f"{count} episodes are finished already; {left} are left to run")
    if blocks:
        shards = folder.new_shards(workers)
        with progress_bars(console, finished, len(folder.wanted())) as report:
            team.run(plan.job, blocks, shards, report)
