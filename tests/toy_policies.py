"""Policies whose actions say where they come from, for tests of time."""

from collections.abc import Callable, Sequence

import numpy as np

from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import Schedule
from act_eval.types import ActionChunks, Actions, ChunkRequest, Observation, PolicySpec, Window

HOLD = -1.0
"""What `run` shows where the hold action ran."""


class ToyPolicy:
    """Answers with `chunk(request, n) -> (C,)` numbers for row n; keeps every request that it saw."""

    def __init__(self, length: int, *, window: Window = "same", max_delay: int | None = None) -> None:
        self.spec = PolicySpec(
            chunk=length,
            action_dim=1,
            window=window,
            takes_prefix=max_delay is not None,
            max_delay=max_delay or 0,
            inputs={},
        )
        self.requests: list[ChunkRequest] = []

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        raise NotImplementedError

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.requests.append(request)
        actions = np.array([self.chunk(request, n) for n in range(len(request.rows))], np.float32)
        return ActionChunks(actions[:, :, None])


class Tagged(ToyPolicy):
    """Action i of an episode's chunk k is 100·k + i."""

    def __init__(self, length: int, *, window: Window = "same", max_delay: int | None = None) -> None:
        super().__init__(length, window=window, max_delay=max_delay)
        self._chunks: dict[int, int] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._chunks.update(dict.fromkeys(rows, 0))

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        row = int(request.rows[n])
        self._chunks[row] += 1
        return 100 * (self._chunks[row] - 1) + np.arange(self.spec.chunk)


class Ramp(ToyPolicy):
    """Knows the future: the action for step t is t, by the policy's own window. Checks the prefix that it is given."""

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        t, d = int(request.steps[n]), int(request.estimated_delay[n])
        np.testing.assert_array_equal(request.prefix[n, :d, 0], t + np.arange(d))
        np.testing.assert_array_equal(request.prefix[n, d:], 0)
        return (t + d if self.spec.window == "shifted" else t) + np.arange(self.spec.chunk)


class Noise(ToyPolicy):
    """Random numbers from (step, estimated delay), with some of them exactly zero."""

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        rng = np.random.default_rng((int(request.steps[n]), int(request.estimated_delay[n])))
        numbers = rng.standard_normal(self.spec.chunk)
        return np.where(rng.random(self.spec.chunk) < 0.3, 0.0, numbers)


def blank(slots: int) -> Observation:
    return Observation(pixels={}, agent_pos=np.zeros((slots, 1), np.float32), environment_state=None)


def traced(
    policy: ToyPolicy, schedule: Schedule, steps: int, seed: int = 0, before: Callable[[], None] = lambda: None
) -> tuple[list[Actions], ChunkExecutor]:
    """Run one episode in one slot; check at every step that the executor foretold what it looks at."""
    executor = ChunkExecutor(policy, schedule, repeat_last)
    executor.reset([0], [seed])
    actions = []
    for t in range(steps):
        foretold = executor.wants_observation(np.array([t]))
        before()
        actions.append(executor.act(np.array([t]), blank(1)))
        assert actions[-1].errors == {}
        if schedule.observation_delay == 0:  # otherwise another observation is read
            assert foretold.tolist() == [bool(actions[-1].requested[0])]
    return actions, executor


def run(policy: ToyPolicy, schedule: Schedule, steps: int, seed: int = 0) -> list[float]:
    """Return the numbers that ran, `HOLD` for steps that no chunk covers."""
    actions, _ = traced(policy, schedule, steps, seed)
    return [HOLD if a.underrun[0] else float(a.command[0, 0]) for a in actions]
