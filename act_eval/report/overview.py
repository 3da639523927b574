"""The summary table of the page, as texts and lengths for the template."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from act_eval.metrics import definitions_of
from act_eval.report.sources import RunSource
from act_eval.types import SUCCESS

_NOTHING = "–"

_COLUMNS = (
    ("steps", "control steps of an episode, mean", lambda one: _number(one["steps_mean"], "{:.0f}")),
    (
        "time to success",
        "median [s], stopped time included",
        lambda one: _number(one["metrics"].get("time_to_success_median"), "{:.1f} s"),
    ),
    (
        "switch jump",
        "jump of a command at a chunk switch, mean, in the unit of the commands",
        lambda one: _number(one["metrics"].get("switch_jump_mean"), "{:.3f} " + one["unit"]).strip(),
    ),
    ("action age", "steps from observation to execution: median / 95th percentile", lambda one: _ages(one["metrics"])),
    (
        "stalled",
        "share of time in underrun or with the world stopped",
        lambda one: _number(one["metrics"].get("stall_fraction"), "{:.0%}").replace("%", " %"),
    ),
    (
        "inference",
        "time of a prediction, median [ms]",
        lambda one: _number(one["metrics"].get("inference_ms_p50"), "{:.0f} ms"),
    ),
)
"""Name, meaning and cell of each further column, from the page's data of a condition."""


def overview(runs: Sequence[RunSource], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table per suite for the template, from the page's data; empty columns are left out."""
    tables = []
    own = {one.name: one for run in runs for one in definitions_of(run.manifest.configuration)}.values()
    for number, suite in enumerate(data["suites"]):
        conditions = [{**one, "unit": suite["unit"]} for one in data["conditions"] if one["suite"] == number]
        columns = [(name, about, [cell(condition) for condition in conditions]) for name, about, cell in _COLUMNS]
        columns += [
            (one.head, one.meaning, [one.text(condition["metrics"]) or _NOTHING for condition in conditions])
            for one in own
        ]
        shown = [column for column in columns if set(column[2]) - {_NOTHING}]
        tables.append(
            {
                "title": f"{suite['name']} · {len(suite['seeds'])} episodes · suite {suite['hash']}",
                "heads": [(name, about) for name, about, _ in shown],
                "rows": [
                    {**_row(condition), "cells": [cells[i] for _, _, cells in shown]}
                    for i, condition in enumerate(conditions)
                ],
            }
        )
    return tables


def _row(condition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a condition's texts, and the limits of its bars [%]."""
    trials, successes = condition["trials"], condition["successes"]
    low, high = 100 * condition["low"], 100 * condition["high"]
    failed = [f"{n} {name.replace('_', ' ')}" for name, n in condition["counts"].items() if name != SUCCESS]
    about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in condition["settings"].items())
    return {
        "label": condition["label"],
        "about": f"{condition['policy']}: {about}" if about else condition["policy"],
        "rate": f"{successes / trials:.0%}".replace("%", " %") if trials else _NOTHING,
        "count": f"{successes}/{trials}",
        "interval": f"{low:.0f} – {high:.0f} %" if trials else "no valid episode",
        "centre": 100 * successes / trials if trials else 0.0,
        "low": low,
        "high": high,
        "parts": list(_parts(condition["counts"])),
        "failures": ", ".join(failed) or "success only",
    }


def _parts(counts: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the outcomes' parts of a bar [% of it] one after the other, success first."""
    total, start = sum(counts.values()), 0.0
    for outcome in sorted(counts, key=lambda outcome: outcome != SUCCESS):
        width = 100 * counts[outcome] / total
        yield {"outcome": outcome, "count": counts[outcome], "start": start, "width": width}
        start += width


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else form.format(value)


def _ages(metrics: Mapping[str, Any]) -> str:
    median, high = (metrics.get(f"action_age_{end}") for end in ("p50", "p95"))
    return _NOTHING if median is None else f"{median:.0f} / {_number(high, '{:.0f}')}"
