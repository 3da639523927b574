"""An executor made in Python holds as its environments do: on a velocity-controlled task the robot stops."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.timing import Constant, Schedule, Sync
from act_eval.types import STATE, ActionChunks, ChunkRequest, PolicySpec, StepRecord

EPISODES = [Episode(number, seed) for number, seed in enumerate(range(50))]
WAITING = Schedule(method=Sync(4, clock="hold"), delay=Constant(4))


class Cart(gym.Env[dict[str, Any], np.ndarray]):
    """A cart that is commanded velocities; it succeeds near 0 and has failed beyond ±2."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Dict({"agent_pos": gym.spaces.Box(-10, 10, (1,), np.float32)})
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.choice([-1, 1]) * self.np_random.uniform(1.0, 1.5), 0
        return self._observed(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x += float(action[0]) * 0.1
        self.steps += 1
        near = abs(self.x) < 0.02
        return self._observed(), 0.0, near, abs(self.x) > 2 or self.steps >= 60, {"is_success": near}

    def hold_action(self, last_command: np.ndarray) -> np.ndarray:
        return np.zeros_like(last_command)

    def _observed(self) -> dict[str, Any]:
        return {"agent_pos": np.array([self.x], np.float32)}


class Approach:
    """Four steps that bring the cart to 0, as fast as it may go."""

    spec = PolicySpec(chunk=4, action_dim=1, window="same", takes_prefix=False, max_delay=0, inputs={STATE: (1,)})

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def predict(self, request: ChunkRequest) -> ActionChunks:
        speed = np.clip(-request.observation.agent_pos / 0.4, -1, 1)
        return ActionChunks(np.repeat(speed[:, None], 4, axis=1).astype(np.float32))


class Held:
    """Keeps what was commanded at steps that no chunk covers."""

    def __init__(self) -> None:
        self.commands: list[float] = []

    def on_step(self, record: StepRecord) -> None:
        if record.chunk < 0:
            self.commands.append(float(record.command[0]))

    def on_episode_end(self, record: object) -> None:
        pass


def test_the_robot_stands_still_while_it_waits() -> None:
    envs, held = [Cart() for _ in range(5)], Held()
    executor = ChunkExecutor(Approach(), WAITING, hold_of(envs))
    records = list(rollout(envs, executor, EPISODES, [held]))
    assert set(held.commands) == {0.0}
    assert sum(record.outcome == "success" for record in records) == 50


def test_repeating_the_last_velocity_goes_on_moving() -> None:
    envs, held = [Cart() for _ in range(5)], Held()
    executor = ChunkExecutor(Approach(), WAITING, repeat_last)
    records = list(rollout(envs, executor, EPISODES, [held]))
    assert set(held.commands) != {0.0}
    assert sum(record.outcome == "success" for record in records) < 50


def test_the_hold_rule_must_be_said() -> None:
    with pytest.raises(TypeError, match="hold"):
        ChunkExecutor(Approach(), WAITING)  # pyright: ignore[reportCallIssue]
