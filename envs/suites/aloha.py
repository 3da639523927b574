"""gym-aloha's tasks. The package renders three cameras of 480 × 640 at every step; here one, and only if it is read."""

from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.envs.suites import NamedSuite, registered


class AlohaTask(gym.Wrapper[Any, Any, Any, Any]):
    """A task that renders the camera `top` alone, and not while nobody reads its images."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._inner: Any = env.unwrapped
        self._inner._env.task.get_observation = self._observed
        self._skip = False
        self._top: np.ndarray | None = None

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, observations carry the last image again instead of a new one."""
        self._skip = skip

    def _observed(self, physics: Any) -> dict[str, Any]:
        task = self._inner._env.task
        if not self._skip or self._top is None:
            self._top = physics.render(height=480, width=640, camera_id="top")
        state = {
            "qpos": task.get_qpos(physics),
            "qvel": task.get_qvel(physics),
            "env_state": task.get_env_state(physics),
        }
        return {**state, "images": {"top": self._top}}


def make(task: str, *, film: bool, suite: NamedSuite, **options: Any) -> AlohaTask:
    """Return a task."""
    return AlohaTask(registered.make(task, film=film, suite=suite, **options))
