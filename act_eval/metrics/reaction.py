"""Reaction time of a policy to an event in the scene.

An event of step e (a nudge, an exchange of roles) happens during the simulation of step e, so the observation of step
e + 1 is the first to contain it. Reactions count from there: 0 is the fastest.
Legend: `T` control steps taken.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from act_eval.metrics.family import (
    MeasuredCondition,
    MeasuredEpisode,
    Metric,
    MetricFamily,
    Summary,
    defined,
    percentile,
)

TURN = 0.01
"""The gripper has turned once it is nearer to the new position, relative to the old one, by this much [m]."""

_TREMBLE = 0.001  # smaller changes of distance do not count [m]


@dataclass(frozen=True, kw_only=True)
class Reactions(MetricFamily):
    """Reactions to an event in the scene; no reaction counts as infinitely late."""

    reaction_steps: int | None
    """See `informed_reaction` [steps]; None also without an event."""
    behavioural_reaction_steps: int | None
    """See `behavioural_reaction` [steps]; None also without an event."""

    numbers: ClassVar = (
        Metric(
            "reaction_p50", "steps", "from the first observation of an event to the first action based on it, median"
        ),
        Metric("reaction_p95", "steps", "the same, 95th percentile"),
        Metric(
            "behavioural_reaction_p50",
            "steps",
            "from the first observation of an event until the gripper turns, median",
        ),
        Metric("behavioural_reaction_p95", "steps", "the same, 95th percentile"),
        Metric(
            "behavioural_reaction_fraction",
            "1",
            "share of the events after which the gripper turned before it lifted a block",
        ),
    )

    @classmethod
    def of_episode(cls, episode: MeasuredEpisode) -> dict[str, Any]:
        detail, motion = episode.record.detail, episode.motion
        event, old, new = (detail.get(key) for key in ("event_step", "event_from_xy", "event_to_xy"))
        informed = turned = None
        if event is not None:
            informed = informed_reaction(episode.steps.observed, event, episode.actuation_delay)
        if motion is not None and event is not None and old is not None and new is not None:
            path = motion.gripper_xyz[:, :2]
            turned = behavioural_reaction(path, event, old, new, informed, detail.get("lift_step"))
        return {"reaction_steps": informed, "behavioural_reaction_steps": turned}

    @classmethod
    def of_condition(cls, condition: MeasuredCondition) -> Summary:
        pairs = list(zip(condition.records, condition.metrics, strict=True))
        informed = [m.reaction_steps for r, m in pairs if r.detail.get("event_step") is not None]
        turned = [m.behavioural_reaction_steps for r, m in pairs if r.detail.get("event_to_xy") is not None]
        return {
            "reaction_p50": percentile(informed, 0.50),
            "reaction_p95": percentile(informed, 0.95),
            "behavioural_reaction_p50": percentile(turned, 0.50),
            "behavioural_reaction_p95": percentile(turned, 0.95),
            "behavioural_reaction_fraction": len(defined(turned)) / len(turned) if turned else None,
        }


def informed_reaction(observed_T: ArrayLike, event_step: int, actuation_delay: int = 0) -> int | None:
    """Return the steps from the first observation of an event to the first action predicted from it or a later one.

    Without observation delay a request with delay d, sent i steps after the first observation, reacts after i + d.

    Args:
        observed_T: Step of the observation behind each step's command, -1 under the hold action.
        event_step: e.
        actuation_delay: a [steps].

    Returns:
        None if no such action ran.
    """
    observed = np.asarray(observed_T, np.int64)
    informed = np.flatnonzero(observed > event_step)
    if not len(informed) or informed[0] + actuation_delay >= len(observed):
        return None
    return int(informed[0]) + actuation_delay - (event_step + 1)


def behavioural_reaction(
    gripper_xy: ArrayLike,
    event_step: int,
    old_xy: ArrayLike,
    new_xy: ArrayLike,
    informed: int | None,
    lift_step: int | None = None,
) -> int | None:
    """Return the steps from the first observation of an event until the gripper turns to the target's new position.

    Let lead(t) = |p(t) − old| − |p(t) − new|, seen from above: it falls while the gripper approaches the old
    position more than the new one, and rises in the other case. The gripper turns at the last step with lead within
    1 mm of its minimum before lead first rises by `TURN` above it. On a straight path to the old position lead never
    rises, so a reach that ignores the event has no reaction. Motion before the first informed action is chance, and
    motion with a block in the jaws is transport: neither counts.

    Args:
        gripper_xy: (T + 1, 2) gripper in the states of the episode, the state after the last step included [m].
        event_step: e.
        old_xy: (2,) position of the target before the event [m].
        new_xy: (2,) its position after the event [m].
        informed: `informed_reaction` of the same event.
        lift_step: First state with a lifted block; None if there is none.

    Returns:
        None if the gripper does not turn, no informed action ran, the target moved by less than `TURN`, or a block was
        lifted before.
    """
    old, new = np.asarray(old_xy, np.float64), np.asarray(new_xy, np.float64)
    if informed is None or _distance(old, new) < TURN:
        return None
    first = event_step + 1 + informed
    path = np.asarray(gripper_xy, np.float64)[first : None if lift_step is None else lift_step + 1]
    if not len(path) or not np.isfinite(path).all():
        return None
    lead = _distance(path, old) - _distance(path, new)
    lowest = np.minimum.accumulate(lead)
    risen = np.flatnonzero(lead - lowest >= TURN)
    if not len(risen):
        return None
    return informed + int(np.flatnonzero(lead[: risen[0]] <= lowest[risen[0]] + _TREMBLE)[-1])


def _distance(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum((points - place) ** 2, axis=-1))
