"""Wall-clock metrics, which differ from run to run."""

from dataclasses import dataclass
from typing import ClassVar

from act_eval.metrics.family import MeasuredCondition, Metric, MetricFamily, Summary
from act_eval.metrics.quantiles import percentile


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
