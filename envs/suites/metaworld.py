"""Meta-World's tasks, with a start that `reset(seed)` decides and the goal observed.

The environments that the package registers draw their starts from a generator of their own. Shadows are off: with them
a picture takes four times as long.
"""

from collections.abc import Sequence
from copy import copy
from functools import cache
from importlib import import_module
from typing import Any
from warnings import catch_warnings, simplefilter

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from act_eval.types import FloatArray, ImageArray

_STATE = 4
_MOUNTED_UPSIDE_DOWN = ("corner2",)


@cache
def _classes() -> dict[str, Any]:
    return dict(import_module("metaworld").ALL_V3_ENVIRONMENTS)


def tasks(_: object) -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(_classes())


class MetaWorldTask(gym.Env[dict[str, Any], FloatArray]):
    """A task of Meta-World whose start is a function of the seed.

    `agent_pos` is the hand's place [m] and the gripper's opening (4,), `environment_state` the rest of Meta-World's
    observation (35,): objects, the step before, and the goal.
    """

    def __init__(
        self,
        task: str,
        *,
        cameras: Sequence[str] = (),
        image_size: int = 96,
        camera: str = "corner2",
        shadows: bool = False,
    ) -> None:
        """Make a task.

        Args:
            task: As in `push-v3`.
            cameras: Of the model, observed as images.
            image_size: Height and width of these images [px].
            camera: Shown by `render`.
            shadows: Whether pictures have shadows.
        """
        self.inner = env = _classes()[task]()
        env._partially_observable = False
        del env.sawyer_observation_space  # cached with the goal clipped to zero
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True  # the start is drawn from `np_random`
        env._set_task_called = True
        self._cameras, self._size, self._camera, self._shadows = tuple(cameras), image_size, camera, shadows
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._pixels: dict[str, ImageArray] = {}
        self._skip = False
        self._expert = import_module("metaworld.policies").ENV_POLICY_MAP[task]()
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": env.metadata["render_fps"]}
        self.action_space = env.action_space
        state = spaces.Box(-np.inf, np.inf, (_STATE,), np.float64)
        rest = spaces.Box(-np.inf, np.inf, (env.observation_space.shape[0] - _STATE,), np.float64)
        entries: dict[str, spaces.Space[Any]] = {"agent_pos": state, "environment_state": rest}
        if self._cameras:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            entries["pixels"] = spaces.Dict(dict.fromkeys(self._cameras, image))
        self.observation_space = spaces.Dict(entries)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; `seed` alone determines its start."""
        super().reset(seed=seed)
        if seed is not None:
            self.inner.seed(seed)
        observed, info = self.inner.reset(seed=seed)
        return self._observed(observed), info

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step."""
        observed, *rest = self.inner.step(action)
        return self._observed(observed), *rest

    def render(self) -> ImageArray:  # type: ignore[override]
        """Return the view of the camera for videos (480, 640, 3)."""
        return self._view(self._camera, 480, 640)

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, observations carry the last images again instead of new ones."""
        self._skip = skip

    def simulator_state(self) -> np.ndarray:
        """Return time, positions, velocities and the hand's target."""
        data = self.inner.data
        return np.concatenate([[data.time], data.qpos, data.qvel, data.mocap_pos.ravel(), data.mocap_quat.ravel()])

    def expert_action(self) -> FloatArray:
        """Return the command (4,) of Meta-World's scripted policy for this task, which its observation decides."""
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # it clips its commands as the environment would
            command = self._expert.get_action(self._observation.copy())  # some policies write into it
        return np.clip(command, -1, 1).astype(np.float32)

    def fork(self) -> "MetaWorldTask":
        """Return an independent environment in the same state, which repeats the last images."""
        inner = object.__new__(type(self.inner))  # copying would construct it again
        for name, value in vars(self.inner).items():
            same = isinstance(value, mujoco.MjModel) or name == "mujoco_renderer"
            setattr(inner, name, value if same else copy(value))
        twin = copy(self)
        twin.inner, twin._renderers, twin._skip = inner, {}, True
        return twin

    def close(self) -> None:
        """Release the simulator."""
        for renderer in self._renderers.values():
            renderer.close()
        self.inner.close()

    def _observed(self, vector: np.ndarray) -> dict[str, Any]:
        self._observation = vector
        observed: dict[str, Any] = {"agent_pos": vector[:_STATE], "environment_state": vector[_STATE:]}
        if self._cameras:
            if not self._skip or not self._pixels:
                self._pixels = {name: self._view(name, self._size, self._size) for name in self._cameras}
            observed["pixels"] = dict(self._pixels)
        return observed

    def _view(self, camera: str, height: int, width: int) -> ImageArray:
        renderer = self._renderers.get((height, width))
        if renderer is None:
            renderer = self._renderers[height, width] = mujoco.Renderer(self.inner.model, height, width)
        renderer.update_scene(self.inner.data, camera)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._shadows
        image = renderer.render()
        return np.ascontiguousarray(image[::-1, ::-1]) if camera in _MOUNTED_UPSIDE_DOWN else image.copy()


def make(task: str, *, film: bool, **options: Any) -> MetaWorldTask:
    """Return a task; see `MetaWorldTask`."""
    return MetaWorldTask(task, **options)
