"""The metrics of an arm: what its episodes come to together."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from act_eval.metrics.episode import EpisodeMetrics
from act_eval.metrics.quantiles import percentile, percentile_of_counts
from act_eval.metrics.survival import KaplanMeier
from act_eval.types import INVALID, SUCCESS, EpisodeRecord, Timing

Summary = Mapping[str, float | None]
"""Name of a metric in `catalogue.METRICS` → value, in that order; None where it is not defined."""

_MINUTE_S = 60.0


def summary(
    records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics], timings: Sequence[Timing], horizon: int
) -> Summary:
    """Return the metrics of an arm.

    Args:
        records: Of its episodes.
        metrics: Of the same episodes in the same order.
        timings: Of the same episodes in the same order.
        horizon: Control steps after which an episode is cut off.
    """
    kept = [i for i, record in enumerate(records) if record.outcome != INVALID]
    valid, measured = [records[i] for i in kept], [metrics[i] for i in kept]
    return {
        **_smoothness(measured),
        **_time_use(valid, measured),
        **_reactions(valid, measured),
        **_times_to_success(measured, horizon),
        "successes_per_minute": successes_per_minute(valid, measured),
        **_clock(valid, measured, [timings[i] for i in kept]),
    }


def successes_per_minute(records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics]) -> float | None:
    """Return successes over simulated minutes, those of failures and of a stopped world included [1/min].

    None where no time has passed.
    """
    minutes = sum(_simulated_s(r, m) for r, m in zip(records, metrics, strict=True)) / _MINUTE_S
    return sum(record.outcome == SUCCESS for record in records) / minutes if minutes else None


def real_time_factors(
    records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics], timings: Sequence[Timing]
) -> list[float]:
    """Return for each episode its simulated time over the wall time from its reset to its end [1].

    Episodes that ran beside it in the same process are inside that wall time: n of them at a time give n times the
    throughput.
    """
    together = zip(records, metrics, timings, strict=True)
    return [_simulated_s(r, m) / t.wall_s for r, m, t in together if t.wall_s > 0]


def survival(metrics: Sequence[EpisodeMetrics], horizon_s: float) -> KaplanMeier:
    """Return the curve of the simulated time to success.

    A failure of whatever kind never becomes a success: it is watched to the horizon, where it is censored. So is a
    success that needed longer than the horizon because the world stood still in between.
    """
    times = [one.time_to_success_s for one in metrics]
    reached = [time is not None and time <= horizon_s + 1e-9 for time in times]
    return KaplanMeier.fit(
        [time if ok and time is not None else horizon_s for time, ok in zip(times, reached, strict=True)], reached
    )


def _smoothness(metrics: Sequence[EpisodeMetrics]) -> Summary:
    jumps = _defined(jump for one in metrics for jump in one.seam_jumps)
    return {
        "seam_jump_mean": _mean(jumps),
        "seam_jump_p95": percentile(jumps, 0.95),
        "gripper_jump_mean": _mean(_defined(jump for one in metrics for jump in one.gripper_jumps)),
        "overlap_rmse_mean": _mean(_defined(rmse for one in metrics for rmse in one.overlap_rmses)),
        "boundary_spike_ratio": _mean(_defined(one.boundary_spike_ratio for one in metrics)),
        "jerk_rms": _mean(_defined(one.jerk_rms for one in metrics)),
    }


def _time_use(records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics]) -> Summary:
    ages = _added(one.action_age_counts for one in metrics)
    stalled = sum(record.starved_steps + record.stopped_steps for record in records)
    time = sum(record.steps + record.stopped_steps for record in records)
    predicted = sum(record.detail.get("predicted_actions", 0) for record in records)
    discarded = sum(record.detail.get("discarded_actions", 0) for record in records)
    return {
        "action_age_p50": percentile_of_counts(ages, 0.50),
        "action_age_p95": percentile_of_counts(ages, 0.95),
        "action_age_max": len(ages) - 1 if ages else None,
        "stall_fraction": stalled / time if time else None,
        "discarded_fraction": discarded / predicted if predicted else None,
    }


def _reactions(records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics]) -> Summary:
    """Percentiles over the episodes with an event; not to react counts as infinitely late."""
    pairs = list(zip(records, metrics, strict=True))
    informed = [m.reaction_steps for r, m in pairs if r.detail.get("event_step") is not None]
    turned = [m.behavioural_reaction_steps for r, m in pairs if r.detail.get("event_to_xy") is not None]
    return {
        "reaction_p50": percentile(informed, 0.50),
        "reaction_p95": percentile(informed, 0.95),
        "behavioural_reaction_p50": percentile(turned, 0.50),
        "behavioural_reaction_p95": percentile(turned, 0.95),
        "behavioural_reaction_fraction": len(_defined(turned)) / len(turned) if turned else None,
    }


def _times_to_success(metrics: Sequence[EpisodeMetrics], horizon: int) -> Summary:
    names = ("median", "median_low", "median_high", "mean", "mean_low", "mean_high")
    values: tuple[float | None, ...] = (None,) * len(names)
    if metrics:
        horizon_s = horizon * metrics[0].control_s
        curve = survival(metrics, horizon_s)
        mean, interval = curve.restricted_mean(horizon_s)
        values = (curve.median, *curve.median_interval(), mean, *interval)
    return {f"time_to_success_{name}": value for name, value in zip(names, values, strict=True)}


def _clock(records: Sequence[EpisodeRecord], metrics: Sequence[EpisodeMetrics], timings: Sequence[Timing]) -> Summary:
    spent = [ms for timing in timings for ms in timing.inference_ms]
    return {
        "real_time_factor": percentile(real_time_factors(records, metrics, timings), 0.50),
        "inference_ms_p50": percentile(spent, 0.50),
        "inference_ms_p95": percentile(spent, 0.95),
        "inference_ms_p99": percentile(spent, 0.99),
    }


def _added(counts: Iterable[Sequence[int]]) -> list[int]:
    """Add up counts of 0, 1, 2, … that may be of different lengths."""
    return [sum(column) for column in zip_longest(*counts, fillvalue=0)]


def _simulated_s(record: EpisodeRecord, metrics: EpisodeMetrics) -> float:
    return (record.steps + record.stopped_steps) * metrics.control_s


def _defined(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
