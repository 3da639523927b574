"""A grid of delays, execution horizons, executors and variants, and the cells of it that a policy can run.

A cell is one executor at one d and s; it becomes a condition of a run. A variant is an ablation of the policy's input.
A series is a row of cells that differ in d alone, under one rule for s: a curve of success against delay. Series may
share cells (`delay` and a fixed 4 meet at d = 4).

With equal d and s, every method runs an action at most s + d - 1 steps after its observation: the covered horizon of a
cell is s + d. A fixed s compares methods at equal covered horizon within each delay; `Covered` keeps the covered
horizon equal across delays too, with more frequent requests at longer delays.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from act_eval.errors import UsageError
from act_eval.perturbations import Perturbations, label_of
from act_eval.sources.executors import ExecutorSource
from act_eval.timing import (
    Ablation,
    BeyondMaxDelay,
    CommittedPrefix,
    Constant,
    Estimator,
    Oracle,
    PrefixAblation,
    Proprio,
    Schedule,
    condition_name,
)
from act_eval.types import PolicySpec


@dataclass(frozen=True)
class Fixed:
    """The same s at every delay."""

    steps: int

    def __str__(self) -> str:
        return str(self.steps)


@dataclass(frozen=True)
class HalfChunk:
    """s = C / 2, rounded down: the same at every delay."""

    def __str__(self) -> str:
        return "half"


@dataclass(frozen=True)
class AsDelay:
    """s = max(d, 1): the shortest with one request in flight. Confounds d with s."""

    def __str__(self) -> str:
        return "delay"


@dataclass(frozen=True)
class Covered:
    """s = N - d: the last action from a chunk runs N - 1 steps after its observation, at every delay."""

    steps: int
    """N."""

    def __str__(self) -> str:
        return f"horizon:{self.steps}"


HorizonRule = Fixed | HalfChunk | AsDelay | Covered
_ALLOWED = "a whole number of control steps from 1 on, half (C / 2), delay (s = max(d, 1)) or horizon:N (s = N - d)"


def parse_rule(text: str) -> HorizonRule:
    """Return the rule of a value of `--execution-horizon`.

    Raises:
        UsageError: naming the value and the allowed ones.
    """
    name, colon, argument = text.partition(":")
    match name, colon:
        case "half", "":
            return HalfChunk()
        case "delay", "":
            return AsDelay()
        case "horizon", ":" if _counts(argument):
            return Covered(int(argument))
        case _ if _counts(text):
            return Fixed(int(text))
    raise UsageError(f"--execution-horizon is {text!r}; it must be {_ALLOWED}")


def horizon_of(rule: HorizonRule, delay: int, chunk: int) -> int:
    """Return s [steps]; below 1 if the rule allows none.

    Args:
        rule: The rule.
        delay: d [steps].
        chunk: C [steps].
    """
    match rule:
        case Fixed(steps):
            return steps
        case HalfChunk():
            return max(1, chunk // 2)
        case AsDelay():
            return max(1, delay)
        case Covered(steps):
            return steps - delay


def _counts(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7 and int(text) >= 1


class Variant(NamedTuple):
    """An ablation of the policy's input and a perturbation, by the names on the command line."""

    delay_estimator: str = "oracle"
    """Estimated delay: a number, or an estimator."""
    prefix: str = "committed"
    proprio: Proprio = "observed"
    perturbation: str = "none"

    def __str__(self) -> str:
        """Return the differences from the plain variant, as in `, estimate 4, prefix pad`; empty for the plain one."""
        names = ("estimate", "prefix", "proprio", "perturbation")
        pairs = zip(names, self, PLAIN, strict=True)
        return "".join(f", {name} {value}" for name, value, plain in pairs if value != plain)


PLAIN = Variant()
"""No ablation and no perturbation: the actual delay, the committed commands, the observed joint positions."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The axes of a grid, in the order of the tables."""

    delays: tuple[int, ...]
    """d [steps]."""
    rules: tuple[HorizonRule, ...]
    executors: tuple[ExecutorSource, ...]
    delay_estimator: Mapping[str, Estimator]
    """Name → delay estimator; only `rtc` uses one."""
    prefixes: Mapping[str, PrefixAblation]
    """Name → prefix; only `rtc` uses one."""
    proprio: tuple[Proprio, ...]
    beyond_max_delay: BeyondMaxDelay = "error"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A cell that can run."""

    executor: str
    delay: int
    """d [steps]."""
    execution_horizon: int
    """s [steps]."""
    variant: Variant
    schedule: Schedule
    perturbation: Perturbations = ()

    @property
    def condition(self) -> str:
        """Name of the condition in a run folder."""
        return condition_name(self.schedule) + label_of(self.perturbation)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A cell that cannot run."""

    executor: str
    delay: int
    rule: str
    variant: Variant
    reason: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """Cells of one executor and variant that differ in the delay alone."""

    executor: str
    rule: str
    variant: Variant
    conditions: tuple[str, ...]
    """By rising delay."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The cells of a grid for one policy."""

    settings: tuple[Setting, ...]
    series: tuple[Series, ...]
    refused: tuple[Refused, ...]


def expand(grid: Grid, spec: PolicySpec, perturbations: Sequence[Perturbations] = ()) -> Expansion:
    """Return the cells that a policy can run, without repetitions, and the refused ones with reasons.

    Args:
        grid: the axes.
        spec: of the policy.
        perturbations: each a cell beside every unperturbed one.
    """
    by_name = {label_of(parts).lstrip("_"): parts for parts in perturbations}
    settings: dict[str, Setting] = {}
    series: list[Series] = []
    refused: list[Refused] = []
    for executor, variant, rule in _rows(grid, by_name):
        row = [_cell(grid, spec, executor, delay, rule, variant) for delay in sorted(grid.delays)]
        parts = by_name.get(variant.perturbation, ())
        row = [replace(cell, perturbation=parts) if isinstance(cell, Setting) else cell for cell in row]
        found = {cell.condition: cell for cell in row if isinstance(cell, Setting)}
        refused += [cell for cell in row if isinstance(cell, Refused)]
        settings = {**found, **settings}
        # Two rules that mean the same s for this policy are one series.
        if found and all(other.conditions != tuple(found) for other in series):
            series.append(Series(executor=executor.name, rule=str(rule), variant=variant, conditions=tuple(found)))
    order = dict.fromkeys(condition for one in series for condition in one.conditions)
    return Expansion(
        settings=tuple(settings[condition] for condition in order), series=tuple(series), refused=tuple(refused)
    )


def shared_refusals(refused: Sequence[Refused]) -> list[tuple[str, str]]:
    """Return (cells, reason), with the cells of an executor grouped by reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for cell in refused:
        place = f"d = {cell.delay}, s = {cell.rule}{cell.variant}"
        together.setdefault((cell.executor, cell.reason), []).append(place)
    return [(f"{executor} at {'; '.join(cells)}", reason) for (executor, reason), cells in together.items()]


def _rows(grid: Grid, perturbations: Iterable[str]) -> Iterator[tuple[ExecutorSource, Variant, HorizonRule]]:
    """Yield (executor, variant, rule); a variant without effect on an executor is the plain one."""
    for executor in grid.executors:
        given = executor.example.hands_over_prefix
        variants = [
            Variant(delay_estimator, prefix, proprio, perturbation)
            for perturbation in (PLAIN.perturbation, *perturbations)
            for delay_estimator in (grid.delay_estimator if given else (PLAIN.delay_estimator,))
            for prefix in (grid.prefixes if given else (PLAIN.prefix,))
            for proprio in grid.proprio
        ]
        for variant in variants:
            for rule in grid.rules:
                yield executor, variant, rule


def _cell(
    grid: Grid, spec: PolicySpec, executor: ExecutorSource, delay: int, rule: HorizonRule, variant: Variant
) -> Setting | Refused:
    execution_horizon = horizon_of(rule, delay, spec.chunk)
    if execution_horizon < 1:
        reason = f"{rule} leaves s = {execution_horizon} at d = {delay}; s must be at least 1"
        return Refused(executor=executor.name, delay=delay, rule=str(rule), variant=variant, reason=reason)
    schedule = Schedule(
        method=executor.build(execution_horizon),
        delay=Constant(delay),
        delay_estimator=grid.delay_estimator.get(variant.delay_estimator, Oracle()),
        beyond_max_delay=grid.beyond_max_delay,
        ablation=Ablation(prefix=grid.prefixes.get(variant.prefix, CommittedPrefix()), proprio=variant.proprio),
    )
    if reason := schedule.refusal(spec):
        plain = PLAIN._replace(perturbation=variant.perturbation)
        if delay == 0 and variant != plain and variant.delay_estimator == PLAIN.delay_estimator:
            # Without delay no command is committed, so the prefix is empty and the cell is the plain one.
            return _cell(grid, spec, executor, delay, rule, plain)
        return Refused(executor=executor.name, delay=delay, rule=str(rule), variant=variant, reason=reason)
    return Setting(
        executor=executor.name, delay=delay, execution_horizon=execution_horizon, variant=variant, schedule=schedule
    )
