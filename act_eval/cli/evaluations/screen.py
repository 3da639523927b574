"""What an evaluation shows while it runs and at its end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from act_eval.diagnostics.grasp_choice import describe, modes_of, named_block
from act_eval.evaluation.worker import INITIAL_STATE
from act_eval.launch import Progress as Report
from act_eval.results.suites import warnings_about_starts
from act_eval.results.tables import success_rate
from act_eval.types import INVALID, POLICY_ERROR, SUCCESS, EpisodeRecord


@contextmanager
def progress_bars(console: Console, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int) -> Iterator[Report]:
    """Show one bar per arm; `finished` holds the records of each that are there already."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[success]} succeeded"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        succeeded = {arm: success_rate(records).successes for arm, records in finished.items()}
        bars = {
            arm: progress.add_task(arm, total=episodes, completed=len(records), success=succeeded[arm])
            for arm, records in finished.items()
        }

        def report(arm: str, record: EpisodeRecord) -> None:
            succeeded[arm] += record.outcome == SUCCESS
            progress.update(bars[arm], advance=1, success=succeeded[arm])

        yield report


def mode_lines(results: Mapping[str, Sequence[EpisodeRecord]], options: Mapping[str, Any]) -> list[str]:
    """Return one line per arm on where it closed between two blocks; `options` are the environment's."""
    found = {arm: modes_of(records) for arm, records in results.items()}
    return [f"{arm}: {describe(modes, named_block(options))}" for arm, modes in found.items() if modes is not None]


def remarks(results: Mapping[str, Sequence[EpisodeRecord]]) -> list[str]:
    """Return what a reader of the table must know: broken episodes with their first cause, repeated starts."""
    lines = []
    for arm, records in results.items():
        for outcome in (INVALID, POLICY_ERROR):
            found = [record for record in records if record.outcome == outcome]
            if found:
                where = ", ".join(str(record.episode) for record in found[:10])
                lines.append(f"{arm}: {len(found)} episodes ended as {outcome} ({where}); first: {found[0].error}")
        starts = [record.detail[INITIAL_STATE] for record in records if INITIAL_STATE in record.detail]
        lines += [f"{arm}: {line}" for line in warnings_about_starts(starts)]
    return lines
