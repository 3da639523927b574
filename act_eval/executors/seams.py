"""What a new chunk changes at the step from which it runs."""

import numpy as np

from act_eval.executors.plans import upcoming
from act_eval.executors.slot import Chunk, Slot
from act_eval.types import Takeover


def takeover(slot: Slot, chunk: Chunk, step: int) -> Takeover | None:
    """Return what a slot's seam at a step changes, or None where the chunks of the step before end before it.

    Both for the chunks behind the command of the step before: after a hold action there are none, so that nothing
    is said of `sync` ticking with a delay, nor after starvation.
    """
    old = upcoming(slot.ran, slot.method, step)
    if not len(old):
        return None
    new = chunk.predicted[step - chunk.question.start :]
    both = min(len(old), len(new))
    squared = (new[:both] - old[:both]) ** 2
    return Takeover(replaced=old[0], overlap_rmse=np.sqrt(squared.sum(axis=0) / np.float32(both)))
