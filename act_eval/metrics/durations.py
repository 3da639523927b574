"""Time to success, the throughput of successes, and wall-clock metrics, which differ from run to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from act_eval.metrics.family import (
    MeasuredCondition,
    MeasuredEpisode,
    Metric,
    MetricFamily,
    Summary,
    percentile,
    rounded,
)
from act_eval.metrics.survival import KaplanMeier
from act_eval.types import SUCCESS

_MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Success(MetricFamily):
    """Simulated time to success."""

    time_to_success_s: float | None
    """Simulated time to success, stopped time included [s]; None for every other outcome."""

    numbers: ClassVar = (
        Metric("time_to_success_median", "s", "Kaplan-Meier median of the simulated time to success"),
        Metric("time_to_success_median_low", "s", "lower end of its 95 % interval"),
        Metric("time_to_success_median_high", "s", "upper end of its 95 % interval"),
        Metric("time_to_success_mean", "s", "mean of the simulated time to success, failures at the horizon"),
        Metric("time_to_success_mean_low", "s", "lower end of its 95 % interval"),
        Metric("time_to_success_mean_high", "s", "upper end of its 95 % interval"),
        Metric("successes_per_minute", "1/min", "successes per simulated minute, stopped time included"),
    )

    @classmethod
    def of_episode(cls, episode: MeasuredEpisode) -> dict[str, Any]:
        reached = episode.record.outcome == SUCCESS
        return {"time_to_success_s": rounded(episode.simulated_s) if reached else None}

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        minutes = sum(condition.simulated_s()) / _MINUTE_S
        successes = sum(record.outcome == SUCCESS for record in condition.records)
        return {
            **_times_to_success(condition),
            "successes_per_minute": successes / minutes if minutes else None,
        }


def survival(times_s: Sequence[float | None], horizon_s: float) -> KaplanMeier:
    """Return the curve of the simulated time to success.

    A failure never becomes a success and is censored at the horizon, and so is a success that took longer than the
    horizon because of stopped time.
    """
    reached = [time is not None and time <= horizon_s + 1e-9 for time in times_s]
    return KaplanMeier.fit(
        [time if ok and time is not None else horizon_s for time, ok in zip(times_s, reached, strict=True)], reached
    )


def _times_to_success(condition: MeasuredCondition) -> Summary:
    names = ("median", "median_low", "median_high", "mean", "mean_low", "mean_high")
    values: tuple[float | None, ...] = (None,) * len(names)
    if condition.metrics:
        horizon_s = condition.horizon * condition.metrics[0].control_s
        curve = survival([one.time_to_success_s for one in condition.metrics], horizon_s)
        mean, interval = curve.restricted_mean(horizon_s)
        values = (curve.median, *curve.median_interval(), mean, *interval)
    return {f"time_to_success_{name}": value for name, value in zip(names, values, strict=True)}


@dataclass(frozen=True, kw_only=True)
class WallClock(MetricFamily):
    """Speed of the simulation and of predictions; its values are those of `timings.jsonl`."""

    numbers: ClassVar = (
        Metric("real_time_factor", "1", "simulated time over wall time of an episode, median", wall_clock=True),
        Metric("inference_ms_p50", "ms", "time of a prediction, median", wall_clock=True),
        Metric("inference_ms_p95", "ms", "time of a prediction, 95th percentile", wall_clock=True),
        Metric("inference_ms_p99", "ms", "time of a prediction, 99th percentile", wall_clock=True),
    )

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        """Return real-time factor and inference times.

        The real-time factor of an episode is its simulated time over the wall time from reset to end. That wall time
        includes interleaved episodes of the process: n of them give n times the throughput.
        """
        timed = zip(condition.simulated_s(), condition.timings, strict=True)
        spent = [ms for timing in condition.timings for ms in timing.inference_ms]
        return {
            "real_time_factor": percentile([s / timing.wall_s for s, timing in timed if timing.wall_s > 0], 0.50),
            "inference_ms_p50": percentile(spent, 0.50),
            "inference_ms_p95": percentile(spent, 0.95),
            "inference_ms_p99": percentile(spent, 0.99),
        }
