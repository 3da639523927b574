"""Which command the arrived chunks give for a step."""

from functools import cache
from typing import NamedTuple

import numpy as np

from act_eval.executors.slot import Chunk, Slot
from act_eval.timing import Ensemble
from act_eval.types import FloatArray


class Plan(NamedTuple):
    """A command and the newest chunk behind it."""

    command: FloatArray
    """(A,)."""
    chunk: Chunk
    contributions: int
    """Predicted actions that went into the command."""


def planned(slot: Slot, step: int) -> Plan | None:
    """Return the command for a step if no further chunk arrives, or None where no chunk covers it."""
    if isinstance(slot.method, Ensemble):
        return _averaged(slot.installed, step, slot.method)
    if not slot.installed:
        return None
    chunk = slot.installed[-1]
    return Plan(chunk.at(step), chunk, 1) if chunk.covers(step) else None


def _averaged(installed: list[Chunk], step: int, method: Ensemble) -> Plan | None:
    covering = [chunk for chunk in installed if chunk.covers(step)]
    if not covering:
        return None
    actions = np.array([chunk.at(step) for chunk in covering])
    command = (_weights(method.decay, len(covering)) * actions).sum(axis=0).astype(np.float32)
    newest = list(method.newest_only)
    command[newest] = actions[-1, newest]
    return Plan(command, covering[-1], len(covering))


@cache
def _weights(decay: float, count: int) -> np.ndarray:
    """Return (count, 1) weights exp(-m·i) that sum to 1, i = 0 the oldest."""
    weights = np.exp(-decay * np.arange(count))
    return (weights / weights.sum())[:, None]
