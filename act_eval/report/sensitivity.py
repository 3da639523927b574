"""The page's section on sensitivity: success against continuous factors, and a map over the target's place."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from act_eval.comparison.robustness import p_text
from act_eval.comparison.sensitivity import Bin, SensitivityReport, bin_text, sensitivity_of
from act_eval.errors import RunFolderError
from act_eval.report.sources import RunSource
from act_eval.results.run import read_run


def sensitivity_sections(runs: Sequence[RunSource]) -> list[dict[str, Any]]:
    """Return a section for the template of each finished run whose episodes differ in a factor."""
    sections = []
    for run in runs:
        try:
            report = sensitivity_of(read_run(run.folder))
        except RunFolderError:
            continue  # unfinished or damaged, which the page lists elsewhere
        if report.effects:
            sections.append({"label": run.label, **_section(report)})
    return sections


def _section(report: SensitivityReport) -> dict[str, Any]:
    x_edges, y_edges = report.place_edges
    return {
        "caption": report.table().caption,
        "rows": [
            {
                "factor": one.factor,
                "odds": "–" if one.odds_ratio is None else f"× {one.odds_ratio:.2f} {one.interval} {one.unit}",
                "p": "–" if one.p_holm is None else p_text(one.p_holm),
                "verdict": one.verdict,
                "bins": "; ".join(map(bin_text, one.bins)),
            }
            for one in report.effects
        ],
        "map": [
            {"x": f"{x_edges[-2 - n]:.3f} – {x_edges[-1 - n]:.3f} m", "cells": [_cell(cell) for cell in row]}
            for n, row in enumerate(report.place_map)
        ],
        "columns": [f"{low:.3f} – {high:.3f} m" for low, high in pairwise(y_edges)][::-1],
    }


def _cell(cell: Bin) -> dict[str, Any]:
    if not cell.episodes:
        return {"rate": "–", "interval": ""}
    low, high = (100 * end for end in cell.interval)
    return {
        "rate": f"{100 * cell.rate:.0f} %",
        "interval": f"{low:.0f} – {high:.0f} % · {cell.successes}/{cell.episodes}",
    }
