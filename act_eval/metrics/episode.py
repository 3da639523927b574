"""The metrics of one episode: `ARM/metrics.jsonl` holds one of these a line. Nothing here depends on the clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from act_eval.metrics.ages import action_age_counts, discarded_fraction, stall_fraction
from act_eval.metrics.quantiles import percentile_of_counts
from act_eval.metrics.reaction import behavioural_reaction, informed_reaction
from act_eval.metrics.smoothness import boundary_spike_ratio, jerk_rms, overlap_rmses, seam_jumps
from act_eval.types import SUCCESS, EpisodeRecord, Motion
from act_eval.types.steps import EpisodeSteps


@dataclass(frozen=True, kw_only=True)
class EpisodeMetrics:
    """What is measured of one episode; None where a number is not defined, never 0."""

    episode: int
    control_s: float
    """Δt [s]."""
    time_to_success_s: float | None
    """Simulated time until the episode ended as a success, stopped time included [s]; None for every other end."""
    seam_steps: tuple[int, ...]
    """Steps at which another chunk takes over."""
    seam_jumps: tuple[float | None, ...]
    """See `smoothness.seam_jumps`, of the arm's joints [rad]; one entry per seam, as the next two."""
    gripper_jumps: tuple[float | None, ...]
    """The same of the gripper [rad]."""
    overlap_rmses: tuple[float | None, ...]
    """See `smoothness.overlap_rmses`, of the arm's joints [rad]."""
    boundary_spike_ratio: float | None
    """See `smoothness.boundary_spike_ratio`, of the arm's joints [1]."""
    jerk_rms: float | None
    """See `smoothness.jerk_rms`, of the arm's joints [rad/s³]."""
    action_age_counts: tuple[int, ...]
    """Executed actions that were 0, 1, 2, … steps old."""
    action_age_p50: int | None
    action_age_p95: int | None
    action_age_max: int | None
    stall_fraction: float | None
    """See `ages.stall_fraction` [1]."""
    discarded_fraction: float | None
    """See `ages.discarded_fraction` [1]."""
    reaction_steps: int | None
    """See `reaction.informed_reaction` [steps]; None also without an event."""
    behavioural_reaction_steps: int | None
    """See `reaction.behavioural_reaction` [steps]; None also without an event."""


def measure(
    record: EpisodeRecord,
    steps: EpisodeSteps,
    control_s: float,
    motion: Motion | None = None,
    actuation_delay: int = 0,
) -> EpisodeMetrics:
    """Return an episode's metrics.

    Args:
        record: What the episode came to.
        steps: Its steps.
        control_s: Δt [s].
        motion: How the arm moved through the states; None where the environment does not say.
        actuation_delay: Steps by which commands reached the arm late.
    """
    gripper = motion.gripper_joint if motion is not None and steps.steps else None  # no step, no columns
    command, replaced = _columns(steps.command), _columns(steps.replaced)
    arm = [column for column in range(command.shape[1]) if column != gripper]
    ages = action_age_counts(steps.observed, actuation_delay)
    simulated_s = (record.steps + record.stopped_steps) * control_s
    return EpisodeMetrics(
        episode=record.episode,
        control_s=control_s,
        time_to_success_s=_rounded(simulated_s) if record.outcome == SUCCESS else None,
        seam_steps=tuple(np.flatnonzero(steps.seam).tolist()),
        seam_jumps=_all_rounded(seam_jumps(command[:, arm], replaced[:, arm], steps.seam)),
        gripper_jumps=(None,) * int(steps.seam.sum())
        if gripper is None
        else _all_rounded(seam_jumps(command[:, [gripper]], replaced[:, [gripper]], steps.seam)),
        overlap_rmses=_all_rounded(overlap_rmses(_columns(steps.overlap_rmse)[:, arm], steps.seam)),
        boundary_spike_ratio=_rounded(boundary_spike_ratio(command[:, arm], steps.seam)),
        jerk_rms=None if motion is None else _rounded(jerk_rms(motion.joints[:, _joints(motion)], control_s)),
        action_age_counts=tuple(ages),
        action_age_p50=percentile_of_counts(ages, 0.50),
        action_age_p95=percentile_of_counts(ages, 0.95),
        action_age_max=len(ages) - 1 if ages else None,
        stall_fraction=_rounded(stall_fraction(record.steps, record.starved_steps, record.stopped_steps)),
        discarded_fraction=_rounded(_discarded(record.detail)),
        **_reactions(record.detail, steps, motion, actuation_delay),
    )


def _columns(values: np.ndarray) -> np.ndarray:
    """Return commands as (T, A), also those of an episode without a step."""
    return values if values.ndim == 2 else values.reshape(len(values), -1 if len(values) else 0)


def _joints(motion: Motion) -> list[int]:
    return [joint for joint in range(motion.joints.shape[1]) if joint != motion.gripper_joint]


def _discarded(detail: Mapping[str, Any]) -> float | None:
    return discarded_fraction(detail.get("predicted_actions", 0), detail.get("discarded_actions", 0))


def _reactions(
    detail: Mapping[str, Any], steps: EpisodeSteps, motion: Motion | None, actuation_delay: int
) -> dict[str, int | None]:
    event, old, new = (detail.get(key) for key in ("event_step", "event_from_xy", "event_to_xy"))
    informed = None if event is None else informed_reaction(steps.observed, event, actuation_delay)
    turned = None
    if motion is not None and event is not None and old is not None and new is not None:
        path = motion.gripper_xyz[:, :2]
        turned = behavioural_reaction(path, event, old, new, informed, detail.get("lift_step"))
    return {"reaction_steps": informed, "behavioural_reaction_steps": turned}


def _rounded(value: float | None) -> float | None:
    """Return a number with six digits: more are noise, and less of it differs between processors."""
    return None if value is None else float(f"{value:.6g}")


def _all_rounded(values: list[float | None]) -> tuple[float | None, ...]:
    return tuple(_rounded(value) for value in values)
