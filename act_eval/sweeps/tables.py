"""A sweep's results as rows: one per cell, comparison, series and recovered share.

Numbers in files are rounded to six digits; an empty field is a missing number.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from act_eval.results.records import write_atomically
from act_eval.stats import Interval
from act_eval.sweeps.analysis import Analysis, Recovered, SeriesTrend
from act_eval.sweeps.comparisons import Comparison
from act_eval.sweeps.results import Cell, RunCells
from act_eval.types import OUTCOMES

Row = dict[str, Any]
SCHEMA = 1
"""Version of `sweep.json`."""


def cell_rows(analysis: Analysis) -> list[Row]:
    """Return one row per cell, in the order of runs and grid, all with the same columns."""
    against = {
        prefix: _by_second(analysis, family)
        for prefix, family in (
            *(("vs_d0", "delay"), ("vs_executor", "executor"), ("vs_plain", "variant")),
            ("vs_unperturbed", "perturbation"),
        )
    }
    shares = {found.other.name: found for found in reversed(analysis.recovered)}
    rows = [
        {
            **_identity(run, cell),
            **_rates(cell),
            **{k: v for prefix, found in against.items() for k, v in _against(prefix, found.get(cell.name)).items()},
            **_share(shares.get(cell.name)),
            **{f"metric_{name}": value for name, value in cell.metrics.items()},
        }
        for run in analysis.runs
        for cell in run.cells.values()
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def comparison_row(comparison: Comparison) -> Row:
    """Return a planned comparison as one row."""
    return {
        "family": comparison.family,
        "first": comparison.first.name,
        "second": comparison.second.name,
        **_compared(comparison),
        "family_size": comparison.family_size,
    }


def trend_row(found: SeriesTrend) -> Row:
    """Return a series' trend as one row."""
    m = found.measured
    return {
        "policy": found.run.policy,
        "env": found.run.env,
        "executor": found.series.executor,
        "execution_horizon_rule": found.series.rule,
        **found.series.variant._asdict(),
        "delays": list(m.delays),
        "conditions": list(found.series.conditions),
        "episodes": m.episodes,
        "excluded": m.excluded,
        "slope_per_step": m.slope,
        **_interval("slope", m.interval),
        "p": m.p,
        "p_holm": found.p_holm,
        "family_size": found.family_size,
        "verdict": found.word,
        "sentence": found.sentence(),
    }


def recovery_row(found: Recovered) -> Row:
    """Return a recovered share as one row."""
    return {
        "naive_without_delay": found.naive_0.name,
        "naive": found.naive_d.name,
        "other": found.other.name,
        "episodes": found.result.episodes,
        "naive_loss": found.result.loss,
        "gain": found.result.gain,
        "share": found.result.share,
        **_interval("share", found.result.interval),
        "text": found.result.describe(),
    }


def refused_rows(analysis: Analysis) -> list[Row]:
    """Return the refused cells."""
    return [
        {
            "policy": run.policy,
            "env": run.env,
            "executor": cell.executor,
            "delay": cell.delay,
            "execution_horizon_rule": cell.rule,
            **cell.variant._asdict(),
            "reason": cell.reason,
        }
        for run in analysis.runs
        for cell in run.refused
    ]


def to_json(analysis: Analysis, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `sweep.json`; `grid` holds the axes."""
    return {
        "schema": SCHEMA,
        "grid": dict(grid),
        "suites": {run.env: run.suite.hash for run in analysis.runs},
        "intervals": {
            "rate": "95 % Wilson",
            "difference": "95 % Newcombe, paired",
            "slope": "95 % percentile bootstrap over episodes",
            "share": "95 % percentile bootstrap over episodes",
            "p": "exact McNemar; trend: exact permutation of each episode's outcomes over the delays",
            "p_holm": "Holm over the rows of the same family",
        },
        "naive_falls_with_delay": analysis.sensitive_environments(),
        "cells": [{**row, "folder": f"{row['policy']}_{row['env']}/{row['condition']}"} for row in cell_rows(analysis)],
        "trends": [trend_row(found) for found in analysis.trends],
        "comparisons": [comparison_row(found) for found in analysis.comparisons],
        "recovered": [recovery_row(found) for found in analysis.recovered],
        "not_run": refused_rows(analysis),
    }


def write_tables(folder: Path, analysis: Analysis, grid: Mapping[str, Any]) -> None:
    """Write `sweep.json`, `sweep.csv` and `comparisons.csv`; equal results give equal bytes."""
    write_csv(folder / "sweep.csv", cell_rows(analysis))
    write_csv(folder / "comparisons.csv", [comparison_row(found) for found in analysis.comparisons])
    content = json.dumps(_rounded(to_json(analysis, grid)), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "sweep.json", content.encode())


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same columns; an empty file without rows."""
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _field(value) for name, value in row.items()} for row in rows)
    write_atomically(path, text.getvalue().encode())


def _identity(run: RunCells, cell: Cell) -> Row:
    setting = cell.setting
    return {
        "policy": run.policy,
        "env": run.env,
        "executor": setting.executor,
        "delay": setting.delay,
        "execution_horizon": setting.execution_horizon,
        "execution_horizon_rule": cell.rule,
        "covered_horizon": setting.delay + setting.execution_horizon,
        **setting.variant._asdict(),
        "condition": setting.condition,
    }


def _rates(cell: Cell) -> Row:
    rate = cell.rate
    counts = {f"n_{name}": sum(record.outcome == name for record in cell.records) for name in OUTCOMES}
    return {
        "episodes": len(cell.records),
        "valid": rate.trials,
        "successes": rate.successes,
        "success": rate.rate,
        **_interval("success", rate.wilson()),
        **counts,
    }


def _by_second(analysis: Analysis, family: str) -> dict[str, Comparison]:
    """Return cell → its first comparison of a family; for executors, that with the first executor."""
    found: dict[str, Comparison] = {}
    for comparison in analysis.comparisons:
        if comparison.family == family:
            found.setdefault(comparison.second.name, comparison)
    return found


def _against(prefix: str, comparison: Comparison | None) -> Row:
    names = ("reference", "pairs", "gained", "lost", "difference", "low", "high", "p", "p_holm")
    values = {} if comparison is None else {"reference": comparison.first.setting.condition, **_compared(comparison)}
    return {f"{prefix}_{name}": values.get(name) for name in names}


def _compared(comparison: Comparison) -> Row:
    return {
        "pairs": comparison.table.pairs,
        "gained": comparison.table.only_second,
        "lost": comparison.table.only_first,
        "difference": comparison.difference,
        **comparison.interval._asdict(),
        "p": comparison.p,
        "p_holm": comparison.p_holm,
    }


def _share(found: Recovered | None) -> Row:
    result = found.result if found else None
    return {
        "recovered_share": result.share if result else None,
        **_interval("recovered", result.interval if result else None),
    }


def _interval(prefix: str, interval: Interval | None) -> Row:
    low, high = interval if interval is not None else (None, None)
    return {f"{prefix}_low": low, f"{prefix}_high": high}


def _rounded(value: Any) -> Any:
    """Return JSON values with floats of six digits, and null for those that are not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


def _field(value: Any) -> Any:
    value = _rounded(value)
    return "" if value is None else value
