"""What a sweep shows while it runs and at its end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from act_eval.cli.sweeps.plan import PartPlan, Request
from act_eval.launch import Progress as Report
from act_eval.stats import Interval
from act_eval.sweeps import PLAIN, Analysis, Cell, Comparison, shared_refusals
from act_eval.sweeps.analysis import p_text
from act_eval.types import SUCCESS, EpisodeRecord

_WINDOW_S = 900.0  # the time left is judged by so much of the past: cells differ in how long their episodes take


def plan_lines(request: Request, parts: Sequence[PartPlan]) -> list[str]:
    """Return what is about to run, defaults included, and what cannot run with the reason."""
    cells = sum(len(part.job.arms) for part in parts)
    episodes = len(request.seeds)
    share = "" if request.part is None else f", of which shard {request.part.text} has {cells * request.episodes}"
    lines = [
        f"suite   {env}: {suite.hash}, {episodes} episodes ({request.drawn}), the same in every cell"
        for env, suite in {part.env: part.manifest.suite for part in parts}.items()
    ]
    for policy, part in {part.policy: part for part in parts}.items():
        about = part.manifest.configuration["policy"]
        prefix = "no prefix" if about["max_delay"] is None else f"prefix of up to {about['max_delay']}"
        lines.append(f"policy  {policy}: chunk C = {about['chunk']}, {about['window']} window, {prefix}")
    for part in parts:
        arms = ", ".join(part.job.arms) or "nothing"
        lines.append(f"cells   {part.policy} in {part.env}: {arms}")
    not_run = {
        f"not run {part.policy}: {cells_text}: {reason}": None
        for part in parts
        for cells_text, reason in shared_refusals(part.expansion.refused)
    }
    at_a_time = f"{request.workers} × {request.batch} at a time, no videos"
    run = f"run     {cells} cells, {cells * episodes} episodes{share}; {at_a_time}"
    return [*lines, *not_run, run, f"folder  {request.out}"]


@contextmanager
def grid_progress(console: Console, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int) -> Iterator[Report]:
    """Show one bar over all episodes that are to be run, and a line for every cell of which all are.

    Args:
        console: Where.
        finished: Cell → records that are there already.
        episodes: Of each cell, as far as they are to be run.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outcomes = {cell: [record.outcome for record in records] for cell, records in finished.items()}
    with Progress(*columns, console=console, speed_estimate_period=_WINDOW_S) as progress:
        total, done = len(outcomes) * episodes, sum(map(len, outcomes.values()))
        bar = progress.add_task("starting", total=total, completed=done)

        def report(cell: str, record: EpisodeRecord) -> None:
            outcomes[cell].append(record.outcome)
            progress.update(bar, advance=1, description=cell)
            if len(outcomes[cell]) == episodes:
                progress.console.print(f"done    {cell}: {outcomes[cell].count(SUCCESS)} of {episodes} succeeded")

        yield report


def env_table(analysis: Analysis, env: str) -> Table:
    """Return a table of an environment's cells, with what delay, executor and variant change.

    Changes are in points of success, with their 95 % interval and the adjusted p-value; columns without an entry in
    any row are left out.
    """
    cells = [cell for part in analysis.parts if part.env == env for cell in part.cells.values()]
    changes = {
        header: {one.second.name: one for one in reversed(analysis.comparisons) if one.family == family}
        for header, family in (("against d = 0", "delay"), ("against", "executor"), ("against plain", "variant"))
    }
    columns = {
        "policy": [cell.policy for cell in cells],
        "executor": [cell.setting.executor + str(cell.setting.variant) for cell in cells],
        "d": [str(cell.setting.delay) for cell in cells],
        "s": [str(cell.setting.execute) for cell in cells],
        "success, 95 % Wilson": [_rate(cell) for cell in cells],
        **{
            header: [_change(found.get(cell.name), header == "against") for cell in cells]
            for header, found in changes.items()
        },
    }
    shown = {header: values for header, values in columns.items() if any(values)}
    table = Table(*shown, title=env, title_justify="left")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def sentences(analysis: Analysis) -> list[str]:
    """Return what may be said, one line each: of series, recovered shares, environments, and invalid episodes."""
    lines = [found.sentence() for found in analysis.trends]
    # A wrongly told delay is there to be compared with the right one, not to win anything back.
    lines += [found.sentence() for found in analysis.recovered if found.other.setting.variant.told == PLAIN.told]
    for env, falls in analysis.sensitive_environments().items():
        word = "delay shows" if falls else "no fall with delay is shown"
        lines.append(f"{env} under naive execution: {word}")
    invalid = [
        (cell.name, len(cell.records) - cell.rate.trials) for part in analysis.parts for cell in part.cells.values()
    ]
    return [*lines, *(f"{name}: {count} invalid episodes are outside the rate" for name, count in invalid if count)]


def _rate(cell: Cell) -> str:
    rate = cell.rate
    if not rate.trials:
        return "no valid episode"
    return f"{rate.successes}/{rate.trials} = {100 * rate.rate:.0f} % {_percent(rate.wilson())}"


def _change(comparison: Comparison | None, named: bool) -> str:
    if comparison is None:
        return ""
    against = f"{comparison.first.setting.executor}: " if named else ""
    return f"{against}{100 * comparison.difference:+.1f} {_percent(comparison.interval)}, p {p_text(comparison.p_holm)}"


def _percent(interval: Interval) -> str:
    return f"[{round(100 * interval.low)}, {round(100 * interval.high)}]"
