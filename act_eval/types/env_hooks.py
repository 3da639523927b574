"""Optional hooks of an environment beyond Gymnasium's interface, one protocol per hook.

A hook is a method of `env.unwrapped` (two are attributes). `hooks_of(env)` reads all of them once; no other
code looks for methods on an environment.

Legend: `A` action dim · `S` size of a simulator state · `N` states · `K` blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.types.arrays import FloatArray, ImageArray
from act_eval.types.episodes import Verdict
from act_eval.types.scene import Motion, Privileged, SceneTrack, Stage

StateArray = NDArray[np.float64]


class SkipCamerasHook(Protocol):
    """Saves renderings: called before every reset and step, with true if the next images are not needed."""

    def __call__(self, skip: bool, /) -> None:
        """While `skip` is true, observations may repeat the last images; vectors must stay current."""
        ...


class HoldActionHook(Protocol):
    """Command for steps that no chunk covers; without it the last command repeats."""

    def __call__(self, last_command: FloatArray, /) -> FloatArray:
        """Return the command (A,) that holds the robot still after `last_command` (A,)."""
        ...


class SimulatorStateHook(Protocol):
    """Logs the state of every step, for videos, motion metrics and probes."""

    def __call__(self) -> StateArray:
        """Return the full physics state (S,), enough to render this moment again."""
        ...


class VerdictHook(Protocol):
    """Decides outcomes; without it `info["is_success"]` does."""

    def __call__(self) -> Verdict:
        """Return the outcome of the episode so far."""
        ...


class RenderStateHook(Protocol):
    """Renders videos from logged states, and changed scenes for probes."""

    def __call__(self, state: StateArray, camera: str, height: int, width: int, /) -> ImageArray:
        """Return a camera's view (height, width, 3) uint8 of a logged state (S,)."""
        ...


class RenderViewsHook(Protocol):
    """Renders several views faster than one by one."""

    def __call__(
        self, state: StateArray, views: Sequence[tuple[str, int, int]], out: Sequence[ImageArray | None] | None, /
    ) -> Sequence[ImageArray]:
        """Return views (camera, height, width) of a logged state (S,), written into `out` if given."""
        ...


class ProjectHook(Protocol):
    """Draws the predicted chunk, the committed prefix and rings around blocks into videos."""

    def __call__(self, points: NDArray[np.float64], camera: str, height: int, width: int, /) -> NDArray[np.float64]:
        """Return the image positions of points (..., 3) [m] in a fixed camera: (..., 2), x and y from top left [px]."""
        ...


class GripperPositionHook(Protocol):
    """Draws chunks as gripper paths, and lets probes measure effects in millimetres."""

    def __call__(self, command: FloatArray, /) -> NDArray[np.float64]:
        """Return the point between the jaws (..., 3) for commands (..., A) [m]."""
        ...


class MotionHook(Protocol):
    """Provides motion metrics, and the gripper's state in videos."""

    def __call__(self, logged: StateArray, /) -> Motion:
        """Return the motion of the arm through logged states (N, S)."""
        ...


class SceneTrackHook(Protocol):
    """Logs block positions for videos and plots."""

    def __call__(self, logged: StateArray, detail: Mapping[str, Any], /) -> SceneTrack:
        """Return the block positions in the states (N, S) of an episode with the record's `detail`."""
        ...


class StageHook(Protocol):
    """Draws blocks and jaws to scale."""

    def __call__(self) -> Stage:
        """Return the sizes that drawings need."""
        ...


class BlockPositionsHook(Protocol):
    """Lets probes determine the block that a chunk approaches."""

    def __call__(self, state: StateArray, /) -> NDArray[np.float64]:
        """Return the centres (K, 3) [m] of the blocks in a logged state (S,), the scene's target first."""
        ...


class ChangedStateHook(Protocol):
    """Lets probes change the scene."""

    def __call__(self, state: StateArray, /) -> StateArray:
        """Return a logged state (S,) with the change made."""
        ...


class PrivilegedHook(Protocol):
    """Lets the scripted expert act, and the input probe collect its observations with it."""

    def __call__(self) -> Privileged:
        """Return the expert's view of the current state."""
        ...


class ForkHook(Protocol):
    """Lets the expert look ahead, for the prefix `expert`."""

    def __call__(self) -> Any:
        """Return an independent environment in the current state; it has the hook `privileged`."""
        ...


class SuiteFactsHook(Protocol):
    """Refuses pairs of runs whose scenes differ."""

    def __call__(self) -> Mapping[str, Any]:
        """Return the facts, besides id, options and horizon, that paired runs must share (JSON values)."""
        ...


class RendererNameHook(Protocol):
    """Warns when two runs were rendered by different renderers."""

    def __call__(self) -> str:
        """Return OpenGL's name of the renderer."""
        ...


class OverheadProjectionHook(Protocol):
    """Lets policies crop the overhead image around the target (conditioning `crop`)."""

    def __call__(self) -> tuple[float, ...]:
        """Return the homography (9,), row by row, from (x, y, 1) on the table [m] to the image's (u, v, 1)."""
        ...


class RemarksHook(Protocol):
    """Prints before the first episode how the environment was configured."""

    def __call__(self) -> tuple[str, ...]:
        """Return lines for the screen."""
        ...


class SmokeTestHook(Protocol):
    """Detects missing or incompatible parts before the first episode."""

    def __call__(self) -> None:
        """Take a step; raise a `UsageError` for a fault."""
        ...


class PackageVersionsHook(Protocol):
    """Warns when two runs used different versions of the environment's package."""

    def __call__(self) -> Mapping[str, str]:
        """Return name → version of the package that the environment comes from."""
        ...


@dataclass(frozen=True, kw_only=True)
class EnvHooks:
    """The hooks of one environment, bound to it; None for each that is missing."""

    skip_cameras: SkipCamerasHook | None = None
    hold_action: HoldActionHook | None = None
    simulator_state: SimulatorStateHook | None = None
    verdict: VerdictHook | None = None
    render_state: RenderStateHook | None = None
    render_views: RenderViewsHook | None = None
    project: ProjectHook | None = None
    gripper_position: GripperPositionHook | None = None
    motion: MotionHook | None = None
    scene_track: SceneTrackHook | None = None
    stage: StageHook | None = None
    block_positions: BlockPositionsHook | None = None
    with_blocks_exchanged: ChangedStateHook | None = None
    """Target and first confuser in each other's place."""
    without_confusers: ChangedStateHook | None = None
    """Every confuser out of the cameras' sight."""
    privileged: PrivilegedHook | None = None
    fork: ForkHook | None = None
    suite_facts: SuiteFactsHook | None = None
    renderer_name: RendererNameHook | None = None
    overhead_projection: OverheadProjectionHook | None = None
    remarks: RemarksHook | None = None
    smoke_test: SmokeTestHook | None = None
    package_versions: PackageVersionsHook | None = None
    video_cameras: Sequence[str] | None = None
    """Attribute: names of the cameras that videos show, the large view first."""
    max_episode_steps: float | None = None
    """Attribute: control steps after which the environment cuts an episode off, if its registration has none."""


HOOKS = tuple(f.name for f in fields(EnvHooks))
"""Names of all hooks."""


def hooks_of(env: object, names: Sequence[str] = HOOKS) -> EnvHooks:
    """Return the hooks of an environment.

    Args:
        env: A Gymnasium environment, wrapped or not, or a stand-in.
        names: Hooks to read; the others are None.

    Raises:
        UsageError: if an attribute has the name of a hook but not its type.
    """
    base = getattr(env, "unwrapped", env)
    found = {name: getattr(base, name, None) for name in names}
    for name, hook in found.items():
        if hook is not None and (wanted := _lacks(name, hook)):
            raise UsageError(
                f"{type(base).__name__}.{name} is {hook!r}; as a hook of the environment it must be {wanted} "
                "(act_eval.types.env_hooks)"
            )
    return EnvHooks(**found)


def _lacks(name: str, hook: object) -> str | None:
    """Return the required type of a hook, or None if it has it."""
    match name:
        case "video_cameras":
            right = isinstance(hook, Sequence) and not isinstance(hook, str)
            return None if right else "a sequence of camera names"
        case "max_episode_steps":
            return None if isinstance(hook, int | float | np.integer | np.floating) else "a number of control steps"
        case _:
            return None if callable(hook) else "a method"
