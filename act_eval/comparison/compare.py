"""A comparison of two runs: every arm's finding, and whether the requirement is met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from act_eval.comparison.pairing import ArmPair, check_pairable, remarks
from act_eval.comparison.results import Clip, Results, clip
from act_eval.comparison.tables import Reading, Vectors, migration
from act_eval.comparison.verdicts import Assessment, Requirement, Rules, Verdict, detectable, meets, read_all
from act_eval.results.records import INVALID, SUCCESS
from act_eval.stats import Interval, PairedTable, SuccessRate


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
class ArmFinding:
    """What the comparison says of one pair of arms."""

    arms: ArmPair
    assessment: Assessment
    """Over the valid episodes."""
    verdict: Verdict
    """`cannot tell` where invalid episodes could change what the valid ones say."""
    doubt: str
    """Why the verdict was refused; empty if it was not."""
    passed: bool | None
    """Whether this arm meets the requirement; None where that cannot be said."""
    invalid: tuple[int, int]
    """Invalid episodes in BASE and in NEW."""
    migration: Mapping[tuple[str, str], int]
    """(Outcome in BASE, outcome in NEW) → episodes; empty where unpaired."""
    flips: tuple[Flip, ...]
    detectable_drop: float | None
    """Smallest drop that this many episodes show with a probability of 80 %."""
    detectable_gain: float | None

    @property
    def base(self) -> SuccessRate:
        """Success rate of BASE over the episodes that are compared."""
        return self.assessment.table.first

    @property
    def new(self) -> SuccessRate:
        """Success rate of NEW over the episodes that are compared."""
        return self.assessment.table.second

    @property
    def pairs(self) -> PairedTable | None:
        """The contingency of paired outcomes; None where unpaired."""
        table = self.assessment.table
        return table if isinstance(table, PairedTable) else None

    @property
    def difference(self) -> float:
        """Success rate of NEW minus that of BASE."""
        return self.assessment.table.difference

    @property
    def interval(self) -> Interval:
        """Of `difference`."""
        return self.assessment.interval

    def detectable(self) -> str:
        """Return what changes this many episodes would show."""
        if self.detectable_drop is None and self.detectable_gain is None:
            return "no change of any size would be shown"
        shown = (("drop", self.detectable_drop), ("gain", self.detectable_gain))
        parts = [f"no {name}" if size is None else f"a {name} of {size:.2f}" for name, size in shown]
        return f"80 % of the time {' and '.join(parts)} would be shown"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a comparison meets what is required of it."""

    requirement: Requirement
    passed: bool | None
    """None where that cannot be said."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """BASE against NEW, arm by arm."""

    base: Results
    new: Results
    rules: Rules
    findings: tuple[ArmFinding, ...]
    decision: Decision
    remarks: tuple[str, ...]


def compare(
    base: Results, new: Results, pairs: Sequence[ArmPair], rules: Rules, requirement: Requirement
) -> Comparison:
    """Compare pairs of arms as one family.

    Raises:
        SuiteMismatch: if episodes are to be paired and the suites differ.
    """
    if rules.paired:
        check_pairable(base, new)
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


def decide(readings: Mapping[Reading, Mapping[str, Assessment]], requirement: Requirement, rules: Rules) -> Decision:
    """Return whether the requirement is met under every reading of the invalid episodes."""
    if empty := [
        arm for arm, found in readings["valid"].items() if not found.table.first.trials * found.table.second.trials
    ]:
        told = f"nothing to compare: no valid episode is left in {', '.join(empty)}"
        return Decision(requirement=requirement, passed=None, reason=told)
    answers = {reading: meets(arms, requirement, rules.margin) for reading, arms in readings.items()}
    if len(set(answers.values())) > 1:
        told = "invalid episodes could change the answer: evaluate again, they are the environment's failure"
        return Decision(requirement=requirement, passed=None, reason=told)
    passed = answers["valid"]
    return Decision(
        requirement=requirement, passed=passed, reason=_reason(readings["valid"], passed, requirement, rules)
    )


def _reason(arms: Mapping[str, Assessment], passed: bool | None, requirement: Requirement, rules: Rules) -> str:
    if requirement == "no-regression":
        worse = [arm for arm, found in arms.items() if found.verdict == "worse"]
        if worse:
            return f"a drop is shown in {', '.join(worse)}"
        blind = all(detectable(found.table, len(arms), rules.alpha)[0] is None for found in arms.values())
        return "no drop is shown" + (", and none could be: too few episodes" if blind else "")
    open_arms = [arm for arm, found in arms.items() if not found.no_worse_than(rules.margin)]
    if passed:
        return f"a drop of {rules.margin:g} or more is excluded"
    shown = "a drop is shown, and one of" if passed is False else "inconclusive: a drop of"
    return f"{shown} {rules.margin:g} or more is not excluded in {', '.join(open_arms)}"


def _finding(
    base: Results,
    new: Results,
    pair: ArmPair,
    vectors: Vectors,
    readings: Mapping[Reading, Mapping[str, Assessment]],
    rules: Rules,
    requirement: Requirement,
) -> ArmFinding:
    own: dict[Reading, dict[str, Assessment]] = {
        reading: {pair.name: arms[pair.name]} for reading, arms in readings.items()
    }
    found = readings["valid"][pair.name]
    verdicts = {reading: arms[pair.name].verdict for reading, arms in readings.items()}
    doubt = ""
    if len(set(verdicts.values())) > 1:
        doubt = (
            f"{sum(vectors.invalid)} invalid episodes could make it {verdicts['worst']!r} or {verdicts['best']!r}; "
            f"the valid ones alone say {verdicts['valid']!r}"
        )
    drop, gain = detectable(found.table, len(readings["valid"]), rules.alpha)
    return ArmFinding(
        arms=pair,
        assessment=found,
        verdict="cannot tell" if doubt else found.verdict,
        doubt=doubt,
        passed=decide(own, requirement, rules).passed,
        invalid=vectors.invalid,
        migration=migration(vectors) if rules.paired else {},
        flips=_flips(base, new, pair) if rules.paired else (),
        detectable_drop=drop,
        detectable_gain=gain,
    )


def _flips(base: Results, new: Results, pair: ArmPair) -> tuple[Flip, ...]:
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
