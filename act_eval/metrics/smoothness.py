"""Smoothness: jumps and disagreement at chunk switches, acceleration around them, and jerk of the arm.

Legend: `T` control steps taken · `A` action dim · `J` joints · `k` chunk switches. Angles in rad. A chunk switch is the
first step of a new chunk that directly follows a step of another chunk.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act_eval.metrics.family import (
    MeasuredCondition,
    MeasuredEpisode,
    Metric,
    MetricFamily,
    Summary,
    all_rounded,
    columns,
    defined,
    mean,
    percentile,
    rounded,
)
from act_eval.types import Motion

SPIKE_WINDOW = 2
"""Steps on either side of a chunk switch in `boundary_spike_ratio`."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Smoothness(MetricFamily):
    """Chunk switches, and the smoothness of commands and joints."""

    switch_steps: tuple[int, ...]
    """Steps of the chunk switches."""
    switch_jumps: tuple[float | None, ...]
    """See `switch_jumps`, of the arm's joints [rad]; one entry per chunk switch, as the next two."""
    gripper_jumps: tuple[float | None, ...]
    """The same of the gripper [rad]."""
    overlap_rmses: tuple[float | None, ...]
    """See `overlap_rmses`, of the arm's joints [rad]."""
    boundary_spike_ratio: float | None
    """See `boundary_spike_ratio`, of the arm's joints [1]."""
    jerk_rms: float | None
    """See `jerk_rms`, of the arm's joints [rad/s³]."""

    numbers: ClassVar = (
        Metric(
            "switch_jump_mean",
            "rad",
            "largest joint jump of the command at a chunk switch, mean over chunk switches",
        ),
        Metric("switch_jump_p95", "rad", "the same, 95th percentile over chunk switches"),
        Metric("gripper_jump_mean", "rad", "jump of the gripper's command at a chunk switch, mean over chunk switches"),
        Metric(
            "overlap_rmse_mean",
            "rad",
            "disagreement of new and old chunk over their common steps, mean over chunk switches",
        ),
        Metric(
            "boundary_spike_ratio",
            "1",
            "acceleration of the commands within 2 steps of chunk switches over that elsewhere",
        ),
        Metric("jerk_rms", "rad/s^3", "third derivative of the executed arm joints, root mean square"),
    )

    @classmethod
    def of_episode(cls, episode: MeasuredEpisode) -> dict[str, Any]:
        steps, command, joints, gripper = episode.steps, episode.command, episode.arm_columns, episode.gripper
        replaced, motion, none = columns(steps.replaced), episode.motion, (None,) * int(steps.chunk_switch.sum())
        return {
            "switch_steps": tuple(np.flatnonzero(steps.chunk_switch).tolist()),
            "switch_jumps": all_rounded(switch_jumps(command[:, joints], replaced[:, joints], steps.chunk_switch)),
            "gripper_jumps": none
            if gripper is None
            else all_rounded(switch_jumps(command[:, [gripper]], replaced[:, [gripper]], steps.chunk_switch)),
            "overlap_rmses": all_rounded(overlap_rmses(columns(steps.overlap_rmse)[:, joints], steps.chunk_switch)),
            "boundary_spike_ratio": rounded(boundary_spike_ratio(command[:, joints], steps.chunk_switch)),
            "jerk_rms": None
            if motion is None
            else rounded(jerk_rms(motion.joints[:, _arm_joints(motion)], episode.control_s)),
        }

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        metrics = condition.metrics
        jumps = defined(jump for one in metrics for jump in one.switch_jumps)
        return {
            "switch_jump_mean": mean(jumps),
            "switch_jump_p95": percentile(jumps, 0.95),
            "gripper_jump_mean": mean(defined(jump for one in metrics for jump in one.gripper_jumps)),
            "overlap_rmse_mean": mean(defined(rmse for one in metrics for rmse in one.overlap_rmses)),
            "boundary_spike_ratio": mean(defined(one.boundary_spike_ratio for one in metrics)),
            "jerk_rms": mean(defined(one.jerk_rms for one in metrics)),
        }


def _arm_joints(motion: Motion) -> list[int]:
    return [joint for joint in range(motion.joints.shape[1]) if joint != motion.gripper_joint]


def switch_jumps(command_TA: ArrayLike, replaced_TA: ArrayLike, switch_T: ArrayLike) -> list[float | None]:
    """Return the jump of the command at each chunk switch [rad].

    max over joints of |command that runs − command that would have run at the same step without the new chunk|.
    None if the old chunk had ended or the hold action ran.

    Args:
        command_TA: Executed commands.
        replaced_TA: Commands of the previous step's chunks for this step; NaN without one.
        switch_T: Whether a step is a chunk switch.
    """
    chunk_switches = np.asarray(switch_T, bool)
    difference = (
        np.asarray(command_TA, np.float64)[chunk_switches] - np.asarray(replaced_TA, np.float64)[chunk_switches]
    )
    return [_or_none(np.abs(jump).max(initial=0.0)) for jump in difference]


def overlap_rmses(rmse_TA: ArrayLike, switch_T: ArrayLike) -> list[float | None]:
    """Return the disagreement of the new chunk with the old one at each chunk switch [rad].

    sqrt(mean over steps of ‖predicted − old‖²), over the steps from the chunk switch on that both cover, with the
    Euclidean norm over joints. It compares predictions before any merging, so it measures the policy; `switch_jumps`
    measures the executor. None as there.

    Args:
        rmse_TA: The same of each joint alone, see `act_eval.types.ChunkSwitch`; NaN without a replaced command.
        switch_T: Whether a step is a chunk switch.
    """
    at_switches = np.asarray(rmse_TA, np.float64)[np.asarray(switch_T, bool)]
    return [_or_none(np.sqrt(np.sum(rmse**2))) for rmse in at_switches]


def boundary_spike_ratio(command_TA: ArrayLike, switch_T: ArrayLike) -> float | None:
    """Return mean |second difference| of the commands within ±2 steps of chunk switches over the mean elsewhere [1].

    1 means that chunk switches do not differ from the rest. The commands are used instead of the joints, because the
    servos smear a jump over more steps than the window has. |·| is the Euclidean norm over joints, the second
    difference at t is a[t+1] − 2·a[t] + a[t−1]. None without a chunk switch, without a step elsewhere, or if the
    commands elsewhere do not accelerate at all.

    Args:
        command_TA: Executed commands without the gripper, whose closing is a spike of its own.
        switch_T: Whether a step is a chunk switch.
    """
    command, chunk_switches = np.asarray(command_TA, np.float64), np.flatnonzero(np.asarray(switch_T, bool))
    if len(command) < 3 or not len(chunk_switches):
        return None
    size = np.sqrt(np.sum(np.diff(command, 2, axis=0) ** 2, axis=1))
    steps = np.arange(1, len(command) - 1)
    near = (np.abs(steps[:, None] - chunk_switches) <= SPIKE_WINDOW).any(axis=1)
    if near.all() or not near.any():
        return None
    elsewhere = float(size[~near].mean())
    return _or_none(float(size[near].mean()) / elsewhere) if elsewhere > 0 else None


def jerk_rms(joints_TJ: ArrayLike, control_s: float) -> float | None:
    """Return the root mean square over steps and joints of the third difference of positions / Δt³ [rad/s³].

    None for fewer than four or non-finite positions.

    Args:
        joints_TJ: Joint positions, one row per control step [rad].
        control_s: Δt [s].
    """
    joints = np.asarray(joints_TJ, np.float64)
    if len(joints) < 4 or not np.isfinite(joints).all():
        return None
    return float(np.sqrt(np.mean(np.diff(joints, 3, axis=0) ** 2))) / control_s**3


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
