"""dm_control's suite as Gymnasium environments: `dm_control:cartpole/balance`.

Observations are the task's own entries, each a vector, and the requested cameras. Tasks of the suite signal no
success, only a reward in 0 … 1 per step: declare a rule such as `reward>=0.9`.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from act_eval.envs.adapters.config import Declaration
from act_eval.envs.dm_control_modules import dm_control_module
from act_eval.errors import UnknownName, UsageError
from act_eval.types import FloatArray, ImageArray

PREFIX = "dm_control:"
"""Beginning of these environments' names."""
_VIEW = (240, 320)


class DmControlEnv(gym.Env[dict[str, Any], FloatArray]):
    """A task of dm_control's suite."""

    def __init__(self, task: str, *, cameras: Sequence[int | str] = (), image_size: int = 96) -> None:
        """Load a task.

        Args:
            task: As in `cartpole/balance`.
            cameras: Numbers or names of the model's cameras that are observed.
            image_size: Height and width of their images [px].

        Raises:
            UnknownName: if the suite has no such task, or the task no such camera.
        """
        self._env: Any = _load(task)
        self._physics = self._env.physics
        names = [camera if isinstance(camera, str) else f"camera_{camera}" for camera in cameras]
        self._cameras = {
            name: _checked_camera(self._physics, camera) for name, camera in zip(names, cameras, strict=True)
        }
        self._size = image_size
        self._skip = False
        self._pixels: dict[str, ImageArray] = {}
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1 / self._env.control_timestep()}
        limit = self._env._step_limit  # infinite where the suite never ends an episode
        self.max_episode_steps = int(limit) if np.isfinite(limit) else None
        act = self._env.action_spec()
        self.action_space = spaces.Box(act.minimum.astype(np.float32), act.maximum.astype(np.float32), dtype=np.float32)
        entries: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(-np.inf, np.inf, (int(np.prod(spec.shape)),), np.float32)
            for name, spec in self._env.observation_spec().items()
        }
        self.state_entries = tuple(entries)
        if self._cameras:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            entries["pixels"] = spaces.Dict(dict.fromkeys(self._cameras, image))
        self.observation_space = spaces.Dict(entries)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; `seed` alone determines its randomness."""
        super().reset(seed=seed)
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)  # as dm_control's own loader makes it
        return self._observed(self._env.reset().observation), {}

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step."""
        result = self._env.step(np.asarray(action, np.float64))
        ended = result.last()
        terminated = ended and result.discount == 0
        return self._observed(result.observation), float(result.reward), terminated, ended and not terminated, {}

    def render(self) -> ImageArray:  # type: ignore[override]
        """Return the view of the model's first camera."""
        height, width = _VIEW
        return self._physics.render(height, width, camera_id=0 if self._physics.model.ncam else -1)

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, observations carry the last images again instead of new ones."""
        self._skip = skip

    def simulator_state(self) -> NDArray[np.float64]:
        """Return positions, velocities and activations (S,)."""
        return np.asarray(self._physics.get_state(), np.float64)

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()

    def _observed(self, entries: Any) -> dict[str, Any]:
        observed: dict[str, Any] = {name: np.asarray(value, np.float32).reshape(-1) for name, value in entries.items()}
        if self._cameras:
            if not self._skip or not self._pixels:
                self._pixels = {
                    name: self._physics.render(self._size, self._size, camera_id=camera)
                    for name, camera in self._cameras.items()
                }
            observed["pixels"] = dict(self._pixels)
        return observed


def default_config(env: DmControlEnv) -> Declaration:
    """Return the defaults of these tasks: all entries are state; hold with zero torque."""
    return Declaration(state=env.state_entries, environment_state=(), hold="zero")


def _load(task: str) -> Any:
    suite: Any = dm_control_module("suite")
    domain, _, name = task.partition("/")
    known = [f"{one}/{other}" for one, other in suite.ALL_TASKS]
    if (domain, name) not in suite.ALL_TASKS:
        raise UnknownName("task of dm_control's suite", task, known)
    return suite.load(domain, name)


def _checked_camera(physics: Any, camera: int | str) -> int | str:
    count = physics.model.ncam
    names = [physics.model.camera(number).name for number in range(count)]
    if camera in names or (isinstance(camera, int) and 0 <= camera < count):
        return camera
    if isinstance(camera, str):
        raise UnknownName("camera", camera, names)
    raise UsageError(f"camera {camera} does not exist; the task has {count}: {', '.join(names)}")
