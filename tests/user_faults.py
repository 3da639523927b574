"""Environments and policies of users that misbehave, one kind each. The module itself is well-behaved."""

import os
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.types import Motion

STARTS = np.random.default_rng(5).uniform(-1, 1, (50, 2, 2))


class Reach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A point follows absolute commands; success near the goal. A third of the episodes are unlucky."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.render_mode = render_mode
        box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict({"agent_pos": box, "environment_state": box})
        self.action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.count, self.unlucky = 0, self.np_random.uniform() < 0.3
        return self.seen(), {}

    def seen(self) -> dict[str, Any]:
        return {"agent_pos": self.position.copy(), "environment_state": self.goal.copy()}

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.count += 1
        if self.unlucky and self.count == 3:
            self.fail()
        self.position = self.position + 0.3 * (action - self.position)
        near = bool(np.linalg.norm(self.position - self.goal) < 0.1)
        return self.seen(), 0.0, near, False, {"is_success": near}

    def fail(self) -> None:
        pass

    def render(self) -> Any:
        return np.full((12, 16, 3), 40, np.uint8)


class Go:
    chunk, action_dim = 10, 2
    inputs = {"observation.state": (2,), "observation.environment_state": (2,)}  # noqa: RUF012

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return np.repeat(observation["observation.environment_state"][None], 10, axis=0)


class Exits(Reach):
    def fail(self) -> None:
        os._exit(0)


class SysExit(Reach):
    def fail(self) -> None:
        raise SystemExit("license check failed")


class NoText(Reach):
    def fail(self) -> None:
        class Odd(Exception):
            def __str__(self) -> str:
                raise ValueError("no text")

        raise Odd


class LongText(Reach):
    def fail(self) -> None:
        raise RuntimeError("x" * 3_000_000)


class Surrogates(Reach):
    def fail(self) -> None:
        raise RuntimeError("caf\udce9")


class OtherShape(Reach):
    def seen(self) -> dict[str, Any]:
        seen = super().seen()
        return {**seen, "agent_pos": np.zeros(3)} if self.unlucky and self.count == 0 else seen

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.seen(), {}


class OddFlag(Reach):
    def step(self, action: np.ndarray) -> Any:
        seen, reward, _, truncated, info = super().step(action)
        return seen, reward, "no" if self.unlucky else info["is_success"], truncated, info


class OddReward(Reach):
    def step(self, action: np.ndarray) -> Any:
        seen, _, *rest = super().step(action)
        return seen, None if self.unlucky else 0.0, *rest


class NoFrame(Reach):
    def render(self) -> Any:
        if self.unlucky and self.count == 2:
            raise RuntimeError("EGL lost")
        return super().render()


class GrayFrame(Reach):
    def render(self) -> Any:
        image = super().render()
        return image[..., 0] if self.unlucky and self.count == 2 else image


class NoState(Reach):
    def simulator_state(self) -> Any:
        if self.unlucky and self.count == 2:
            raise RuntimeError("no state")
        return np.append(self.position, self.goal)


class OddState(Reach):
    def simulator_state(self) -> Any:
        return np.zeros(3 if self.unlucky and self.count == 2 else 4)


class Logged(Reach):
    """Its states say whether the episode is unlucky: hooks of logged states come when the next one is running."""

    def simulator_state(self) -> Any:
        return np.array([*self.position, *self.goal, self.unlucky])


class NoMotion(Logged):
    def motion(self, logged: np.ndarray) -> Any:
        if logged[0, -1]:
            raise RuntimeError("no motion")
        return Motion(logged[:, :2], np.zeros((len(logged), 3)), gripper_joint=1)


class NoReplay(Logged):
    def render_state(self, state: np.ndarray, camera: str, height: int, width: int) -> Any:
        if state[-1]:
            raise RuntimeError("no replay")
        return np.zeros((height, width, 3), np.uint8)


class NoHold(Reach):
    def hold_action(self, last_command: np.ndarray) -> Any:
        if self.unlucky:
            raise RuntimeError("no hold")
        return last_command


class Counter(Reach):
    """Begins where a counter says, whatever the seed."""

    number = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = STARTS[self.number % 50].copy()
        self.number += 1
        return self.seen(), {}


class Queue(Go):
    """Answers from a queue that outlives the episode."""

    def __init__(self) -> None:
        self.queue: list[np.ndarray] = []

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        if not self.queue:
            chunk = super().predict(observation)
            self.queue = [chunk * scale for scale in (1.0, 0.9, 0.8)]
        return self.queue.pop(0)


class Samples(Go):
    samples = True

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return super().predict(observation) + np.random.default_rng().normal(size=(10, 2))


class Undeclared(Samples):
    samples = False


class Failing(Go):
    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        raise KeyError("no such token")


class Leaves(Go):
    """Ends the process, by `how`: at construction or at its first prediction."""

    def __init__(self, how: str) -> None:
        self.how = how
        if how == "construct":
            os._exit(0)
        if how == "sys.exit":
            raise SystemExit(0)

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        os._exit(0)


class Count(Go):
    """The chunk of the k-th request is k - 2 in all entries."""

    chunk = 4

    def reset(self, seed: int) -> None:
        self.k = 0

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        self.k += 1
        return np.full((4, 2), self.k - 2.0)


class Never(Reach):
    def step(self, action: np.ndarray) -> Any:
        seen, reward, *_ = super().step(action)
        return seen, reward, False, False, {"is_success": False}


class NeverWithGripper(Never):
    gripper_dims = (1,)


class OneBuffer(Reach):
    """Returns the same arrays in every step, changed in place, and spoils the command that it is given."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        seen, info = super().reset(seed=seed)
        self.buffer = seen
        return self.buffer, info

    def step(self, action: np.ndarray) -> Any:
        _, *rest = super().step(action)
        self.buffer["agent_pos"][:] = self.position
        action[:] = 0
        return self.buffer, *rest


class Drift(Go):
    """Moves a little towards the goal from where the arm was seen."""

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        pos, goal = observation["observation.state"], observation["observation.environment_state"]
        return (pos + np.linspace(0.05, 0.4, 10)[:, None] * (goal - pos)).astype(np.float32)


class DriftOneBuffer(Drift):
    """As `Drift`, from one reused buffer; spoils its input."""

    def __init__(self) -> None:
        self.buffer = np.zeros((10, 2), np.float32)

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        self.buffer[:] = super().predict(observation)
        for name in observation:
            observation[name][:] = 7
        return self.buffer
