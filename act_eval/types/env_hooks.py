"""Optional hooks of an environment beyond Gymnasium's interface.

A hook is a method of `env.unwrapped` (two are attributes). `hooks_of(env)` reads all of them once; no other
code looks for methods on an environment.

Legend: `A` action dim · `S` size of a simulator state · `N` states · `K` blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.types.arrays import FloatArray, ImageArray
from act_eval.types.episodes import Verdict
from act_eval.types.scene import Motion, SceneTrack, Stage, Variation

StateArray = NDArray[np.float64]
Views = Sequence[tuple[str, int, int]]
"""(camera, height, width) of each view."""
HoldActionHook = Callable[[FloatArray], FloatArray]
GripperPositionHook = Callable[[FloatArray], NDArray[np.float64]]
BlockPositionsHook = Callable[[StateArray], NDArray[np.float64]]
ForkHook = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class EnvHooks:
    """The hooks of one environment, bound to it; None for each that is missing."""

    skip_cameras: Callable[[bool], None] | None = None
    """Saves renderings: called before every reset and step, with true if the next images are not needed. Observations
    may then repeat the last images; vectors must stay current."""
    begin_step: Callable[[FloatArray], None] | None = None
    """Command (A,): begins a step whose result the next call of `step` returns, so that environments that another
    process holds are stepped together. Until then the simulator state is that before the step."""
    hold_action: HoldActionHook | None = None
    """Last command (A,) → command (A,) that holds the robot still, for steps that no chunk covers; without it the last
    command repeats."""
    simulator_state: Callable[[], StateArray] | None = None
    """Returns the full physics state (S,), enough to render this moment again: logged at every step, for videos, motion
    metrics and probes."""
    verdict: Callable[[], Verdict] | None = None
    """Returns the outcome of the episode so far; without it `info["is_success"]` decides."""
    render_state: Callable[[StateArray, str, int, int], ImageArray] | None = None
    """(logged state (S,), camera, height, width) → the camera's view (height, width, 3) uint8: renders videos from
    logged states, and changed scenes for probes."""
    render_views: Callable[[StateArray, Views, Sequence[ImageArray | None] | None], Sequence[ImageArray]] | None = None
    """(logged state (S,), views, arrays to write into or None) → the views: faster than one by one."""
    project: Callable[[NDArray[np.float64], str, int, int], NDArray[np.float64]] | None = None
    """(points (..., 3) [m], fixed camera, height, width) → image positions (..., 2), x and y from top left [px]: draws
    the predicted chunk, the committed prefix and rings around blocks into videos."""
    gripper_position: GripperPositionHook | None = None
    """Commands (..., A) → point between the jaws (..., 3) [m]: draws chunks as gripper paths, and lets probes measure
    effects in millimetres."""
    motion: Callable[[StateArray], Motion] | None = None
    """Logged states (N, S) → motion of the arm: provides motion metrics, and the gripper's state in videos."""
    scene_track: Callable[[StateArray, Mapping[str, Any]], SceneTrack] | None = None
    """(States (N, S) of an episode, its record's `detail`) → block positions, for videos and plots."""
    stage: Callable[[], Stage] | None = None
    """Returns the sizes of blocks and jaws, to draw them to scale."""
    block_positions: BlockPositionsHook | None = None
    """Logged state (S,) → centres (K, 3) [m] of the blocks, the scene's target first: lets probes determine the block
    that a chunk approaches."""
    with_blocks_exchanged: Callable[[StateArray], StateArray] | None = None
    """Logged state (S,) → the same with target and first confuser in each other's place, for probes."""
    without_confusers: Callable[[StateArray], StateArray] | None = None
    """Logged state (S,) → the same with every confuser out of the cameras' sight, for probes."""
    expert_action: Callable[[], FloatArray] | None = None
    """Returns the command (A,) of the environment's scripted expert in the current state: for `--policy expert`,
    demonstrations, and the observations of the input check. It depends on the state alone."""
    fork: ForkHook | None = None
    """Returns an independent environment in the current state, with the hook `expert_action`: lets the expert look
    ahead, for corrections and for the prefix `expert`."""
    simulation: Callable[[], tuple[Any, Any]] | None = None
    """Returns the `mujoco.MjModel` and `mujoco.MjData` of this environment alone: perturbations write into the model.
    Not needed where they are attributes `model` and `data`, or those of a `physics`."""
    vary: Callable[[Variation], None] | None = None
    """Takes a variation of the scene for the episodes that begin from now on: for the perturbations of the built-in
    environments."""
    suite_facts: Callable[[], Mapping[str, Any]] | None = None
    """Returns the facts, besides id, options and horizon, that paired runs must share (JSON values): pairs of runs
    whose scenes differ are refused."""
    renderer_name: Callable[[], str] | None = None
    """Returns OpenGL's name of the renderer: warns when two runs were rendered by different renderers."""
    overhead_projection: Callable[[], tuple[float, ...]] | None = None
    """Returns the homography (9,), row by row, from (x, y, 1) on the table [m] to the overhead image's (u, v, 1): lets
    policies crop it around the target (conditioning `crop`)."""
    remarks: Callable[[], tuple[str, ...]] | None = None
    """Returns lines for the screen: how the environment was configured, before the first episode."""
    smoke_test: Callable[[], None] | None = None
    """Takes a step and raises a `UsageError` for a fault: detects missing or incompatible parts before the first
    episode."""
    package_versions: Callable[[], Mapping[str, str]] | None = None
    """Returns name → version of the package that the environment comes from: warns when two runs used different
    versions."""
    video_cameras: Sequence[str] | None = None
    """Attribute: names of the cameras that videos show, the large view first."""
    gripper_dims: Sequence[int] | None = None
    """Attribute: indices of the gripper among the actions and joints. `ensemble` takes them from the newest chunk, and
    predicted joints may keep them as observed."""
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
        if hook is not None and (required := _required_type(name, hook)):
            raise UsageError(
                f"{type(base).__name__}.{name} is {hook!r}; as a hook of the environment it must be {required} "
                "(act_eval.types.env_hooks)"
            )
    return EnvHooks(**found)


def _required_type(name: str, hook: object) -> str | None:
    """Return the type that a hook should have, or None if it has it."""
    match name:
        case "video_cameras":
            right = isinstance(hook, Sequence) and not isinstance(hook, str)
            return None if right else "a sequence of camera names"
        case "gripper_dims":
            right = isinstance(hook, Sequence) and all(isinstance(dim, int) for dim in hook)
            return None if right else "a sequence of action dimensions"
        case "max_episode_steps":
            return None if isinstance(hook, int | float | np.integer | np.floating) else "a number of control steps"
        case _:
            return None if callable(hook) else "a method"
