"""Environments as other people write them, for `--env module:factory`: no hook of ours, no base class of ours."""

from typing import Any

import gymnasium as gym
import numpy as np


class Reach(gym.Env[Any, np.ndarray]):
    """A point that is told where to go; LeRobot's names. Succeeds near the goal, or says nothing of success."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self, tells: bool = True, ends: bool = True, fails_at: int | None = None, render_mode: str | None = "rgb_array"
    ) -> None:
        self.tells, self.ends, self.fails_at, self.render_mode = tells, ends, fails_at, render_mode
        self.observation_space = gym.spaces.Dict(
            {
                "pixels": gym.spaces.Dict({"top": gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)}),
                "agent_pos": gym.spaces.Box(-10, 10, (2,), np.float64),
                "environment_state": gym.spaces.Box(-10, 10, (2,), np.float64),
                "clock": gym.spaces.Box(0, 1, (1,), np.float32),
            }
        )
        self.action_space = gym.spaces.Box(-10, 10, (2,), np.float64)
        self.renderings = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None and seed >= 2**32:
            raise ValueError("Seed must be between 0 and 2**32 - 1")
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.steps = 0
        return self._observed(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.float64
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the motor caught fire")
        self.position = self.position + 0.5 * (action - self.position)
        distance = float(np.linalg.norm(self.position - self.goal))
        near = distance < 0.3
        return self._observed(), -distance, self.ends and near, False, {"is_success": near} if self.tells else {}

    def render(self) -> np.ndarray:
        self.renderings += 1
        image = np.full((48, 64, 3), 30, np.uint8)
        x, y = np.clip((self.position + 2) / 4 * (60, 44), 0, (60, 44)).astype(int)
        image[y : y + 4, x : x + 4] = (255, 200, 0)
        return image

    def _observed(self) -> dict[str, Any]:
        return {
            "pixels": {"top": np.full((32, 32, 3), np.clip(100 + 50 * self.position[0], 0, 255), np.uint8)},
            "agent_pos": self.position.copy(),
            "environment_state": self.goal.copy(),
            "clock": np.array([self.steps / 100], np.float32),
        }


def not_an_environment() -> dict[str, int]:
    return {}


def raises(**options: Any) -> Reach:
    raise OSError("no such robot")


class Seeker:
    """A policy without a network: goes to the goal that it is told, along a chunk of 8."""

    def __init__(self, gain: float = 1.0) -> None:
        from act_eval.types import ENVIRONMENT_STATE, STATE, PolicySpec

        self.gain = gain
        self.spec = PolicySpec(
            chunk=8,
            action_dim=2,
            window="same",
            takes_prefix=False,
            max_delay=0,
            inputs={STATE: (2,), ENVIRONMENT_STATE: (2,)},
        )

    def reset(self, rows: Any, seeds: Any) -> None:
        """Remember nothing."""

    def predict(self, request: Any) -> Any:
        from act_eval.types import ActionChunks

        seen = request.observation
        target = seen.agent_pos + self.gain * (seen.environment_state - seen.agent_pos)
        return ActionChunks(np.repeat(target[:, None].astype(np.float32), 8, axis=1))


class Still:
    """Commands zero, whatever it sees."""

    def __init__(self, state: int = 3, action_dim: int = 1) -> None:
        from act_eval.types import STATE, PolicySpec

        self.spec = PolicySpec(
            chunk=8, action_dim=action_dim, window="same", takes_prefix=False, max_delay=0, inputs={STATE: (state,)}
        )

    def reset(self, rows: Any, seeds: Any) -> None:
        """Remember nothing."""

    def predict(self, request: Any) -> Any:
        from act_eval.types import ActionChunks

        return ActionChunks(np.zeros((len(request.rows), 8, self.spec.action_dim), np.float32))
