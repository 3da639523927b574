"""Which command the arrived chunks give for a step."""

from functools import cache
from typing import NamedTuple

import numpy as np

from act_eval.executors.slot import Chunk, Slot
from act_eval.timing import Ensemble, Method
from act_eval.types import FloatArray

_NOTHING = np.zeros((0, 0), np.float32)


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
    index = step - chunk.question.start
    return Plan(chunk.actions[index], chunk, 1) if 0 <= index < len(chunk.actions) else None


def upcoming(chunks: list[Chunk], method: Method, step: int) -> FloatArray:
    """Return the (n, A) commands that chunks give for a step and those after it, as far as they reach."""
    covering = [chunk for chunk in chunks if chunk.covers(step)]
    if not isinstance(method, Ensemble) or len(covering) < 2:
        return covering[-1].actions[step - covering[-1].question.start :] if covering else _NOTHING
    ahead = [chunk.actions[step - chunk.question.start :] for chunk in covering]
    actions = np.zeros((len(ahead), *ahead[-1].shape), np.float32)
    weights = np.zeros((len(ahead), len(ahead[-1]), 1))
    for oldest, (own, weight) in enumerate(zip(ahead, _weights(method.decay, len(ahead)), strict=True)):
        actions[oldest, : len(own)], weights[oldest, : len(own)] = own, weight
    commands = ((weights * actions).sum(axis=0) / weights.sum(axis=0)).astype(np.float32)
    newest = list(method.newest_only)
    commands[:, newest] = actions[-1][:, newest]
    return commands


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
