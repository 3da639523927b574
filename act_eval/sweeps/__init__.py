"""Grids of cells over delay, execution horizon, executor and delay estimator: planning, running and analysis."""

from act_eval.sweeps.analysis import Analysis, Recovered, SeriesTrend, analyse
from act_eval.sweeps.comparisons import Comparison
from act_eval.sweeps.grid import (
    PLAIN,
    Expansion,
    Grid,
    Refused,
    Series,
    Setting,
    Variant,
    expand,
    parse_rule,
    shared_refusals,
)
from act_eval.sweeps.results import Cell, RunCells
from act_eval.sweeps.tables import write_tables

__all__ = [
    "PLAIN",
    "Analysis",
    "Cell",
    "Comparison",
    "Expansion",
    "Grid",
    "Recovered",
    "Refused",
    "RunCells",
    "Series",
    "SeriesTrend",
    "Setting",
    "Variant",
    "analyse",
    "expand",
    "parse_rule",
    "shared_refusals",
    "write_tables",
]
