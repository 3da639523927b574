"""Finished cells of a sweep, for tables and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from act_eval.comparison.pairing import check_same_starts
from act_eval.errors import SuiteMismatch
from act_eval.metrics import EpisodeMetrics
from act_eval.perturbations import perturbation_entry
from act_eval.results.suites import Suite
from act_eval.stats import SuccessRate
from act_eval.sweeps.grid import Refused, Series, Setting
from act_eval.sweeps.trend import Outcomes
from act_eval.timing import may_start_elsewhere
from act_eval.types import INVALID, SUCCESS, EpisodeRecord


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A finished cell."""

    policy: str
    env: str
    """Short name, as on the command line."""
    setting: Setting
    rule: str
    """The first rule of the grid that gives its s."""
    records: tuple[EpisodeRecord, ...]
    """In suite order."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Name in `act_eval.metrics` → value over the episodes."""
    measured: tuple[EpisodeMetrics, ...] = ()
    """Of each episode; empty if there are none."""

    @property
    def name(self) -> str:
        """Path below the sweep folder, as in `act_rtc_moving_pick/rtc_d4_s10`."""
        return f"{self.policy}_{self.env}/{self.setting.condition}"

    @property
    def rate(self) -> SuccessRate:
        """Success rate of the valid episodes."""
        outcomes_N = self.outcomes
        return SuccessRate(int(np.nansum(outcomes_N)), int((~np.isnan(outcomes_N)).sum()))

    @property
    def outcomes(self) -> Outcomes:
        """(N,) 1 success, 0 failure, NaN invalid; entry i is episode i of the suite."""
        return np.array([np.nan if r.outcome == INVALID else float(r.outcome == SUCCESS) for r in self.records])

    @property
    def initial_states(self) -> list[str | None]:
        """Digest of the state in which each episode began, if recorded."""
        return [record.initial_state for record in self.records]


@dataclass(frozen=True, kw_only=True)
class RunCells:
    """The cells of one policy in one environment: one run folder."""

    policy: str
    env: str
    suite: Suite
    control_s: float
    """Δt [s]."""
    default_executor: str
    """The default of `evaluate` for the policy."""
    cells: Mapping[str, Cell]
    """Condition → cell, in the grid's order."""
    series: tuple[Series, ...]
    refused: tuple[Refused, ...]

    def series_cells(self, series: Series) -> list[Cell]:
        """Return the cells of a series by rising delay."""
        return [self.cells[condition] for condition in series.conditions]


def check_paired(runs: Sequence[RunCells]) -> None:
    """Check that the runs of one environment have the same suite, and that their cells begin in the same states.

    Raises:
        SuiteMismatch: naming the runs or cells and the differences.
    """
    first: dict[str, RunCells] = {}
    cells: dict[str, Cell] = {}
    for run in runs:
        for cell in run.cells.values():
            if may_start_elsewhere(perturbation_entry(cell.setting.perturbation)):
                continue
            first_cell = cells.setdefault(run.env, cell)
            check_same_starts(first_cell.initial_states, cell.initial_states, run.suite.seeds, cell.name)
        other = first.setdefault(run.env, run)
        try:
            other.suite.check_same(run.suite)
        except SuiteMismatch as error:
            raise SuiteMismatch(f"{run.policy}_{run.env} and {other.policy}_{other.env}: {error}") from error
