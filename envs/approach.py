"""How the gripper approached its grasp: steps without progress, and changes of direction between two blocks."""

import numpy as np
from numpy.typing import NDArray

NEARER = 0.001
"""A step that brings the gripper this much nearer to the grasp position is progress [m] (2 cm/s)."""
SWING = 0.01
"""Motion along the axis target → confuser must go back this far to count as a reversal [m]."""


def hesitation(pinch_pos: NDArray[np.float64], grasp_step: int) -> int:
    """Return the control steps before the grasp in which the gripper came no nearer to the grasp position.

    Pauses, retreats and their recovery count; a straight approach at any speed above 2 cm/s does not.

    Args:
        pinch_pos: (T + 1, 3) point between the jaws, entry 0 after reset [m].
        grasp_step: state of the grasp.
    """
    distance = np.linalg.norm(pinch_pos[: grasp_step + 1] - pinch_pos[grasp_step], axis=1)
    nearest = np.minimum.accumulate(distance)
    return int(np.sum(nearest[:-1] - distance[1:] < NEARER))


def reversals(pinch_xy: NDArray[np.float64], target_xy: NDArray[np.float64], confuser_xy: NDArray[np.float64]) -> int:
    """Return how often the gripper reversed along the axis target → confuser, each time by at least `SWING`.

    Args:
        pinch_xy: (T + 1, 2) point between the jaws from reset to the grasp [m].
        target_xy: (2,) centre of the target [m].
        confuser_xy: (2,) centre of the confuser [m].
    """
    axis = confuser_xy - target_xy
    along = np.sum((pinch_xy - target_xy) * axis, axis=1) / np.sqrt(np.sum(axis * axis))
    turns, direction = 0, 0
    low = high = along[0]
    for value in along[1:]:
        low, high = min(low, value), max(high, value)
        gone = 1 if value - low >= SWING else -1 if high - value >= SWING else 0
        if gone and gone != direction:
            turns += direction != 0
            direction = gone
        if gone:
            low = high = value
    return turns
