"""How long a policy takes to react to something that happens in its world.

An event of step e (a nudge, an exchange of roles) happens while step e is simulated, so that the observation of step
e + 1 is the first to show it. Reactions are counted from there: 0 is the fastest possible one.
Legend: `T` control steps taken.
"""

import numpy as np
from numpy.typing import ArrayLike

TURN = 0.01
"""The gripper has turned once it has come nearer to the new place, against the old one, by this much [m]."""


def informed_reaction(observed_T: ArrayLike, event_step: int, actuation_delay: int = 0) -> int | None:
    """Return the steps from the first observation of an event to the first action predicted from it or a later one.

    Without observation delay a request of delay d that goes out i steps after the first sight reacts after i + d.

    Args:
        observed_T: Step of the observation behind each step's command, -1 where the hold action runs.
        event_step: e.
        actuation_delay: Steps by which commands reach the arm late.

    Returns:
        None where no such action ran before the episode ended.
    """
    observed = np.asarray(observed_T, np.int64)
    informed = np.flatnonzero(observed > event_step)
    if not len(informed) or informed[0] + actuation_delay >= len(observed):
        return None
    return int(informed[0]) + actuation_delay - (event_step + 1)


def behavioural_reaction(
    gripper_xy: ArrayLike, event_step: int, old_xy: ArrayLike, new_xy: ArrayLike, closing_step: int | None = None
) -> int | None:
    """Return the steps from the first sight of an event until the gripper turns towards the target's new place.

    Let lead(t) = |p(t) − old| − |p(t) − new|, seen from above: it falls while the gripper moves more towards the old
    place and rises while it moves more towards the new one. The gripper turns at the last minimum of lead before
    it has first risen `TURN` above its lowest value since the first sight. A straight way to the old place never makes
    lead rise, so a reach that ignores the event has no reaction.

    Args:
        gripper_xy: (T + 1, 2) gripper in the states of the episode, the state after the last step included [m].
        event_step: e.
        old_xy: (2,) where the target was before [m].
        new_xy: (2,) where it is after [m].
        closing_step: State in which the gripper closed on something; what it does afterwards is carrying, no
            reaction. None if it never closed.

    Returns:
        None where it does not turn, where the target's place did not change by `TURN` or more, or where the gripper
        had closed by the first sight.
    """
    old, new = np.asarray(old_xy, np.float64), np.asarray(new_xy, np.float64)
    first = event_step + 1
    path = np.asarray(gripper_xy, np.float64)[first : None if closing_step is None else closing_step + 1]
    if not len(path) or not np.isfinite(path).all() or _distance(old, new) < TURN:
        return None
    lead = _distance(path, old) - _distance(path, new)
    lowest = np.minimum.accumulate(lead)
    risen = np.flatnonzero(lead - lowest >= TURN)
    if not len(risen):
        return None
    return int(np.flatnonzero(lead[: risen[0]] == lowest[risen[0]])[-1])


def _distance(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum((points - place) ** 2, axis=-1))
