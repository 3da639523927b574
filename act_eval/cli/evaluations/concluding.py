"""What is said and drawn of a run that has ended, or of a part of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from act_eval.cli.evaluations.closings import HISTOGRAM, MAP, write_figures
from act_eval.cli.evaluations.metric_table import metric_table, summarised
from act_eval.cli.evaluations.screen import mode_lines, outcome_table, remarks
from act_eval.cli.finished.reporting import write_page
from act_eval.results import Manifest, Part
from act_eval.types import EpisodeRecord


def conclude(
    folder: Path, manifest: Manifest, results: Mapping[str, Sequence[EpisodeRecord]], console: Console
) -> None:
    """Show a finished run and write what its arms come to into its folder."""
    summaries, unmeasured = summarised(folder, list(results))
    console.print(outcome_table(results))
    if summaries:
        console.print(metric_table(results, summaries))
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
    console.print(f"When all {part.count} are: merge.py {folder}, or merge.py RUN... --out OUT", markup=False)
