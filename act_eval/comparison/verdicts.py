"""The verdict on every condition of a comparison, and whether the comparison meets a requirement.

The conditions of a comparison are one planned family. Their p-values are adjusted by Holm; equivalence requires that
an interval that holds for all conditions at once (Bonferroni) is inside the margin. The reported interval holds for
its condition alone. Intervals are exact, so each answer against the margin is wrong with at most alpha / 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from act_eval.comparison.pairing import READINGS, Reading, Table, Vectors
from act_eval.errors import UsageError
from act_eval.stats import (
    Interval,
    PairedTable,
    SuccessRate,
    holm,
    minimum_detectable_drop,
    unpaired_detectable_drop,
)

Verdict = Literal["better", "worse", "equivalent within margin", "inconclusive"]
Requirement = Literal["no-regression", "non-inferior"]

REQUIREMENTS: tuple[str, ...] = get_args(Requirement)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The parameters of a comparison."""

    alpha: float = 0.05
    """Family-wise level of the two-sided tests over all conditions; intervals have confidence 1 - alpha."""
    margin: float = 0.05
    """Largest negligible difference of success rates."""
    paired: bool = True
    """Whether episodes are paired by their seeds."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha is {self.alpha}; it must be between 0 and 1, as in 0.05")
        if not 0 < self.margin < 1:
            raise UsageError(f"margin is {self.margin}; it is a difference of rates between 0 and 1, as in 0.05")


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Tests and verdict of one condition's table."""

    table: Table
    interval: Interval
    """For the difference NEW - BASE, exact, confidence 1 - alpha."""
    p_value: float
    """Exact McNemar, or Barnard if unpaired; two-sided."""
    adjusted: float
    """`p_value` after Holm."""
    verdict: Verdict

    @property
    def base(self) -> SuccessRate:
        """Success rate of BASE over the compared episodes."""
        return self.table.first

    @property
    def new(self) -> SuccessRate:
        """Success rate of NEW over the compared episodes."""
        return self.table.second

    @property
    def pairs(self) -> PairedTable | None:
        """The contingency table of paired outcomes; None if unpaired."""
        return self.table if isinstance(self.table, PairedTable) else None

    @property
    def difference(self) -> float:
        """Success rate of NEW minus that of BASE."""
        return self.table.difference

    @property
    def p(self) -> float:
        """`p_value`."""
        return self.p_value

    def no_worse_than(self, margin: float) -> bool:
        """Return whether the interval excludes a drop of `margin` or more."""
        return self.interval.low >= -margin


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a comparison meets its requirement."""

    requirement: Requirement
    passed: bool | None
    """None if inconclusive."""
    reason: str
    unseen_drop: float | None = None
    """The largest drop that a passed `no-regression` does not exclude in some condition; None if it is below the
    margin."""


Readings = Mapping[Reading, Mapping[str, Assessment]]
"""How invalid episodes count → condition → assessment."""


def assess(tables: Mapping[str, Table], rules: Rules) -> dict[str, Assessment]:
    """Return the assessment of every condition, as one family."""
    p_values = [t.mcnemar() if isinstance(t, PairedTable) else t.barnard() for t in tables.values()]
    return {
        condition: Assessment(
            table=table,
            interval=(interval := table.exact(1 - rules.alpha)),
            p_value=p_value,
            adjusted=adjusted,
            verdict=_verdict(table, interval, adjusted, len(tables), rules),
        )
        for (condition, table), p_value, adjusted in zip(tables.items(), p_values, holm(p_values), strict=True)
    }


def read_all(vectors: Mapping[str, Vectors], rules: Rules) -> Readings:
    """Return the assessments under every reading of invalid episodes; only `valid` without invalid ones."""
    broken = any(sum(pair.invalid) for pair in vectors.values())
    return {
        reading: assess({condition: pair.table(reading, rules.paired) for condition, pair in vectors.items()}, rules)
        for reading in (READINGS if broken else READINGS[:1])
    }


def meets(assessments: Mapping[str, Assessment], requirement: Requirement, margin: float) -> bool | None:
    """Return whether a requirement is met; None if inconclusive (`non-inferior` only)."""
    conditions = assessments.values()
    if requirement == "no-regression":
        return not any(condition.verdict == "worse" for condition in conditions)
    if all(condition.no_worse_than(margin) for condition in conditions):
        return True
    worse = any(condition.verdict == "worse" and not condition.no_worse_than(margin) for condition in conditions)
    return False if worse else None


def decide(readings: Readings, requirement: Requirement, rules: Rules) -> Decision:
    """Return whether the requirement is met under every reading of the invalid episodes."""
    conditions = readings["valid"]
    empty = [name for name, found in conditions.items() if not found.base.trials * found.new.trials]
    if empty:
        message = f"nothing to compare: no valid episode is left in {', '.join(empty)}"
        return Decision(requirement=requirement, passed=None, reason=message)
    answers = {meets(found, requirement, rules.margin) for found in readings.values()}
    if len(answers) > 1:
        message = "invalid episodes, which are failures of the environment, could change the verdict; evaluate again"
        return Decision(requirement=requirement, passed=None, reason=message)
    passed = answers.pop()
    open_drops = {
        name: max(-found[name].interval.low for found in readings.values())
        for name in conditions
        if not all(found[name].no_worse_than(rules.margin) for found in readings.values())
    }
    if requirement == "no-regression":
        return _no_regression(conditions, passed, open_drops, rules.alpha)
    if passed:
        reason = f"a drop of {rules.margin:g} or more is excluded"
    else:
        prefix = "a drop is detected, and one of" if passed is False else "a drop of"
        reason = f"{prefix} {rules.margin:g} or more is not excluded in {', '.join(open_drops)}"
    return Decision(requirement=requirement, passed=passed, reason=reason)


def _no_regression(
    conditions: Mapping[str, Assessment], passed: bool | None, open_drops: Mapping[str, float], alpha: float
) -> Decision:
    worse = [condition for condition, found in conditions.items() if found.verdict == "worse"]
    if worse:
        reason = f"{', '.join(worse)} {'is' if len(worse) == 1 else 'are'} worse"
        return Decision(requirement="no-regression", passed=passed, reason=reason)
    if not open_drops:
        return Decision(requirement="no-regression", passed=passed, reason="no drop detected")
    largest = max(open_drops, key=lambda name: open_drops[name])
    blind = all(detectable(found.table, len(conditions), alpha)[0] is None for found in conditions.values())
    few = "; too few episodes to detect any drop" if blind else ""
    reason = f"no drop detected{few}; {unseen_text(open_drops[largest])} in {largest}"
    return Decision(requirement="no-regression", passed=passed, reason=reason, unseen_drop=open_drops[largest])


def unseen_text(drop: float) -> str:
    """Return the largest drop that a passed comparison does not exclude, in words."""
    return f"inconclusive: a drop of up to {drop:.2f} could have gone unseen"


def detectable(table: Table, conditions: int, alpha: float) -> tuple[float | None, float | None]:
    """Return the smallest drop and the smallest gain that the test detects with 80 % power.

    Assumes a correlation of 0.5 between the outcomes of a pair. None if no change could be detected.
    """
    rate, level = table.first.rate, alpha / max(conditions, 1)
    if not (table.first.trials and table.second.trials):
        return None, None
    drop, gain = (  # a gain of successes is a drop of failures
        minimum_detectable_drop(table.pairs, before, alpha=level)
        if isinstance(table, PairedTable)
        else unpaired_detectable_drop(table.first.trials, table.second.trials, before, alpha=level)
        for before in (rate, 1 - rate)
    )
    return drop, gain


def _verdict(table: Table, interval: Interval, adjusted: float, conditions: int, rules: Rules) -> Verdict:
    if adjusted < rules.alpha:
        return "worse" if table.difference < 0 else "better"
    joint = table.exact(1 - rules.alpha / conditions) if _inside(interval, rules.margin) else interval
    return "equivalent within margin" if _inside(joint, rules.margin) else "inconclusive"


def _inside(interval: Interval, margin: float) -> bool:
    return -margin <= interval.low and interval.high <= margin
