"""Families of metrics: fields of an episode's line, and numbers of a summary.

A family is one file with one subclass of `MetricFamily`; `catalogue` lists them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf
from typing import Any, ClassVar

import numpy as np

from act_eval.types import EpisodeRecord, Motion, Timing
from act_eval.types.steps import EpisodeSteps

Summary = Mapping[str, float | None]
"""Name of a metric → value, in the order of tables; None if undefined."""


@dataclass(frozen=True)
class Metric:
    """One number of a condition."""

    name: str
    """Key in `summary.json` and column in tables."""
    unit: str
    """`steps` are control steps; `1` is a fraction or a ratio."""
    meaning: str
    """One line."""
    wall_clock: bool = False
    """Whether it depends on the speed of the machine."""


@dataclass(frozen=True, kw_only=True)
class MeasuredEpisode:
    """An episode as the input of metrics."""

    record: EpisodeRecord
    steps: EpisodeSteps
    control_s: float
    """Δt [s]."""
    motion: Motion | None = None
    """Motion of the arm through the states; None without the hook."""
    actuation_delay: int = 0
    """a [steps]."""

    @property
    def simulated_s(self) -> float:
        """Simulated time, stopped time included [s]."""
        return (self.record.steps + self.record.stopped_steps) * self.control_s

    @property
    def gripper(self) -> int | None:
        """Column of the gripper in commands and joints."""
        return self.motion.gripper_joint if self.motion is not None and self.steps.steps else None

    @cached_property
    def command(self) -> np.ndarray:
        """(T, A) commands."""
        return columns(self.steps.command)

    @property
    def arm_columns(self) -> list[int]:
        """Columns of the commands without the gripper."""
        return [column for column in range(self.command.shape[1]) if column != self.gripper]


@dataclass(frozen=True, kw_only=True)
class MeasuredCondition:
    """The valid episodes of a condition, in suite order, as the input of a summary."""

    records: Sequence[EpisodeRecord]
    metrics: Sequence[Any]
    """`act_eval.metrics.EpisodeMetrics` of the same episodes."""
    timings: Sequence[Timing]
    """Of the same episodes."""
    horizon: int
    """Control steps after which an episode is cut off."""

    def simulated_s(self) -> list[float]:
        """Return each episode's simulated time, stopped time included [s]."""
        pairs = zip(self.records, self.metrics, strict=True)
        return [(record.steps + record.stopped_steps) * one.control_s for record, one in pairs]


@dataclass(frozen=True, kw_only=True)
class MetricFamily:
    """Metrics that are measured together; its dataclass fields are entries of an episode's line."""

    numbers: ClassVar[tuple[Metric, ...]] = ()
    """Its numbers in a summary."""

    @classmethod
    def of_episode(cls, episode: MeasuredEpisode) -> dict[str, Any]:
        """Return the values of the family's fields for an episode; an undefined number is None, never 0."""
        return {}

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        """Return the values of `numbers` for a condition."""
        return {}


def columns(values: np.ndarray) -> np.ndarray:
    """Return commands as (T, A), also for an episode without a step."""
    return values if values.ndim == 2 else values.reshape(len(values), -1 if len(values) else 0)


def rounded(value: float | None) -> float | None:
    """Return a number with six significant digits, so that it agrees between processors."""
    return None if value is None else float(f"{value:.6g}")


def all_rounded(values: list[float | None]) -> tuple[float | None, ...]:
    """Return `rounded` of each."""
    return tuple(rounded(value) for value in values)


def defined(values: Iterable[float | None]) -> list[float]:
    """Return the values that are not None."""
    return [value for value in values if value is not None]


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None without a value."""
    return sum(values) / len(values) if values else None


def percentile(values: Sequence[float | None], share: float) -> float | None:
    """Return the smallest value that at least `share` of all values do not exceed; None without a value.

    Args:
        values: None is a value that was never reached and counts as infinite.
        share: In (0, 1].

    Returns:
        None also if the percentile is a value that was never reached.
    """
    if not values:
        return None
    ordered = sorted(inf if value is None else value for value in values)
    found = ordered[max(ceil(share * len(ordered) - 1e-9), 1) - 1]
    return None if found == inf else found


def percentile_of_counts(counts: Sequence[int], share: float) -> int | None:
    """Return `percentile` of the numbers 0, 1, 2, … that occur `counts[0]`, `counts[1]`, … times."""
    total, reached = sum(counts), 0
    for number, count in enumerate(counts):
        reached += count
        if count and reached >= share * total - 1e-9:
            return number
    return None
