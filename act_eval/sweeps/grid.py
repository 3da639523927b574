"""A grid of delays, execution horizons, executors and told delays, and the cells of it that a policy can run.

A cell is one executor at one d, s and told delay; it becomes an arm of a run. A series is a row of cells that differ
in d alone, under one rule for s: what a curve of success against delay is drawn through. Cells may be shared by
series (`delay` and a fixed 4 meet at d = 4).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from act_eval.sweeps.rules import ExecuteRule, execution_horizon
from act_eval.timing import EXECUTORS, RTC, BeyondMaxDelay, Constant, Estimator, Oracle, Schedule, arm_name
from act_eval.types import PolicySpec

ORACLE = "oracle"
"""Name of the estimator that tells the delay that will happen; also stands where none is told."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is asked for, in the order of the tables."""

    delays: tuple[int, ...]
    """d [steps]."""
    rules: tuple[ExecuteRule, ...]
    executors: tuple[str, ...]
    """Names in `act_eval.timing.EXECUTORS`."""
    told: Mapping[str, Estimator]
    """Name → estimator of the told delay; only `rtc` tells one."""
    beyond_max_delay: BeyondMaxDelay = "error"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A cell that can run."""

    executor: str
    delay: int
    """d [steps]."""
    execute: int
    """s [steps]."""
    told: str
    """Name of the estimator of the told delay."""
    schedule: Schedule

    @property
    def arm(self) -> str:
        """Its name in a run folder."""
        return arm_name(self.schedule)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A cell that cannot run."""

    executor: str
    delay: int
    rule: str
    told: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """Cells of one executor that differ in the delay alone."""

    executor: str
    rule: str
    told: str
    arms: tuple[str, ...]
    """By rising delay."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """What of a grid one policy runs."""

    settings: tuple[Setting, ...]
    series: tuple[Series, ...]
    refused: tuple[Refused, ...]


def expand(grid: Grid, spec: PolicySpec) -> Expansion:
    """Return the cells that a policy can run, each once, and those that it cannot, with the reason."""
    settings: dict[str, Setting] = {}
    series: list[Series] = []
    refused: list[Refused] = []
    for executor, told, rule in _rows(grid):
        row = [_cell(grid, spec, executor, delay, rule, told) for delay in sorted(grid.delays)]
        found = {cell.arm: cell for cell in row if isinstance(cell, Setting)}
        refused += [cell for cell in row if isinstance(cell, Refused)]
        settings |= found
        # Two rules that mean the same s for this policy are one series.
        if found and all(other.arms != tuple(found) for other in series):
            series.append(Series(executor=executor, rule=str(rule), told=told, arms=tuple(found)))
    return Expansion(settings=tuple(settings.values()), series=tuple(series), refused=tuple(refused))


def shared_refusals(refused: Sequence[Refused]) -> list[tuple[str, str]]:
    """Return (cells, reason) with the cells of an executor that are refused in the same words put together."""
    together: dict[tuple[str, str], list[str]] = {}
    for cell in refused:
        told = "" if cell.told == ORACLE else f", told {cell.told}"
        together.setdefault((cell.executor, cell.reason), []).append(f"d = {cell.delay}, s = {cell.rule}{told}")
    return [(f"{executor} at {'; '.join(cells)}", reason) for (executor, reason), cells in together.items()]


def _rows(grid: Grid) -> Iterator[tuple[str, str, ExecuteRule]]:
    """Yield (executor, told, rule); only rtc tells a delay."""
    for executor in grid.executors:
        tells = isinstance(EXECUTORS[executor](1), RTC)
        for told in grid.told if tells else (ORACLE,):
            for rule in grid.rules:
                yield executor, told, rule


def _cell(grid: Grid, spec: PolicySpec, executor: str, delay: int, rule: ExecuteRule, told: str) -> Setting | Refused:
    execute = execution_horizon(rule, delay, spec.chunk)
    if execute < 1:
        reason = f"{rule} leaves s = {execute} at d = {delay}; s must be at least 1"
        return Refused(executor=executor, delay=delay, rule=str(rule), told=told, reason=reason)
    schedule = Schedule(
        method=EXECUTORS[executor](execute),
        delay=Constant(delay),
        told=grid.told.get(told, Oracle()),
        beyond_max_delay=grid.beyond_max_delay,
    )
    if reason := schedule.refusal(spec):
        return Refused(executor=executor, delay=delay, rule=str(rule), told=told, reason=reason)
    return Setting(executor=executor, delay=delay, execute=execute, told=told, schedule=schedule)
