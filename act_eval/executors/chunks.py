"""The commands of an episode's chunks, and their change at a chunk switch."""

from typing import NamedTuple

import numpy as np

from act_eval.executors.slot import Slot
from act_eval.types import Chunk, ChunkSwitch, FloatArray


class ChunkAction(NamedTuple):
    """A command and the newest chunk behind it."""

    command: FloatArray
    """(A,)."""
    chunk: Chunk
    contributions: int
    """Predicted actions that went into the command."""


def action_at(slot: Slot, step: int) -> ChunkAction | None:
    """Return the command of the installed chunks for a step, or None if no chunk covers it."""
    covering = slot.installed
    if not (len(covering) == 1 and covering[0].covers(step)):  # the usual case needs no list
        covering = [chunk for chunk in covering if chunk.covers(step)]
        if not covering:
            return None
    return ChunkAction(slot.method.action_at(covering, step), covering[-1], len(covering))


def switch_change(slot: Slot, chunk: Chunk, step: int) -> ChunkSwitch | None:
    """Return the change at a slot's chunk switch, or None if the chunks of the step before do not reach it.

    Both fields refer to the chunks behind the command of the step before. A hold action has none, so the result is None
    after an underrun and under `sync_hold` with a delay.
    """
    old = slot.method.actions_from([chunk for chunk in slot.ran if chunk.covers(step)], step)
    if not len(old):
        return None
    new = chunk.predicted[step - chunk.request.start :]
    both = min(len(old), len(new))
    squared = (new[:both] - old[:both]) ** 2
    return ChunkSwitch(replaced=old[0], overlap_rmse=np.sqrt(squared.sum(axis=0) / np.float32(both)))
