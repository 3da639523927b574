"""The summary table of the page: what stands in it, as texts and lengths for the template."""

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
    """One arm."""

    key: str
    label: str
    about: str
    """Its settings in words."""
    rate: str
    count: str
    interval: str
    centre: float
    """Success rate [%]."""
    low: float
    high: float
    parts: tuple[Part, ...]
    failures: str
    """Counts of every outcome but success, in words."""
    cells: tuple[str, ...]
    """In the order of `Table.heads`."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The arms of one suite."""

    title: str
    heads: tuple[tuple[str, str], ...]
    """Name and meaning of each further column."""
    rows: tuple[Row, ...]


_COLUMNS = (
    ("steps", "control steps of an episode, mean", lambda arm: _number(arm["steps_mean"], "{:.0f}")),
    ("time to success", "median [s], stopped time included", lambda arm: _metric(arm, "time_to_success_median", "s")),
    ("seam jump", "jump of a joint's command at a change of chunk, mean [rad]", lambda a: _metric(a, "seam_jump_mean")),
    ("action age", "steps from observation to execution: median / 95th percentile", lambda arm: _ages(arm)),
    ("stalled", "share of time without a chunk or with the world stopped", lambda arm: _share(arm, "stall_fraction")),
    ("inference", "time of a prediction, median [ms]", lambda arm: _metric(arm, "inference_ms_p50", "ms")),
)


def overview(runs: Sequence[RunSource], data: Mapping[str, Any]) -> list[Table]:
    """Return a table per suite from the page's data; a column in which no arm has anything is left out."""
    tables = []
    own = {one.name: one for run in runs for one in definitions_of(run.manifest.configuration)}.values()
    for number, suite in enumerate(data["suites"]):
        arms = [arm for arm in data["arms"] if arm["suite"] == number]
        columns = [(name, about, [cell(arm) for arm in arms]) for name, about, cell in _COLUMNS]
        columns += [(one.head, one.meaning, [one.text(arm["metrics"]) or _NOTHING for arm in arms]) for one in own]
        shown = [column for column in columns if set(column[2]) - {_NOTHING}]
        rows = [_row(arm, tuple(column[2][i] for column in shown)) for i, arm in enumerate(arms)]
        title = f"{suite['name']} · {len(suite['seeds'])} episodes · suite {suite['hash']}"
        heads = tuple((name, about) for name, about, _ in shown)
        tables.append(Table(title=title, heads=heads, rows=tuple(rows)))
    return tables


def _row(arm: Mapping[str, Any], cells: tuple[str, ...]) -> Row:
    trials, successes = arm["trials"], arm["successes"]
    rate = successes / trials if trials else 0.0
    failed = [f"{n} {name.replace('_', ' ')}" for name, n in arm["counts"].items() if name != SUCCESS]
    about = ", ".join(f"{key} {value}" for key, value in arm["settings"].items())
    return Row(
        key=arm["key"],
        label=arm["label"],
        about=f"{arm['policy']}: {about}" if about else arm["policy"],
        rate=f"{100 * rate:.0f} %" if trials else _NOTHING,
        count=f"{successes}/{trials}",
        interval=f"{100 * arm['low']:.0f} – {100 * arm['high']:.0f} %" if trials else "no valid episode",
        centre=100 * rate,
        low=100 * arm["low"],
        high=100 * arm["high"],
        parts=_parts(arm["counts"]),
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


def _metric(arm: Mapping[str, Any], name: str, unit: str = "rad") -> str:
    value = arm["metrics"].get(name)
    form = {"rad": "{:.3f} rad", "s": "{:.1f} s", "ms": "{:.0f} ms"}[unit]
    return _number(value, form)


def _ages(arm: Mapping[str, Any]) -> str:
    median, high = (arm["metrics"].get(f"action_age_{end}") for end in ("p50", "p95"))
    return _NOTHING if median is None else f"{median:.0f} / {_number(high, '{:.0f}')}"


def _share(arm: Mapping[str, Any], name: str) -> str:
    value = arm["metrics"].get(name)
    return _NOTHING if value is None else f"{100 * value:.0f} %"
