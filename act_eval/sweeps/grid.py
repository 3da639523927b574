"""A grid of delays, execution horizons, executors and told delays, and the cells of it that a policy can run.

A cell is one executor at one d, s and told delay; it becomes an arm of a run. A series is a row of cells that differ
in d alone, under one rule for s: what a curve of success against delay is drawn through. Cells may be shared by
series (`delay` and a fixed 4 meet at d = 4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from act_eval.sweeps.rules import ExecuteRule, execution_horizon
from act_eval.timing import RTC, BeyondMaxDelay, Constant, Estimator, Method, Oracle, Schedule
from act_eval.types import PolicySpec

Methods = Mapping[str, Callable[[int], Method]]
"""Name of an executor → builder of its method from the execution horizon."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is asked for, in the order of the tables."""

    delays: tuple[int, ...]
    """d [steps]."""
    rules: tuple[ExecuteRule, ...]
    executors: tuple[str, ...]
    told: Mapping[str, Estimator]
    """Name → estimator of the told delay; only `rtc` tells one."""
    beyond_max_delay: BeyondMaxDelay = "error"
    timeout: int | None = None


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
        told = "" if isinstance(self.schedule.told, Oracle) else f"_told_{self.told.replace(':', '_')}"
        return f"{self.executor}_d{self.delay}_s{self.execute}{told}"


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


def expand(grid: Grid, spec: PolicySpec, methods: Methods) -> Expansion:
    """Return the cells that a policy can run, each once, and those that it cannot, with the reason."""
    settings: dict[str, Setting] = {}
    series: list[Series] = []
    refused: list[Refused] = []
    for executor in grid.executors:
        for told, estimator in _told(grid, methods[executor](1)).items():
            for rule in grid.rules:
                found: list[Setting] = []
                for delay in sorted(grid.delays):
                    cell = _cell(grid, spec, methods[executor], (executor, delay, rule, told), estimator)
                    (found if isinstance(cell, Setting) else refused).append(cell)  # pyright: ignore[reportArgumentType]
                settings |= {cell.arm: cell for cell in found}
                arms = tuple(cell.arm for cell in found)
                # Two rules that mean the same s for this policy are one series.
                if found and not any(other.executor == executor and other.arms == arms for other in series):
                    series.append(Series(executor=executor, rule=str(rule), told=told, arms=arms))
    return Expansion(settings=tuple(settings.values()), series=tuple(series), refused=tuple(refused))


def _told(grid: Grid, method: Method) -> Mapping[str, Estimator]:
    """Return the estimators that make a difference for a method."""
    return grid.told if isinstance(method, RTC) else {"oracle": Oracle()}


def _cell(
    grid: Grid,
    spec: PolicySpec,
    build: Callable[[int], Method],
    place: tuple[str, int, ExecuteRule, str],
    estimator: Estimator,
) -> Setting | Refused:
    executor, delay, rule, told = place
    execute = execution_horizon(rule, delay, spec.chunk)
    if execute < 1:
        reason = f"{rule} leaves no step between two requests at d = {delay}: s = {execute}, at least 1 is needed"
        return Refused(executor=executor, delay=delay, rule=str(rule), told=told, reason=reason)
    schedule = Schedule(
        method=build(execute),
        delay=Constant(delay),
        told=estimator,
        beyond_max_delay=grid.beyond_max_delay,
        timeout=grid.timeout,
    )
    if reason := schedule.refusal(spec):
        return Refused(executor=executor, delay=delay, rule=str(rule), told=told, reason=reason)
    return Setting(executor=executor, delay=delay, execute=execute, told=told, schedule=schedule)


def shared_refusals(refused: Sequence[Refused]) -> list[tuple[str, str]]:
    """Return (cells, reason) with the cells of an executor that are refused in the same words put together."""
    together: dict[tuple[str, str], list[str]] = {}
    for cell in refused:
        told = "" if cell.told == "oracle" else f", told {cell.told}"
        together.setdefault((cell.executor, cell.reason), []).append(f"d = {cell.delay}, s {cell.rule}{told}")
    return [(f"{executor} at {'; '.join(cells)}", reason) for (executor, reason), cells in together.items()]
