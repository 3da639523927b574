"""What the commands print of runs and sweeps. Tables are those of `act_eval.results.tables`."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console

from act_eval.diagnostics.grasp_choice import describe, grasp_choices_of, named_block
from act_eval.evaluation.finish import HISTOGRAM, MAP, FinishedRun
from act_eval.evaluation.run import FinishedPart
from act_eval.evaluation.worker import INITIAL_STATE
from act_eval.metrics import definitions_of
from act_eval.report import Report
from act_eval.results.suites import warnings_about_starts
from act_eval.results.tables import metric_table, outcome_table
from act_eval.sweeps.run import FinishedSweep, FinishedSweepPart
from act_eval.types import INVALID, POLICY_ERROR, EpisodeRecord

_MOST_PROBLEMS = 3
_LOG_WIDTH = 160
"""Characters of a sweep's table that goes into a file."""


def console_for(stream: TextIO = sys.stdout, log_width: int | None = None) -> Console:
    """Return the console of a command.

    Args:
        stream: where it prints.
        log_width: characters of a line where the stream is not a terminal; rich's default if None.
    """
    width = None if stream.isatty() else log_width
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


def sweep_console(stream: TextIO) -> Console:
    """Return the console of a command that prints wide tables."""
    return console_for(stream, _LOG_WIDTH)


def grasp_choice_lines(results: Mapping[str, Sequence[EpisodeRecord]], options: Mapping[str, Any]) -> list[str]:
    """Return a line per condition on where it closed between two blocks; `options` are the environment's."""
    found = {name: grasp_choices_of(records) for name, records in results.items()}
    return [f"{name}: {describe(grasps, named_block(options))}" for name, grasps in found.items() if grasps is not None]


def remarks(results: Mapping[str, Sequence[EpisodeRecord]]) -> list[str]:
    """Return the conditions of a table's validity: broken episodes with their first cause, repeated starts."""
    lines = []
    for name, records in results.items():
        for outcome in (INVALID, POLICY_ERROR):
            found = [record for record in records if record.outcome == outcome]
            if found:
                where = ", ".join(str(record.episode) for record in found[:10])
                lines.append(f"{name}: {len(found)} episodes ended as {outcome} ({where}); first: {found[0].error}")
        starts = [record.detail[INITIAL_STATE] for record in records if INITIAL_STATE in record.detail]
        lines += [f"{name}: {line}" for line in warnings_about_starts(starts)]
    return lines


def print_run(run: FinishedRun, console: Console) -> None:
    """Print the tables of a finished run, and where its files are."""
    console.print(outcome_table(run.records).text(console.width), markup=False)
    if run.summaries:
        own = definitions_of(run.manifest.configuration)
        console.print(metric_table(run.records, run.summaries, own).text(console.width), markup=False)
    lines = [*grasp_choice_lines(run.records, run.manifest.suite.kwargs), *remarks(run.records), *run.unmeasured]
    files = "manifest.json; per condition episodes.jsonl, metrics.jsonl, summary.json, timings.jsonl, steps"
    lines.append(f"results {run.folder} ({files})")
    if run.figures:
        lines.append(f"figures {run.folder}/{HISTOGRAM}.png, {run.folder}/{MAP}.png (and .svg)")
    if run.manifest.configuration.get("video") != "none":
        lines.append(f"videos  {run.folder}/CONDITION/videos")
    _print_lines([*lines, *page_lines(run.page)], console)


def page_lines(page: Report) -> list[str]:
    """Return what is missing in a review page, and where it is."""
    more = len(page.problems) - _MOST_PROBLEMS
    return [
        *(f"page: {line}" for line in page.problems[:_MOST_PROBLEMS]),
        *([f"page: missing, and named on it: {more} more"] if more > 0 else []),
        f"page    {page.path}",
    ]


def print_part(done: FinishedPart, console: Console) -> None:
    """Print the outcome of a part, and how the parts become a run. No rate: only the whole run has one."""
    part, count = done.part, sum(len(records) for records in done.records.values())
    _print_lines(
        [
            *remarks(done.records),
            f"shard   {part.text} is finished: {count} episodes, {done.folder}/shards/{part.name}.jsonl",
            f"When all {part.count} are: act-eval merge {done.folder}, or act-eval merge RUN... --out OUT",
        ],
        console,
    )


def print_sweep(done: FinishedSweep, console: Console) -> None:
    """Print the tables of a finished sweep, what may be concluded, and where its files are."""
    console.print(done.text(console.width), markup=False)
    files = "sweep.csv, sweep.json, comparisons.csv; a run folder per policy and environment"
    plots = ", ".join(path.name for path in done.figures)
    _print_lines(
        [f"results {done.out} ({files})", f"plots   {done.out / 'plots'}: {plots}"],
        console,
    )


def print_sweep_part(done: FinishedSweepPart, console: Console) -> None:
    """Print that a part is finished, and how the parts become a sweep. No table: only the whole sweep has one."""
    cells = [records for conditions in done.results.values() for records in conditions.values()]
    episodes, part = sum(map(len, cells)), done.part
    shards = f"{done.out}/*/shards/{part.name}.jsonl"
    _print_lines(
        [
            f"shard   {part.text} is finished: {episodes} episodes of {len(cells)} cells, {shards}",
            f"When all {part.count} are: this command without --shard makes the tables. Parts that lie in several "
            "folders become one before: act-eval merge SWEEP... --out OUT",
        ],
        console,
    )


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False)
