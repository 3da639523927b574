"""The summary table of the page, as texts and lengths for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from act_eval.metrics import definitions_of
from act_eval.report.sources import RunSource
from act_eval.types import SUCCESS

_NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One outcome's share of a bar."""

    outcome: str
    count: int
    start: float
    """Left end [% of the bar]."""
    width: float
    """[% of the bar]."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One condition."""

    key: str
    label: str
    about: str
    """Its settings as text."""
    rate: str
    count: str
    interval: str
    centre: float
    """Success rate [%]."""
    low: float
    high: float
    parts: tuple[Part, ...]
    failures: str
    """Counts of every outcome but success, as text."""
    cells: tuple[str, ...]
    """In the order of `Table.heads`."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The conditions of one suite."""

    title: str
    heads: tuple[tuple[str, str], ...]
    """Name and meaning of each further column."""
    rows: tuple[Row, ...]


_COLUMNS = (
    ("steps", "control steps of an episode, mean", lambda condition: _number(condition["steps_mean"], "{:.0f}")),
    (
        "time to success",
        "median [s], stopped time included",
        lambda condition: _metric(condition, "time_to_success_median", "s"),
    ),
    (
        "switch jump",
        "jump of a joint's command at a chunk switch, mean [rad]",
        lambda condition: _metric(condition, "switch_jump_mean"),
    ),
    ("action age", "steps from observation to execution: median / 95th percentile", lambda condition: _ages(condition)),
    (
        "stalled",
        "share of time in underrun or with the world stopped",
        lambda condition: _share(condition, "stall_fraction"),
    ),
    ("inference", "time of a prediction, median [ms]", lambda condition: _metric(condition, "inference_ms_p50", "ms")),
)


def overview(runs: Sequence[RunSource], data: Mapping[str, Any]) -> list[Table]:
    """Return a table per suite from the page's data; empty columns are left out."""
    tables = []
    own = {one.name: one for run in runs for one in definitions_of(run.manifest.configuration)}.values()
    for number, suite in enumerate(data["suites"]):
        conditions = [condition for condition in data["conditions"] if condition["suite"] == number]
        columns = [(name, about, [cell(condition) for condition in conditions]) for name, about, cell in _COLUMNS]
        columns += [
            (one.head, one.meaning, [one.text(condition["metrics"]) or _NOTHING for condition in conditions])
            for one in own
        ]
        shown = [column for column in columns if set(column[2]) - {_NOTHING}]
        rows = [_row(condition, tuple(column[2][i] for column in shown)) for i, condition in enumerate(conditions)]
        title = f"{suite['name']} · {len(suite['seeds'])} episodes · suite {suite['hash']}"
        heads = tuple((name, about) for name, about, _ in shown)
        tables.append(Table(title=title, heads=heads, rows=tuple(rows)))
    return tables


def _row(condition: Mapping[str, Any], cells: tuple[str, ...]) -> Row:
    trials, successes = condition["trials"], condition["successes"]
    rate = successes / trials if trials else 0.0
    failed = [f"{n} {name.replace('_', ' ')}" for name, n in condition["counts"].items() if name != SUCCESS]
    about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in condition["settings"].items())
    return Row(
        key=condition["key"],
        label=condition["label"],
        about=f"{condition['policy']}: {about}" if about else condition["policy"],
        rate=f"{100 * rate:.0f} %" if trials else _NOTHING,
        count=f"{successes}/{trials}",
        interval=f"{100 * condition['low']:.0f} – {100 * condition['high']:.0f} %" if trials else "no valid episode",
        centre=100 * rate,
        low=100 * condition["low"],
        high=100 * condition["high"],
        parts=_parts(condition["counts"]),
        failures=", ".join(failed) or "success only",
        cells=cells,
    )


def _parts(counts: Mapping[str, int]) -> tuple[Part, ...]:
    """Return the outcomes one after the other, success first."""
    total = sum(counts.values())
    order = sorted(counts, key=lambda outcome: outcome != SUCCESS)
    parts, start = [], 0.0
    for outcome in order:
        width = 100 * counts[outcome] / total
        parts.append(Part(outcome=outcome, count=counts[outcome], start=start, width=width))
        start += width
    return tuple(parts)


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else form.format(value)


def _metric(condition: Mapping[str, Any], name: str, unit: str = "rad") -> str:
    value = condition["metrics"].get(name)
    form = {"rad": "{:.3f} rad", "s": "{:.1f} s", "ms": "{:.0f} ms"}[unit]
    return _number(value, form)


def _ages(condition: Mapping[str, Any]) -> str:
    median, high = (condition["metrics"].get(f"action_age_{end}") for end in ("p50", "p95"))
    return _NOTHING if median is None else f"{median:.0f} / {_number(high, '{:.0f}')}"


def _share(condition: Mapping[str, Any], name: str) -> str:
    value = condition["metrics"].get(name)
    return _NOTHING if value is None else f"{100 * value:.0f} %"
