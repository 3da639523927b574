"""The tables of a run: success rates with outcomes, and metrics.

A table wider than the terminal continues below with its first columns repeated; no cell is cut or folded.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any, TypeGuard

from act_eval.metrics import MetricDefinition, Summary, definitions_of
from act_eval.results.run import StoredRun
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, OUTCOMES, SUCCESS, EpisodeRecord
from act_eval.types.episodes import OUTSIDE

_NOTHING = "–"
_CAPTION = "a / b: median / 95th percentile; switch jump: mean; time: median [95 % interval]; see docs/metrics.md"

Records = Mapping[str, Sequence[EpisodeRecord]]
"""Condition → its records."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under heads; a head may have several lines."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    caption: str = ""
    keys: int = 1
    """Number of columns that identify a row; they repeat where the table continues."""
    boxed: bool = True
    """Whether lines separate the cells in a terminal."""

    def text(self, width: int = 80) -> str:
        """Return the table as text for a terminal of `width` characters, without a final newline."""
        blocks = [
            _drawn([self.heads[i] for i in columns], self._cells(columns), self.boxed)
            for columns in self._blocks(width)
        ]
        return "\n".join(part for part in (self.title, *blocks, self.caption) if part)

    def html(self) -> str:
        """Return the table as HTML."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.heads)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        title = f"<h4>{escape(self.title)}</h4>" if self.title else ""
        caption = f"<caption style='caption-side: bottom'>{escape(self.caption)}</caption>" if self.caption else ""
        return f"{title}<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self, columns: Sequence[int]) -> list[list[str]]:
        return [[row[i] for i in columns] for row in self.rows]

    def _blocks(self, width: int) -> Iterator[list[int]]:
        """Yield the columns of each block, always with the key columns."""
        lines = 1 if self.boxed else 0
        widths = [_width([head, *(row[i] for row in self.rows)]) + lines for i, head in enumerate(self.heads)]
        names = list(range(self.keys))
        block, used = names, sum(widths[: self.keys]) + lines
        for i in range(self.keys, len(widths)):
            if used + widths[i] > width and block != names:
                yield block
                block, used = names, sum(widths[: self.keys]) + lines
            block = [*block, i]
            used += widths[i]
        yield block


def outcome_table(results: StoredRun | Records) -> Table:
    """Return the table of each condition's success rate and outcomes.

    Where there are invalid episodes, the rate that counts them as failures is beside the rate without them: a policy
    may have caused them, as by commands under which the simulation diverges.
    """
    records = _records(results)
    occurring = [
        outcome
        for outcome in OUTCOMES
        if outcome != SUCCESS and any(one.outcome == outcome for own in records.values() for one in own)
    ]
    invalid = INVALID in occurring
    return Table(
        heads=(
            "condition",
            "success",
            *(["invalid\nas failed"] if invalid else []),
            *(name.replace("_", " ") for name in occurring),
            "steps",
        ),
        rows=tuple(
            (
                name,
                success_rate(own).describe(),
                *([_with_invalid(own)] if invalid else []),
                *(str(sum(record.outcome == outcome for record in own)) for outcome in occurring),
                f"{sum(record.steps for record in own) / len(own):.0f}",
            )
            for name, own in records.items()
        ),
    )


def task_table(results: StoredRun | Records) -> Table | None:
    """Return the table of each task's success rate under each condition; None for a run of one task."""
    records = _records(results)
    tasks = list(dict.fromkeys(task for own in records.values() for record in own if (task := _task_of(record))))
    if len(tasks) < 2:
        return None
    rows = tuple(
        (task, *(success_rate(one for one in own if _task_of(one) == task).describe() for own in records.values()))
        for task in tasks
    )
    return Table(heads=("task", *records), rows=rows, caption="success by task")


def _task_of(record: EpisodeRecord) -> str | None:
    task = record.detail.get("task")
    return task if isinstance(task, str) else None


def _with_invalid(records: Sequence[EpisodeRecord]) -> str:
    successes = success_rate(records).successes
    return f"{successes}/{len(records)} = {successes / len(records):.2f}"


def outcome_notes(results: StoredRun | Records) -> list[str]:
    """Return a line for each sign that a success rate does not mean what it seems to.

    These are episodes that succeed at their first step, and commands outside the action space.
    """
    lines = []
    for name, own in _records(results).items():
        first = sum(record.outcome == SUCCESS and record.steps <= 1 for record in own)
        if first:
            lines.append(
                f"{name}: {first} of {len(own)} episodes succeeded at their first step: success may hold at reset"
            )
        outside = [found for record in own if _is_outside(found := record.detail.get(OUTSIDE))]
        if outside:
            worst = max(outside, key=lambda one: _beyond(one["value"], one["low"], one["high"]))
            steps, bounds = sum(one["steps"] for one in outside), [worst["low"], worst["high"]]
            low, high = ("unbounded" if bound is None else f"{bound:g}" for bound in bounds)
            lines.append(
                f"{name}: {100 * steps / sum(record.steps for record in own):.0f} % of the commands lie outside the "
                f"action space (entry {worst['entry']} is {worst['value']:.4g}, allowed: {low} to {high})"
            )
    return lines


def _is_outside(found: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an open section of a record describes a command outside the action space."""
    numbers = [found.get(name) for name in ("steps", "value", "entry")] if isinstance(found, Mapping) else [None]
    bounds = [found.get(name) for name in ("low", "high")] if isinstance(found, Mapping) else []
    return all(isinstance(one, int | float) for one in (*numbers, *(one for one in bounds if one is not None)))


def _beyond(value: float, low: float | None, high: float | None) -> float:
    return max(value - high if high is not None else -math.inf, low - value if low is not None else -math.inf)


def metric_table(
    results: StoredRun | Records,
    summaries: Mapping[str, Summary] | None = None,
    own: Sequence[MetricDefinition] = (),
    unit: str = "rad",
) -> Table:
    """Return the table of each condition's main metrics; empty columns are left out.

    Args:
        results: A run, or records by condition.
        summaries: Condition → metrics; all of a run's conditions by default.
        own: User-defined metrics, if summaries are given.
        unit: Unit of the commands, if summaries are given.

    Raises:
        RunFolderError: if the metrics of a run cannot be read.
    """
    if summaries is None:
        stored = results.conditions.values() if isinstance(results, StoredRun) else ()
        if isinstance(results, StoredRun):
            own, unit = definitions_of(results.manifest.configuration), results.suite.command_unit
        summaries = {condition.name: condition.metrics for condition in stored}
    records = _records(results)
    columns = {
        "success": [_share(success_rate(records[name]).rate) for name in summaries],
        "time to\nsuccess, s": [_time(found) for found in summaries.values()],
        f"switch\njump{unit and f', {unit}'}": [
            _number(found["switch_jump_mean"], "{:.3f}") for found in summaries.values()
        ],
        "action\nage, steps": [_pair(found, "action_age") for found in summaries.values()],
        "stalled": [_share(found["stall_fraction"]) for found in summaries.values()],
        "reaction,\nsteps": [_pair(found, "reaction") for found in summaries.values()],
        "turns\nafter, steps": [_turns(found) for found in summaries.values()],
        "inference,\nms": [_pair(found, "inference_ms") for found in summaries.values()],
    }
    for one in own:
        columns[one.head.replace(" ", "\n", 1)] = [one.text(found) or _NOTHING for found in summaries.values()]
    filled = {name: cells for name, cells in columns.items() if set(cells) != {_NOTHING}}
    rows = tuple(zip(summaries, *filled.values(), strict=True))
    return Table(heads=("condition", *filled), rows=rows, caption=_CAPTION)


def success_rate(records: Iterable[EpisodeRecord]) -> SuccessRate:
    """Return the success rate over the valid episodes."""
    return SuccessRate.of_outcomes(record.outcome for record in records)


def _records(results: StoredRun | Records) -> Records:
    if isinstance(results, StoredRun):
        return {name: condition.records for name, condition in results.conditions.items()}
    return results


def _width(cells: Iterable[str]) -> int:
    """Return the width of a column: its longest line with a space on either side."""
    return max(len(line) for cell in cells for line in (cell.splitlines() or [""])) + 2


def _drawn(heads: Sequence[str], rows: Iterable[Sequence[str]], boxed: bool) -> str:
    from rich.box import HEAVY_HEAD
    from rich.console import Console  # needed only to print
    from rich.table import Column
    from rich.table import Table as Drawing
    from rich.text import Text

    columns = (Column(Text(head), no_wrap=True) for head in heads)
    drawing = Drawing(*columns, box=HEAVY_HEAD if boxed else None)
    for row in rows:
        drawing.add_row(*map(Text, row))
    stream = StringIO()
    Console(file=stream, width=10_000, color_system=None).print(drawing)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else form.format(value)


def _share(value: float | None) -> str:
    return _NOTHING if value is None or value != value else f"{100 * value:.0f} %"


def _time(found: Summary) -> str:
    """Return median and interval, as in `5.4 [3.6, 8.1]`; `never` is a limit beyond the horizon."""
    median, low, high = (found[f"time_to_success_median{end}"] for end in ("", "_low", "_high"))
    ends = ", ".join(_number(end, "{:.1f}") if end is not None else "never" for end in (low, high))
    return _NOTHING if median is None else f"{median:.1f} [{ends}]"


def _pair(found: Summary, name: str) -> str:
    """Return median and 95th percentile; `never` if more than 5 % of the episodes have no value."""
    median, high = found[f"{name}_p50"], found[f"{name}_p95"]
    return _NOTHING if median is None else f"{median:.0f} / {_number(high, '{:.0f}') if high is not None else 'never'}"


def _turns(found: Summary) -> str:
    share = found["behavioural_reaction_fraction"]
    if share is None:
        return _NOTHING
    median = found["behavioural_reaction_p50"]
    return f"{_NOTHING} ({_share(share)})" if median is None else f"{median:.0f} ({_share(share)})"
