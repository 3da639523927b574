"""A comparison of two runs: the finding for each condition, the decision, and the sentences that report both."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from act_eval.comparison.pairing import (
    ConditionPair,
    Vectors,
    check_pairable,
    check_starts,
    migration,
    pair_conditions,
    remarks,
)
from act_eval.comparison.sides import Clip, Side, clip, parse_place
from act_eval.comparison.verdicts import (
    Assessment,
    Decision,
    Readings,
    Requirement,
    Rules,
    Verdict,
    decide,
    detectable,
    read_all,
)
from act_eval.errors import UsageError
from act_eval.results.run import StoredRun
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, SUCCESS


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An episode seed on which only one of the two runs succeeded."""

    episode: int
    seed: int
    base: str
    """Outcome in BASE."""
    new: str
    """Outcome in NEW."""
    base_clip: Clip
    new_clip: Clip


@dataclass(frozen=True, kw_only=True)
class ConditionFinding(Assessment):
    """The finding for one pair of conditions over the valid episodes.

    Its verdict is `inconclusive` if invalid episodes could change it.
    """

    conditions: ConditionPair
    doubt: str
    """How invalid episodes could change the verdict; empty if they could not."""
    passed: bool | None
    """Whether this condition meets the requirement; None if inconclusive."""
    invalid: tuple[int, int]
    """Invalid episodes in BASE and in NEW."""
    migration: Mapping[tuple[str, str], int]
    """(Outcome in BASE, outcome in NEW) → episodes; empty if unpaired."""
    flips: tuple[Flip, ...]
    detectable_drop: float | None
    """Smallest drop that this many episodes detect with 80 % power."""
    detectable_gain: float | None
    """Smallest gain that this many episodes detect with 80 % power."""

    def __str__(self) -> str:
        return finding_text(self, 1)

    def detectable(self) -> str:
        """Return the smallest detectable changes in a sentence."""
        drop, gain = self.detectable_drop, self.detectable_gain
        match drop, gain:
            case None, None:
                changes = "no change of any size"
            case _, None:
                changes = f"a drop of {drop:.2f} without any gain"
            case None, _:
                changes = f"a gain of {gain:.2f} without any drop"
            case _:
                changes = f"a drop of {drop:.2f} or a gain of {gain:.2f}"
        return f"{changes} would be detected with 80 % power"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """BASE against NEW, condition by condition."""

    base: Side
    new: Side
    rules: Rules
    findings: tuple[ConditionFinding, ...]
    decision: Decision
    remarks: tuple[str, ...]
    """Notes on versions, tasks, seeds and omitted conditions."""

    @property
    def exit_code(self) -> int:
        """0 if the requirement is met, 1 if it is not, 3 if inconclusive."""
        return {True: 0, False: 1, None: 3}[self.decision.passed]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Name of each pair of conditions → verdict."""
        return {finding.conditions.name: finding.verdict for finding in self.findings}

    def __str__(self) -> str:
        lines = [finding_text(finding, len(self.findings)) for finding in self.findings]
        return "\n".join([*lines, headline(self.decision)])


def compare(
    base: Side, new: Side, pairs: Sequence[ConditionPair], rules: Rules, requirement: Requirement
) -> Comparison:
    """Compare pairs of conditions as one family.

    Raises:
        SuiteMismatch: if the rules pair episodes, and the suites or the states in which episodes begin differ.
    """
    if rules.paired:
        check_pairable(base, new)
        check_starts(base, new, pairs)
    vectors = {pair.name: Vectors(base.outcomes[pair.base], new.outcomes[pair.new]) for pair in pairs}
    readings = read_all(vectors, rules)
    return Comparison(
        base=base,
        new=new,
        rules=rules,
        findings=tuple(_finding(base, new, pair, vectors[pair.name], readings, rules, requirement) for pair in pairs),
        decision=decide(readings, requirement, rules),
        remarks=tuple(remarks(base, new, pairs, rules.paired)),
    )


def compare_places(
    base: Path | str | StoredRun,
    new: Path | str | StoredRun,
    *,
    conditions: Sequence[str] = (),
    rules: Rules | None = None,
    requirement: Requirement = "no-regression",
) -> Comparison:
    """Compare two run folders, two files of `baseline`, or single conditions of them, as in `RUN:CONDITION`.

    Args:
        base: The reference.
        new: The candidate.
        conditions: Entries `NAME` or `BASE_NAME=NEW_NAME`; by default the conditions that both have.
        rules: Of the tests.
        requirement: Requirement of the decision.

    Raises:
        SuiteMismatch: if the rules pair episodes and the suites differ.
        RunFolderError: if a place is neither a finished run nor a baseline.
        UsageError: if the pairs of conditions are ambiguous, or a condition would be compared with itself.
    """
    (first, base_condition), (second, new_condition) = _side(base), _side(new)
    if first.place == second.place:
        second = first
    pairs = pair_conditions(first, second, conditions, (base_condition, new_condition))
    if first is second and any(pair.base == pair.new for pair in pairs):
        raise UsageError(
            f"{base} {new} are the same condition of the same run; name two, as in RUN:CONDITION RUN:OTHER"
        )
    return compare(first, second, pairs, rules or Rules(), requirement)


def compare_conditions(
    run: StoredRun, base: str, new: str, *, alpha: float = Rules.alpha, margin: float = Rules.margin
) -> ConditionFinding:
    """Compare two conditions of one run, by their names.

    Raises:
        UnknownName: listing the conditions of the run.
        UsageError: if both are the same condition.
        RunFolderError: if the run is unfinished or damaged.
    """
    if base == new:
        raise UsageError(f"{base!r} cannot be compared with itself; {run.folder} has {', '.join(run.conditions)}")
    side = Side.read(run)
    pair = ConditionPair(side.check_condition(base), side.check_condition(new))
    return compare(side, side, [pair], Rules(alpha=alpha, margin=margin), "no-regression").findings[0]


def _side(place: Path | str | StoredRun) -> tuple[Side, str | None]:
    if isinstance(place, StoredRun):
        return Side.read(place), None
    path, condition = parse_place(str(place))
    return Side.read(path), condition


def _finding(
    base: Side,
    new: Side,
    pair: ConditionPair,
    vectors: Vectors,
    readings: Readings,
    rules: Rules,
    requirement: Requirement,
) -> ConditionFinding:
    own: Readings = {reading: {pair.name: conditions[pair.name]} for reading, conditions in readings.items()}
    found = readings["valid"][pair.name]
    verdicts = {reading: conditions[pair.name].verdict for reading, conditions in readings.items()}
    doubt = ""
    if len(set(verdicts.values())) > 1:
        doubt = (
            f"{sum(vectors.invalid)} invalid episodes could make it {verdicts['worst']!r} or {verdicts['best']!r}; "
            f"over the valid ones it is {verdicts['valid']!r}"
        )
    drop, gain = detectable(found.table, len(readings["valid"]), rules.alpha)
    return ConditionFinding(
        **{**vars(found), "verdict": "inconclusive" if doubt else found.verdict},
        conditions=pair,
        doubt=doubt,
        passed=decide(own, requirement, rules).passed,
        invalid=vectors.invalid,
        migration=migration(vectors) if rules.paired else {},
        flips=_flips(base, new, pair) if rules.paired else (),
        detectable_drop=drop,
        detectable_gain=gain,
    )


def _flips(base: Side, new: Side, pair: ConditionPair) -> tuple[Flip, ...]:
    both = zip(base.outcomes[pair.base], new.outcomes[pair.new], strict=True)
    return tuple(
        Flip(
            episode=i,
            seed=base.suite.seeds[i],
            base=before,
            new=now,
            base_clip=clip(base, pair.base, i),
            new_clip=clip(new, pair.new, i),
        )
        for i, (before, now) in enumerate(both)
        if (before == SUCCESS) != (now == SUCCESS) and INVALID not in (before, now)
    )


def headline(decision: Decision) -> str:
    """Return the decision in a line."""
    word = {True: "PASS", False: "FAIL", None: "INCONCLUSIVE"}[decision.passed]
    return f"{word} --require {decision.requirement}: {decision.reason}"


def rate_text(rate: SuccessRate) -> str:
    """Return a rate with its counts, as in `41/50 = 0.82`."""
    return f"{rate.successes}/{rate.trials} = {rate.rate:.2f}" if rate.trials else "0/0"


def difference_text(finding: ConditionFinding) -> str:
    """Return the difference with its interval, as in `-0.06 [-0.14, 0.01]`."""
    return f"{finding.difference:+.2f} {finding.interval}" if finding.base.trials and finding.new.trials else "–"


def p_text(p_value: float) -> str:
    """Return a p-value, as in `0.031`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_values_text(finding: ConditionFinding, conditions: int) -> str:
    """Return the p-value, with Holm's adjustment if there are several conditions."""
    return p_text(finding.p) if conditions == 1 else f"{p_text(finding.p)}, Holm {p_text(finding.adjusted)}"


def method_text(comparison: Comparison) -> str:
    """Return the description of tests and intervals."""
    rules, conditions = comparison.rules, len(comparison.findings)
    how = "paired by episode seed; exact McNemar" if rules.paired else "different episodes; Barnard's exact test"
    family = "" if conditions == 1 else f", Holm over {conditions} conditions"
    level = f"{100 * (1 - rules.alpha):g}"
    return f"{how}{family}, level {rules.alpha:g}; exact {level}% interval of NEW - BASE; margin {rules.margin:g}"


def finding_text(finding: ConditionFinding, conditions: int) -> str:
    """Return one condition's finding in a line."""
    pairs = finding.pairs
    counted = f"{pairs.only_first} lost, {pairs.only_second} won, " if pairs else ""
    doubt = f" ({finding.doubt})" if finding.doubt else ""
    return (
        f"{finding.conditions.name}: BASE {rate_text(finding.base)}, NEW {rate_text(finding.new)}, difference "
        f"{difference_text(finding)}, {counted}p {p_values_text(finding, conditions)}: {finding.verdict}{doubt}; "
        f"{finding.detectable()}"
    )


def side_by_side(comparison: Comparison) -> str | None:
    """Return the command that shows flipped seeds side by side; None without flipped seeds or runs."""
    runs = (comparison.base.run, comparison.new.run)
    folders = dict.fromkeys(run.folder for run in runs if run is not None)
    if None in runs or not any(finding.flips for finding in comparison.findings):
        return None
    return shlex.join(["act-eval", "report", *map(str, folders)])
