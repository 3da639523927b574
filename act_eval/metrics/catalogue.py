"""Every number that an arm is summarised by: its name, unit and meaning, for tables, plots and CSV headers.

docs/metrics.md gives the definitions in full; the functions that compute them carry them in their docstrings.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of an arm."""

    name: str
    """Key in `summary.json` and column in tables."""
    unit: str
    """`steps` are control steps; `1` is a share or a ratio."""
    meaning: str
    """One line."""
    wall_clock: bool = False
    """Whether it differs from run to run, because it depends on how fast the machine is."""


METRICS = (
    Metric("seam_jump_mean", "rad", "largest joint jump of the command that a change of chunk causes, mean over seams"),
    Metric("seam_jump_p95", "rad", "the same, 95th percentile over seams"),
    Metric("gripper_jump_mean", "rad", "jump of the gripper's command that a change of chunk causes, mean over seams"),
    Metric("overlap_rmse_mean", "rad", "disagreement of new and old chunk over the steps of both, mean over seams"),
    Metric("boundary_spike_ratio", "1", "acceleration of the commands within 2 steps of seams over that elsewhere"),
    Metric("jerk_rms", "rad/s^3", "third derivative of the executed arm joints, root mean square"),
    Metric("action_age_p50", "steps", "from the observation behind an action to its execution, median over steps"),
    Metric("action_age_p95", "steps", "the same, 95th percentile over steps"),
    Metric("action_age_max", "steps", "the same, largest"),
    Metric("stall_fraction", "1", "share of time in which no chunk ran or the world stood still"),
    Metric("discarded_fraction", "1", "share of predicted actions that never ran"),
    Metric("reaction_p50", "steps", "from the first sight of an event to the first action informed by it, median"),
    Metric("reaction_p95", "steps", "the same, 95th percentile"),
    Metric("behavioural_reaction_p50", "steps", "from the first sight of an event until the gripper turns, median"),
    Metric("behavioural_reaction_p95", "steps", "the same, 95th percentile"),
    Metric(
        "behavioural_reaction_fraction",
        "1",
        "share of the events after which the gripper turned before it lifted a block",
    ),
    Metric("time_to_success_median", "s", "Kaplan-Meier median of the simulated time to success"),
    Metric("time_to_success_median_low", "s", "lower end of its 95 % interval"),
    Metric("time_to_success_median_high", "s", "upper end of its 95 % interval"),
    Metric("time_to_success_mean", "s", "mean of the simulated time to success or to the horizon, failures at that"),
    Metric("time_to_success_mean_low", "s", "lower end of its 95 % interval"),
    Metric("time_to_success_mean_high", "s", "upper end of its 95 % interval"),
    Metric("successes_per_minute", "1/min", "successes per simulated minute, stopped time included"),
    Metric("real_time_factor", "1", "simulated time over wall time of an episode, median", wall_clock=True),
    Metric("inference_ms_p50", "ms", "time of a prediction, median", wall_clock=True),
    Metric("inference_ms_p95", "ms", "time of a prediction, 95th percentile", wall_clock=True),
    Metric("inference_ms_p99", "ms", "time of a prediction, 99th percentile", wall_clock=True),
)
"""In the order of tables. A value is None where it is not defined: never 0 in the place of nothing."""
