"""Printed output of a sweep."""

from rich.console import Console

from act_eval.evaluation.checks import validity_notes
from act_eval.sweeps.run import FinishedSweep, FinishedSweepShard

LOG_WIDTH = 160
"""Width of the table outside a terminal [characters]."""


def show_sweep(done: FinishedSweep, console: Console) -> None:
    """Print the tables of a finished sweep, its conclusions and the paths of its files."""
    console.print(done.text(console.width), markup=False)
    files = "sweep.csv, sweep.json, comparisons.csv; a run folder per policy and environment"
    plots = ", ".join(path.name for path in done.figures)
    notes = [
        f"{folder.name}/{line}"
        for folder, records in done.results.items()
        for line in (validity_notes(records, folder) if records else ())
    ]
    for line in (*notes, f"results {done.out} ({files})", f"plots   {done.out / 'plots'}: {plots}"):
        console.print(line, markup=False)


def show_sweep_shard(done: FinishedSweepShard, console: Console) -> None:
    """Print that a shard is finished and how to merge. A table needs the whole sweep."""
    cells = [records for conditions in done.results.values() for records in conditions.values()]
    episodes, shard = sum(map(len, cells)), done.shard
    files = f"{done.out}/*/shards/{shard.name}.jsonl"
    console.print(f"shard   {shard.text} is finished: {episodes} episodes of {len(cells)} cells, {files}", markup=False)
    console.print(
        f"When all {shard.count} are finished: repeat this command without --shard to write the tables. Shards in "
        "several folders are merged first: act-eval merge SWEEP... --out OUT",
        markup=False,
    )
