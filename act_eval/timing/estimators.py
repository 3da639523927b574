"""Delay estimators: the delay that a policy is conditioned on, which may differ from the actual one.

An estimator reads the delays of the answers that arrived in this episode, oldest first; lost answers do not count.
Only `rtc` and predicted joints use an estimate; it is 0 for every other method. The estimate covers the time from the
request to its answer. The age of the observation is known from its time stamp and is added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act_eval.errors import TimingError
from act_eval.timing.methods import whole_steps


@dataclass(frozen=True)
class Oracle:
    """The actual delay."""


@dataclass(frozen=True)
class ConstantEstimate:
    """The same number for every request."""

    steps: int

    def __post_init__(self) -> None:
        whole_steps("estimated delay", self.steps)


@dataclass(frozen=True)
class MaxOfLast:
    """The largest of the last `window` delays: RTC's own conservative estimate (Algorithm 1, b = 10)."""

    window: int = 10
    initial: int = 0
    """Estimate before any answer has arrived."""

    def __post_init__(self) -> None:
        _check_window(self)


@dataclass(frozen=True)
class Percentile:
    """A percentile of the last `window` delays, rounded up."""

    percent: float = 95.0
    window: int = 50
    initial: int = 0

    def __post_init__(self) -> None:
        _check_window(self)
        if not 0 <= self.percent <= 100:
            raise TimingError(f"percentile of the estimated delay is {self.percent}; it must be between 0 and 100")


@dataclass(frozen=True)
class MovingAverage:
    """The mean of the last `window` delays, rounded up."""

    window: int = 10
    initial: int = 0

    def __post_init__(self) -> None:
        _check_window(self)


def _check_window(estimator: MaxOfLast | Percentile | MovingAverage) -> None:
    whole_steps("window of the estimated delay", estimator.window, least=1)
    whole_steps("initial estimated delay", estimator.initial)


Estimator = Oracle | ConstantEstimate | MaxOfLast | Percentile | MovingAverage
"""Source of the estimated delay."""


def estimated_delay(estimator: Estimator, actual: int, arrived: Sequence[int]) -> int:
    """Return the estimated delay [steps].

    Args:
        estimator: The delay estimator.
        actual: The actual delay; only the oracle reads it.
        arrived: Delays of the answers that have arrived in this episode, oldest first.
    """
    match estimator:
        case Oracle():
            return actual
        case ConstantEstimate(steps):
            return steps
        case MaxOfLast(window, initial):
            return max(arrived[-window:], default=initial)
        case Percentile(percent, window, initial):
            return _round_up(float(np.percentile(arrived[-window:], percent))) if arrived else initial
        case MovingAverage(window, initial):
            return _round_up(float(np.mean(arrived[-window:]))) if arrived else initial


def _round_up(steps: float) -> int:
    return math.ceil(steps - 1e-9)  # interpolation between two equal delays may exceed them by a rounding error


def estimated_range(estimator: Estimator, low: int, high: int | None) -> tuple[int, int | None]:
    """Return the smallest and the largest estimate for delays in `low … high` (None: unbounded)."""
    match estimator:
        case Oracle():
            return low, high
        case ConstantEstimate(steps):
            return steps, steps
        case MaxOfLast(initial=initial) | Percentile(initial=initial) | MovingAverage(initial=initial):
            return min(low, initial), None if high is None else max(high, initial)
