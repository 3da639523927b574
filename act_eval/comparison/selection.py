"""Selection among several checkpoints on the same episodes.

The best of k success rates is biased upwards. The unbiased numbers are the mean over the checkpoints, for the training,
and the rate on held-out episodes, for the chosen checkpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act_eval.comparison.pairing import ConditionPair, check_pairable, check_starts, suite_differences, valid_in_all
from act_eval.comparison.sides import Side
from act_eval.errors import SuiteMismatch, UsageError
from act_eval.stats import SuccessRate

_SHUFFLES = 2000


@dataclass(frozen=True, kw_only=True)
class ConditionSelection:
    """One condition of several checkpoints."""

    condition: str
    rates: tuple[SuccessRate, ...]
    """One per checkpoint, in the order given."""
    mean: float
    spread: float
    """Standard deviation over the checkpoints."""
    best: int
    """Index of the best checkpoint; the first of equals."""
    luck: float
    """Expected excess of the best over the mean if all were equally good: the mean over shuffles of the outcomes of
    each episode among the checkpoints."""
    chance: float
    """Share of these shuffles in which the best is at least as good as the observed best."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The chosen checkpoint on held-out episodes."""

    side: Side
    chosen: int
    """Index of the checkpoint."""
    rates: dict[str, SuccessRate]
    """Condition → success rate: the number to report."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Several checkpoints on one suite."""

    runs: tuple[Side, ...]
    conditions: tuple[ConditionSelection, ...]
    best: int
    """Index of the checkpoint with the best mean over the conditions."""
    held_out: HeldOut | None


def select(runs: Sequence[Side], selected: Sequence[str] = (), held_out: Side | None = None) -> Selection:
    """Return the selection among several checkpoints on one suite.

    Args:
        runs: one per checkpoint.
        selected: conditions; all that every run has if empty.
        held_out: a run of the chosen checkpoint on other episode seeds.

    Raises:
        SuiteMismatch: if the suites or the initial states differ, or the held-out run shares episodes with them.
        UsageError: if there are fewer than two checkpoints, a condition is missing, or the held-out run is of another
            policy.
    """
    if len(runs) < 2:
        raise UsageError(f"--checkpoints needs at least two runs, got {len(runs)}")
    for run in runs[1:]:
        check_pairable(runs[0], run)
    for condition in selected:
        for run in runs:
            run.check_condition(condition)
    names = list(selected) or [
        condition for condition in runs[0].outcomes if all(condition in run.outcomes for run in runs)
    ]
    if not names:
        raise UsageError(f"no condition is in all of {', '.join(run.place for run in runs)}")
    for run in runs[1:]:
        check_starts(runs[0], run, [ConditionPair(name, name) for name in names])
    conditions = tuple(select_condition(condition, [run.outcomes[condition] for run in runs]) for condition in names)
    best = int(np.argmax([sum(condition.rates[i].rate for condition in conditions) for i in range(len(runs))]))
    return Selection(
        runs=tuple(runs),
        conditions=conditions,
        best=best,
        held_out=_hold_out(runs, names, held_out) if held_out else None,
    )


def select_condition(condition: str, vectors: Sequence[Sequence[str]]) -> ConditionSelection:
    """Return the selection by one condition, given an outcome vector of each checkpoint.

    Episodes that are invalid for one checkpoint are excluded for all.

    Raises:
        UsageError: if no episode is left.
    """
    success_NK = valid_in_all(vectors).T
    if not len(success_NK):
        raise UsageError(f"condition {condition} has no episode that is valid in every checkpoint")
    episodes, totals = len(success_NK), success_NK.sum(0)
    rates = totals / episodes
    highest = _best_of_equals(success_NK)
    return ConditionSelection(
        condition=condition,
        rates=tuple(SuccessRate(int(total), episodes) for total in totals),
        mean=float(rates.mean()),
        spread=float(rates.std(ddof=1)),
        best=int(np.argmax(totals)),
        luck=float(highest.mean() / episodes - rates.mean()),
        chance=float(np.mean(highest >= totals.max())),
    )


def _best_of_equals(success_NK: np.ndarray) -> np.ndarray:
    """Return the largest total of successes in each shuffle of every episode's outcomes among the checkpoints."""
    rng = np.random.default_rng(0)  # the same runs give the same figures
    shuffled = (rng.permuted(success_NK, axis=1).sum(0).max() for _ in range(_SHUFFLES))
    return np.fromiter(shuffled, int, _SHUFFLES)


def _hold_out(runs: Sequence[Side], conditions: Sequence[str], held_out: Side) -> HeldOut:
    digests = [run.policy.get("digest") for run in runs]
    digest = held_out.policy.get("digest")
    if digest is None or digest not in digests:
        known = ", ".join(f"{run.place} ({d})" for run, d in zip(runs, digests, strict=True))
        raise UsageError(f"--held-out {held_out.place} is a run of policy {digest}, which is not among: {known}")
    if lines := [line for line in suite_differences(runs[0], held_out) if not line.startswith("suite.seeds")]:
        message = "\n  ".join(lines)
        raise SuiteMismatch(f"--held-out {held_out.place} is of another task than the checkpoints' runs:\n  {message}")
    if common := len(set(held_out.suite.seeds) & set(runs[0].suite.seeds)):
        raise SuiteMismatch(
            f"--held-out {held_out.place} shares {common} episode seeds with the suite that chose the checkpoint: "
            "evaluate it with --held-out"
        )
    vectors = {condition: held_out.outcomes[held_out.check_condition(condition)] for condition in conditions}
    rates = {condition: SuccessRate.of_outcomes(v) for condition, v in vectors.items()}
    return HeldOut(side=held_out, chosen=digests.index(digest), rates=rates)


def selection_lines(selection: Selection) -> list[str]:
    """Return the lines to print below the table of checkpoints."""
    lines = [_mean_text(condition, len(selection.runs)) for condition in selection.conditions]
    best = selection.runs[selection.best].place
    if selection.held_out is None:
        lines.append(
            f"warning: the rate of the best of {len(selection.runs)} on the episodes that chose it is biased upwards; "
            f"report the mean, or evaluate the chosen one ({best}) again with --held-out and name that run here "
            "with --held-out"
        )
        return lines
    chosen = selection.runs[selection.held_out.chosen].place
    for condition, rate in selection.held_out.rates.items():
        lines.append(f"{condition}: held out, {chosen}: {rate.describe()}: the number to report for this checkpoint")
    return lines


def _mean_text(condition: ConditionSelection, count: int) -> str:
    return (
        f"{condition.condition}: mean over {count} checkpoints {condition.mean:.3f}, standard deviation "
        f"{condition.spread:.3f}; if all were equally good, the best would exceed the mean by {condition.luck:.3f} "
        f"through luck, and reach the observed rate with a chance of {condition.chance:.2f}"
    )
