"""The verdict on every condition of a comparison, and whether the comparison meets a requirement.

The conditions of a comparison are one planned family. Their p-values are adjusted by Holm; equivalence requires that
an interval that holds for all conditions at once (Bonferroni) is inside the margin. The reported interval holds for
its condition alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from act_eval.comparison.pairing import READINGS, Reading, Table, Vectors
from act_eval.errors import UsageError
from act_eval.stats import Interval, PairedTable, holm, minimum_detectable_drop, unpaired_detectable_drop

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
    """For the difference NEW - BASE, confidence 1 - alpha."""
    p_value: float
    """Exact McNemar, or Barnard if unpaired; two-sided."""
    adjusted: float
    """`p_value` after Holm."""
    verdict: Verdict

    def no_worse_than(self, margin: float) -> bool:
        """Return whether the interval excludes a drop of `margin` or more."""
        return self.interval.low > -margin


def assess(tables: Mapping[str, Table], rules: Rules) -> dict[str, Assessment]:
    """Return the assessment of every condition, as one family."""
    p_values = {condition: p_value(table) for condition, table in tables.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {
        condition: Assessment(
            table=table,
            interval=table.newcombe(1 - rules.alpha),
            p_value=p_values[condition],
            adjusted=adjusted[condition],
            verdict=_verdict(table, adjusted[condition], len(tables), rules),
        )
        for condition, table in tables.items()
    }


def p_value(table: Table) -> float:
    """Return the two-sided exact p-value: McNemar for pairs, Barnard for independent episodes."""
    return table.mcnemar() if isinstance(table, PairedTable) else table.barnard()


def read_all(vectors: Mapping[str, Vectors], rules: Rules) -> dict[Reading, dict[str, Assessment]]:
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


def detectable(table: Table, conditions: int, alpha: float) -> tuple[float | None, float | None]:
    """Return the smallest drop and the smallest gain that the test detects with 80 % power.

    Assumes a correlation of 0.5 between the outcomes of a pair. None if no change could be detected.
    """
    rate, level = table.first.rate, alpha / max(conditions, 1)
    if isinstance(table, PairedTable):
        if not table.pairs:
            return None, None
        drops = (minimum_detectable_drop(table.pairs, r, alpha=level) for r in (rate, 1 - rate))
    else:
        sizes = table.first.trials, table.second.trials
        if not all(sizes):
            return None, None
        drops = (unpaired_detectable_drop(*sizes, r, alpha=level) for r in (rate, 1 - rate))
    drop, gain = drops  # a gain of successes is a drop of failures
    return drop, gain


def _verdict(table: Table, adjusted: float, conditions: int, rules: Rules) -> Verdict:
    if adjusted < rules.alpha:
        return "worse" if table.difference < 0 else "better"
    joint = table.newcombe(1 - rules.alpha / conditions)
    inside = joint.low > -rules.margin and joint.high < rules.margin
    return "equivalent within margin" if inside else "inconclusive"
