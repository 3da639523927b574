"""What the benchmarks share: contestants that take turns, and a request of equal rows."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from act_eval.types import ChunkRequest, FloatArray, Observation

Clock = Callable[[], float]


def in_turn(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, clock: Clock = time.process_time, warm_up: int = 1
) -> dict[str, Any]:
    """Return the seconds that each contestant took, (rounds,), one round of each after the other.

    Args:
        contestants: Name → call. A call may return by how much to divide its time, as its number of steps.
        rounds: Timed rounds.
        clock: What is read: processor time or wall-clock time.
        warm_up: Rounds before that.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(warm_up + rounds):
        for name, call in contestants.items():
            began = clock()
            count = call()
            times[name].append((clock() - began) / (count if isinstance(count, int) else 1))
    return {name: np.array(values[warm_up:]) for name, values in times.items()}


def request_of(observation: Observation, state: FloatArray) -> ChunkRequest:
    """Return a request without prefix in step 0 of each row, whose last action is its state (rows, A)."""
    rows = np.arange(len(state))
    zero = np.zeros_like(rows)
    return ChunkRequest(
        rows=rows,
        steps=zero,
        observation=observation,
        estimated_delay=zero,
        prefix=np.zeros((len(rows), 0, state.shape[1]), np.float32),
        last_action=state,
    )
