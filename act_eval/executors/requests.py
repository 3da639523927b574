"""The questions of several slots as one batched request.

Legend: `N` slots that ask · `P` prefix slots · `A` action dim.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from act_eval.executors.shown import Sight
from act_eval.executors.slot import Asked, Slot
from act_eval.types import ChunkRequest, FloatArray, Observation, PolicySpec


def last_action_of(slot: Slot, asked: Asked, agent_pos: FloatArray, action_dim: int) -> FloatArray:
    """Return the (A,) command before a request's observation: the joints at step 0, NaN where they are no command."""
    if asked.step > 0:
        return slot.commands[asked.step - 1]
    # NaN survives no policy that would read it.
    return agent_pos if agent_pos.shape == (action_dim,) else np.full(action_dim, np.nan, np.float32)


def batched(
    slots: Sequence[Slot], asked: Sequence[Asked], sights: Sequence[Sight], seen: Observation, spec: PolicySpec
) -> ChunkRequest:
    """Return one request.

    Args:
        slots: N of them.
        asked: What each asks.
        sights: What each shows of it.
        seen: N rows.
        spec: The policy's.
    """
    prefix = np.zeros((len(slots), spec.max_delay, spec.action_dim), np.float32)
    for n, sight in enumerate(sights):
        if sight.told:
            prefix[n, : sight.told] = sight.prefix
    return ChunkRequest(
        rows=np.array([slot.row for slot in slots], np.int64),
        steps=np.array([one.step for one in asked], np.int64),
        observation=replace(seen, agent_pos=np.array([sight.joints for sight in sights], np.float32)),
        told_delay=np.array([sight.told for sight in sights], np.int64),
        prefix=prefix,
        prefix_known=np.array([sight.known for sight in sights], np.int64),
        last_action=np.array([sight.last_action for sight in sights], np.float32),
    )
