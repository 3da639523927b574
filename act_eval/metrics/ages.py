"""Action age, stalls and discarded actions. All counts in control steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from act_eval.metrics.family import (
    MeasuredCondition,
    MeasuredEpisode,
    Metric,
    MetricFamily,
    Summary,
    percentile_of_counts,
    rounded,
)


@dataclass(frozen=True, kw_only=True)
class TimeUse(MetricFamily):
    """Age of the actions, time without one, and actions that never ran."""

    action_age_counts: tuple[int, ...]
    """Executed actions that were 0, 1, 2, … steps old."""
    action_age_p50: int | None
    action_age_p95: int | None
    action_age_max: int | None
    stall_fraction: float | None
    """See `stall_fraction` [1]."""
    discarded_fraction: float | None
    """See `discarded_fraction` [1]."""

    numbers: ClassVar = (
        Metric("action_age_p50", "steps", "from the observation behind an action to its execution, median over steps"),
        Metric("action_age_p95", "steps", "the same, 95th percentile over steps"),
        Metric("action_age_max", "steps", "the same, largest"),
        Metric("stall_fraction", "1", "share of time in underrun or with the world stopped"),
        Metric("discarded_fraction", "1", "share of predicted actions that never ran"),
    )

    @classmethod
    def of_episode(cls, episode: MeasuredEpisode) -> dict[str, Any]:
        record, detail = episode.record, episode.record.detail
        ages = action_age_counts(episode.steps.observed, episode.actuation_delay)
        return {
            "action_age_counts": tuple(ages),
            **_quantiles(ages),
            "stall_fraction": rounded(stall_fraction(record.steps, record.underrun_steps, record.stopped_steps)),
            "discarded_fraction": rounded(
                discarded_fraction(detail.get("predicted_actions", 0), detail.get("discarded_actions", 0))
            ),
        }

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        records = condition.records
        counts = zip_longest(*(one.action_age_counts for one in condition.metrics), fillvalue=0)
        return {
            **_quantiles([sum(column) for column in counts]),
            "stall_fraction": stall_fraction(
                sum(record.steps for record in records),
                sum(record.underrun_steps for record in records),
                sum(record.stopped_steps for record in records),
            ),
            "discarded_fraction": discarded_fraction(
                sum(record.detail.get("predicted_actions", 0) for record in records),
                sum(record.detail.get("discarded_actions", 0) for record in records),
            ),
        }


def _quantiles(counts: Sequence[int]) -> dict[str, int | None]:
    return {
        "action_age_p50": percentile_of_counts(counts, 0.50),
        "action_age_p95": percentile_of_counts(counts, 0.95),
        "action_age_max": len(counts) - 1 if counts else None,
    }


def action_age_counts(observed_T: ArrayLike, actuation_delay: int = 0) -> list[int]:
    """Return how many executed actions were 0, 1, 2, … steps old.

    The age of an action is the step at which it reaches the arm minus the step of its observation (of averaged chunks:
    of the newest one). Steps under the hold action have none.

    Args:
        observed_T: Step of the observation behind each step's command, -1 under the hold action.
        actuation_delay: a [steps].
    """
    observed = np.asarray(observed_T, np.int64)
    steps = np.flatnonzero(observed >= 0)
    return np.bincount(steps - observed[steps] + actuation_delay).tolist() if len(steps) else []


def stall_fraction(steps: int, underrun_steps: int, stopped_steps: int) -> float | None:
    """Return (underrun + stopped) / (steps + stopped): the share of time in underrun or with the world stopped [1].

    None for an episode without any time.
    """
    time = steps + stopped_steps
    return (underrun_steps + stopped_steps) / time if time else None


def discarded_fraction(predicted: int, discarded: int) -> float | None:
    """Return the share of predicted actions that never ran [1]; None without predictions."""
    return discarded / predicted if predicted else None
