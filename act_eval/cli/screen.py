"""Printed output of the commands on runs; the tables come from `act_eval.results.tables`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console

from act_eval.diagnostics.grasp_choice import describe, grasp_choices_of, named_block
from act_eval.evaluation.checks import validity_notes
from act_eval.evaluation.finish import HISTOGRAM, MAP, ROBUSTNESS, FinishedRun
from act_eval.evaluation.run import FinishedShard
from act_eval.metrics import definitions_of
from act_eval.report import Report
from act_eval.results.tables import metric_table, outcome_table, task_table
from act_eval.types import EpisodeRecord

_MOST_PROBLEMS = 3


def console_for(stream: TextIO = sys.stdout, log_width: int | None = None) -> Console:
    """Return the console of a command.

    Args:
        stream: output stream.
        log_width: characters per line if the stream is not a terminal; rich's default if None.
    """
    width = None if stream.isatty() else log_width
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


def grasp_choice_lines(results: Mapping[str, Sequence[EpisodeRecord]], options: Mapping[str, Any]) -> list[str]:
    """Return the grasp line of each condition; `options` are the environment's."""
    found = {name: grasp_choices_of(records) for name, records in results.items()}
    return [f"{name}: {describe(grasps, named_block(options))}" for name, grasps in found.items() if grasps is not None]


def print_run(run: FinishedRun, console: Console) -> None:
    """Print the tables of a finished run and the paths of its files."""
    shown = run.shown
    console.print(outcome_table(shown).text(console.width), markup=False)
    if (tasks := task_table(shown)) is not None:
        console.print(tasks.text(console.width), markup=False)
    if run.summaries:
        own = definitions_of(run.manifest.configuration)
        unit = run.manifest.suite.command_unit
        summaries = {name: one for name, one in run.summaries.items() if name in shown}
        console.print(metric_table(shown, summaries, own, unit).text(console.width), markup=False)
    if run.robustness is not None:
        console.print(run.robustness.table().text(console.width), markup=False)
        print_lines(run.robustness.sentences(), console)
    lines = [
        *grasp_choice_lines(shown, run.manifest.suite.kwargs),
        *validity_notes(run.records, run.folder),
        *run.unmeasured,
    ]
    files = "manifest.json; per condition episodes.jsonl, metrics.jsonl, summary.json, timings.jsonl, steps"
    lines.append(f"results {run.folder} ({files})")
    if run.figures:
        lines.append(f"figures {run.folder}/{HISTOGRAM}.png, {run.folder}/{MAP}.png (and .svg)")
    if run.robustness is not None:
        lines.append(f"figure  {run.folder}/{ROBUSTNESS}.png (and .svg), table {run.folder}/{ROBUSTNESS}.json")
    if run.manifest.configuration.get("video") != "none":
        lines.append(f"videos  {run.folder}/CONDITION/videos")
    print_lines([*lines, *page_lines(run.page), *run.manifest.input_check], console)


def page_lines(page: Report) -> list[str]:
    """Return the problems of a review page, and its path."""
    more = len(page.problems) - _MOST_PROBLEMS
    return [
        *(f"page: {line}" for line in page.problems[:_MOST_PROBLEMS]),
        *([f"page: {more} more problems are listed on the page"] if more > 0 else []),
        f"page    {page.path}",
    ]


def print_shard(done: FinishedShard, console: Console) -> None:
    """Print that a shard is finished and how to merge. A success rate needs the whole run."""
    shard, count = done.shard, sum(len(records) for records in done.records.values())
    print_lines(
        [
            *validity_notes(done.records, done.folder),
            f"shard   {shard.text} is finished: {count} episodes, {done.folder}/shards/{shard.name}.jsonl",
            f"When all {shard.count} are finished: act-eval merge {done.folder}, or act-eval merge RUN... --out OUT",
        ],
        console,
    )


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print lines unchanged."""
    for line in lines:
        console.print(line, markup=False)
