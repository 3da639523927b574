"""A small stochastic environment in Gymnasium's interface, and one that also has act_eval's hooks."""

from copy import deepcopy
from time import sleep
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.types import Verdict


class Walk(gym.Env[dict[str, Any], np.ndarray]):
    """A point in the plane: steps towards the command plus noise; success within 0.15 of the goal."""

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012

    def __init__(self, horizon: int = 14) -> None:
        self.horizon = horizon
        self.observation_space = gym.spaces.Dict(
            {
                "pixels": gym.spaces.Dict({"top": gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)}),
                "agent_pos": gym.spaces.Box(-100, 100, (2,), np.float32),
                "environment_state": gym.spaces.Box(-100, 100, (2,), np.float32),
            }
        )
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.renderings = 0
        self.image = np.zeros((4, 4, 3), np.uint8)
        self.skipping = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self.position = self.np_random.normal(size=2)
        self.goal = self.np_random.normal(size=2)
        self.steps = 0
        return self.observed(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
        self.position = self.position + 0.3 * (action - self.position) + self.np_random.normal(0, 0.1, 2)
        self.steps += 1
        done = self.is_success()
        return self.observed(), 0.0, done, self.steps >= self.horizon, {"is_success": done}

    def is_success(self) -> bool:
        return bool(np.linalg.norm(self.position - self.goal) < 0.15)

    def observed(self) -> dict[str, Any]:
        if not self.skipping:
            self.renderings += 1
            self.image = np.full((4, 4, 3), np.clip(100 + 30 * self.position[0], 0, 255), np.uint8)
        return {
            "pixels": {"top": self.image},
            "agent_pos": self.position.astype(np.float32),
            "environment_state": self.goal.astype(np.float32),
        }


class HookedWalk(Walk):
    """`Walk` with everything that an environment may offer."""

    def skip_cameras(self, skip: bool) -> None:
        self.skipping = skip

    def simulator_state(self) -> np.ndarray:
        return np.array([*self.position, *self.goal, self.steps], np.float64)

    def hold_action(self, last_command: np.ndarray) -> np.ndarray:
        return self.position.astype(np.float32)

    def verdict(self) -> Verdict:
        return Verdict(outcome="success" if self.is_success() else "missed", grasp_choice=0.5, detail={"far": 1})


class GuidedWalk(HookedWalk):
    """`HookedWalk` with an expert; some goals are out of its reach."""

    def __init__(self, horizon: int = 30, reach: float = 1.0, pause_s: float = 0.0, strict: bool = False) -> None:
        super().__init__(horizon)
        self.reach, self.pause_s, self.strict = reach, pause_s, strict

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
        if self.strict and self.steps >= self.horizon:
            raise ValueError("the episode has been cut off")
        return super().step(action)

    def expert_action(self) -> np.ndarray:
        sleep(self.pause_s)
        if self.reach < 0:
            raise ValueError("lost")
        return np.clip(self.goal, -self.reach, self.reach).astype(np.float32)

    def fork(self) -> "GuidedWalk":
        return deepcopy(self)


class Wanderer:
    """A simple policy of the toy environments: its chunks lead away from where it stands."""

    chunk, action_dim = 6, 2
    inputs = {"observation.state": (2,)}  # noqa: RUF012

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return observation["observation.state"] + 0.1 * np.arange(1, 7)[:, None]
