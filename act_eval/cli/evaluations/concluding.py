"""What is said and drawn of a run that has ended, or of a part of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from act_eval.cli.evaluations.closings import HISTOGRAM, MAP, write_figures
from act_eval.cli.evaluations.screen import mode_lines, remarks
from act_eval.errors import UnmeasuredRun
from act_eval.metrics import Summary
from act_eval.report import write_page
from act_eval.results import Manifest, Part
from act_eval.results.records import writing
from act_eval.results.run import read_run
from act_eval.results.tables import metric_table, outcome_table
from act_eval.types import EpisodeRecord


def conclude(
    folder: Path, manifest: Manifest, results: Mapping[str, Sequence[EpisodeRecord]], console: Console
) -> None:
    """Show a finished run and write what its arms come to into its folder."""
    summaries, unmeasured = _summarised(folder, list(results))
    console.print(outcome_table(results).text(console.width), markup=False)
    if summaries:
        console.print(metric_table(results, summaries).text(console.width), markup=False)
    for line in (*mode_lines(results, manifest.suite.kwargs), *remarks(results), *unmeasured):
        console.print(line, markup=False)
    files = "manifest.json; per arm episodes.jsonl, metrics.jsonl, summary.json, timings.jsonl, steps"
    console.print(f"results {folder} ({files})", markup=False)
    if write_figures(folder, results):
        console.print(f"figures {folder}/{HISTOGRAM}.png, {folder}/{MAP}.png (and .svg)", markup=False)
    if manifest.configuration.get("video") != "none":
        console.print(f"videos  {folder}/ARM/videos", markup=False)
    write_page([folder], folder, console)


def conclude_part(folder: Path, part: Part, results: Mapping[str, Sequence[EpisodeRecord]], console: Console) -> None:
    """Show the outcomes of a part, and say how the parts become a run. No rate: a part is not what was asked for."""
    count = sum(len(records) for records in results.values())
    for line in remarks(results):
        console.print(line, markup=False)
    console.print(
        f"shard   {part.number}/{part.count} is finished: {count} episodes, {folder}/shards/{part.name}.jsonl"
    )
    merge = f"act-eval merge {folder}, or act-eval merge RUN... --out OUT"
    console.print(f"When all {part.count} are: {merge}", markup=False)


def _summarised(folder: Path, names: Sequence[str]) -> tuple[dict[str, Summary], list[str]]:
    """Write the summaries of a run's conditions; return them, and a line for each condition without metrics."""
    run, found, lines = read_run(folder), dict[str, Summary](), list[str]()
    for name in names:
        try:
            with writing(folder):
                found[name] = run.conditions[name].write_summary()
        except UnmeasuredRun as error:
            lines.append(f"{name}: no metrics: {error}")
    return found, lines
