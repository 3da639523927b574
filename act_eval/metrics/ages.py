"""How old actions are, how long the arm waits for one, and how many are thrown away. All counts in control steps."""

import numpy as np
from numpy.typing import ArrayLike


def action_age_counts(observed_T: ArrayLike, actuation_delay: int = 0) -> list[int]:
    """Return how many executed actions were 0, 1, 2, … steps old.

    The age of an action is the step at which it reaches the arm less the step of the observation that it was
    predicted from (for averaged chunks: of the newest of them). Steps in which the hold action runs have none.

    Args:
        observed_T: Step of the observation behind each step's command, -1 where the hold action runs.
        actuation_delay: Steps by which commands reach the arm late.
    """
    observed = np.asarray(observed_T, np.int64)
    steps = np.flatnonzero(observed >= 0)
    return np.bincount(steps - observed[steps] + actuation_delay).tolist() if len(steps) else []


def stall_fraction(steps: int, starved_steps: int, stopped_steps: int) -> float | None:
    """Return (starved + stopped) / (steps + stopped): the share of time in which no chunk ran or the world stood [1].

    None for an episode without any time.
    """
    time = steps + stopped_steps
    return (starved_steps + stopped_steps) / time if time else None


def discarded_fraction(predicted: int, discarded: int) -> float | None:
    """Return the share of predicted actions that never ran [1]; None where nothing was predicted."""
    return discarded / predicted if predicted else None
