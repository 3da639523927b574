"""The three tiers of a gate.

1. Exact: if the numeric fingerprint of a new run is recorded, its outcomes must equal the recorded ones. With another
   processor, renderer or library version, floating-point noise may flip an episode.
2. Paired: an exact McNemar test with all pairs, or with early stopping (`sequential`).
3. Bar: the one-sided exact lower bound of a rate over a fixed number of episodes, without a baseline.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from act_eval.comparison.baselines import Baseline, Outcomes, numeric
from act_eval.comparison.pairing import ConditionPair, Vectors, check_starts
from act_eval.comparison.sequential import StoppingRule, count
from act_eval.comparison.verdicts import Requirement, Rules, decide, read_all, unseen_text
from act_eval.errors import UsageError
from act_eval.results.suites import differences
from act_eval.stats import PairedTable, clopper_pearson_lower, minimum_detectable_drop
from act_eval.types import INVALID, SUCCESS

Episodes = Callable[[Sequence[int]], Sequence[str]]
"""Runs episodes of these seeds and returns their outcomes."""


@dataclass(frozen=True)
class Judgement:
    """The result of judging a new run by its baseline or its bar."""

    passed: bool
    exact: bool
    """Whether outcome vectors were compared episode by episode."""
    text: str


def judge(
    baseline: Baseline, run: Baseline, rules: Rules | None = None, requirement: Requirement = "no-regression"
) -> Judgement:
    """Judge a new run, as `Baseline.of_run` returns it: exactly if its machine is recorded, else paired.

    Raises:
        SuiteMismatch: if suite or configuration differ.
    """
    baseline.check_same(run)
    recorded = baseline.recorded(run.fingerprint)
    if recorded is None:
        return judge_paired(baseline, run, rules, requirement)
    return judge_exactly(recorded, run)


def judge_exactly(recorded: Outcomes, run: Baseline) -> Judgement:
    """Judge by equality, episode by episode."""
    flips = [
        f"{condition}, episode {i} (seed {run.suite.seeds[i]}): {before} before, {now} now"
        for condition, vector in recorded.items()
        for i, (before, now) in enumerate(zip(vector, run.outcomes[condition], strict=True))
        if before != now
    ]
    compared = sum(map(len, recorded.values()))
    head = f"same numeric fingerprint, {compared} outcomes compared one by one: "
    return Judgement(not flips, True, head + ("; ".join(flips) if flips else "all equal"))


def judge_paired(
    baseline: Baseline, run: Baseline, rules: Rules | None = None, requirement: Requirement = "no-regression"
) -> Judgement:
    """Judge by the paired test over all pairs; a verdict that invalid episodes could change does not pass.

    Raises:
        SuiteMismatch: if suite or configuration differ, or episodes begin in another state.
    """
    baseline.check_same(run)
    check_starts(baseline, run, [ConditionPair(condition, condition) for condition in baseline.outcomes])
    rules = rules or Rules()
    vectors = {condition: Vectors(vector, run.outcomes[condition]) for condition, vector in baseline.outcomes.items()}
    readings = read_all(vectors, rules)
    decision = decide(readings, requirement, rules)
    noise = differences(numeric(baseline.fingerprint), numeric(run.fingerprint), "fingerprint")
    where = f"not the recorded machine ({'; '.join(noise)})" if noise else "the recorded machine"
    lines = [f"{where}: paired test instead of equality: {decision.reason}"]
    for condition, found in readings["valid"].items():
        table, invalid = found.table, run.outcomes[condition].count(INVALID)
        assert isinstance(table, PairedTable)
        drop = minimum_detectable_drop(table.pairs, table.first.rate, alpha=rules.alpha) if table.pairs else None
        lines.append(
            f"{condition}: {table.first.successes}/{table.pairs} before, {table.second.successes}/{table.pairs} now, "
            f"{table.only_first} lost, {table.only_second} won, McNemar p = {found.adjusted:.3f} (Holm), "
            + ("no drop detectable with so few pairs" if drop is None else f"detectable drop {drop:.2f}")
            + (f", {invalid} invalid episodes" if invalid else "")
        )
    return Judgement(decision.passed is True, False, "\n".join(lines))


def judge_sequentially(
    baseline: Baseline, condition: str, episodes: Episodes, block: int, rule: StoppingRule
) -> Judgement:
    """Run the episodes of a baseline's condition in blocks until the stopping rule decides.

    Passes unless a drop is detected. An invalid episode counts against both decisions.

    Raises:
        UsageError: if `episodes` does not return one outcome per seed, or `block` is below 1.
    """
    if block < 1:
        raise UsageError(f"block is {block}; it must be at least 1")
    seeds, before = baseline.suite.seeds, baseline.outcomes[condition]
    now: list[str] = []
    answer = "continue"
    while answer == "continue":
        requested = seeds[len(now) : len(now) + block]
        outcomes = list(episodes(requested))
        if len(outcomes) != len(requested):
            raise UsageError(f"requested {len(requested)} episodes, got {len(outcomes)} outcomes")
        for outcome in outcomes:
            now.append(outcome)
            if (answer := rule.answer(count(before, now), len(seeds))) != "continue":
                break
    counted = count(before, now)
    invalid = f", {counted.invalid} invalid" if counted.invalid else ""
    unseen = f"; {unseen_text(rule.unseen_drop(counted))}" if answer == "no pairs left" else ""
    text = (
        f"{condition}: {answer} after {len(now)} of {len(seeds)} pairs; {counted.lost} lost, {counted.won} won"
        f"{invalid} (level {rule.alpha:g}, margin {rule.margin:g}){unseen}"
    )
    return Judgement(answer != "drop detected", False, text)


def judge_bar(outcomes: Outcomes, bar: float, episodes: int, confidence: float = 0.95) -> Judgement:
    """Judge whether every condition's true success rate is at least `bar`, with the given confidence.

    The number of episodes is fixed in advance: adding episodes until the bar is passed would pass too often.
    An invalid episode counts as failed.

    Raises:
        UsageError: if the number of outcomes is not `episodes`, or no number of successes could pass the bar.
    """
    if not 0 < bar < 1:
        raise UsageError(f"bar is {bar}; it is a success rate between 0 and 1, as in 0.9")
    if clopper_pearson_lower(episodes, episodes, confidence) < bar:
        raise UsageError(
            f"with {episodes} episodes not even {episodes} successes establish a rate of {bar:g} at confidence "
            f"{confidence:g}; that needs {episodes_for(bar, confidence)}"
        )
    lines, passed = [], True
    for condition, vector in outcomes.items():
        if len(vector) != episodes:
            raise UsageError(f"the bar is set for {episodes} episodes, condition {condition} has {len(vector)}")
        successes, invalid = vector.count(SUCCESS), vector.count(INVALID)
        low = clopper_pearson_lower(successes, episodes, confidence)
        passed = passed and low >= bar
        broken = f"; {invalid} invalid episodes count as failed" if invalid else ""
        bound = f"at least {low:.3f} with confidence {confidence:g}; the bar is {bar:g}"
        lines.append(f"{condition}: {successes}/{episodes}, {bound}{broken}")
    return Judgement(passed, False, "\n".join(lines))


def episodes_for(bar: float, confidence: float) -> int:
    """Return the fewest episodes that establish a rate of `bar` if all succeed."""
    episodes = 1
    while clopper_pearson_lower(episodes, episodes, confidence) < bar:
        episodes += 1
    return episodes
