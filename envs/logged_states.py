"""Hooks of logged simulator states: rendered views, positions, edited copies.

Videos and probes call them after an episode or during it; the running episode stays unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.scenes.arm import CLOSING_THRESHOLD, GRIPPER_CLOSED, GRIPPER_OPEN
from act_eval.scenes.projection import projected
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import Scene
from act_eval.scenes.workspace import BLOCK_SIDE
from act_eval.types import ImageArray, IntArray, Motion
from act_eval.types.scene import SceneTrack, Stage

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
_HIDDEN_DEPTH = -1.0  # below the table's opaque top, where no camera sees a block [m]

StateArray = NDArray[np.float64]


class LoggedStates:
    """The environment's hooks of states (S,) of its scene: MuJoCo's full physics state."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._replayed: mujoco.MjData | None = None
        self._first_qpos = mujoco.mj_stateSize(scene.model, mujoco.mjtState.mjSTATE_TIME)  # in a state, after the time

    def render_state(self, state: StateArray, camera: str, height: int, width: int) -> ImageArray:
        """Return a camera's view (height, width, 3) of a logged state."""
        (image,) = self.render_views(state, [(camera, height, width)])
        return image

    def render_views(
        self,
        state: StateArray,
        views: Sequence[tuple[str, int, int]],
        out: Sequence[ImageArray | None] | None = None,
    ) -> list[ImageArray]:
        """Return several views (camera, height, width) of one logged state, cheaper than one by one.

        Args:
            state: (S,)
            views: Camera and size of each.
            out: Images to write the views to; None for a new one.
        """
        if self._replayed is None:
            self._replayed = mujoco.MjData(self._scene.model)
        mujoco.mj_setState(self._scene.model, self._replayed, state, FULL)
        mujoco.mj_kinematics(self._scene.model, self._replayed)
        mujoco.mj_camlight(self._scene.model, self._replayed)
        renderer = renderer_for(self._scene.drawn_by)
        images = out or [None] * len(views)
        return [renderer.render(self._replayed, *view, image) for view, image in zip(views, images, strict=True)]

    def project(self, points: StateArray, camera: str, height: int, width: int) -> StateArray:
        """Return where points (..., 3) [m] appear in a fixed camera's image, (..., 2) as x, y [px] from the top left.

        Raises:
            UsageError: if the camera moves with the arm.
        """
        return projected(self._scene.model, points, camera, height, width)

    def scene_track(self, logged: StateArray, detail: Mapping[str, Any]) -> SceneTrack:
        """Return the blocks' tracks in logged states (N, S) of an episode, and the target's index.

        Args:
            logged: From the episode's first state on.
            detail: Of the episode's record.
        """
        target = self._target_through(len(logged), detail.get("event_step"))
        blocks = logged[:, self._first_qpos + self._scene.block_qpos[:, None] + np.arange(3)]
        return SceneTrack(blocks_xyz=blocks, target=target)

    def stage(self) -> Stage:
        """Return the sizes that drawings need."""
        return Stage(
            block_side=BLOCK_SIDE * self._scene.config.variation.block_scale,
            jaws_closed=GRIPPER_CLOSED,
            jaws_open=GRIPPER_OPEN,
            closes_below=CLOSING_THRESHOLD,
        )

    def motion(self, logged: StateArray) -> Motion:
        """Return how the arm moved through logged states (N, S); the gripper's jaws are its last joint."""
        joints = logged[:, self._first_qpos + self._scene.joint_qpos]
        return Motion(joints, self.gripper_position(joints), gripper_joint=joints.shape[1] - 1)

    def gripper_position(self, command: NDArray[np.floating]) -> StateArray:
        """Return where commands (..., 6) [rad] put the point between the jaws, (..., 3) [m], once the arm is there.

        Commands that are not finite give NaN.
        """
        data = mujoco.MjData(self._scene.model)
        rows = np.asarray(command, np.float64).reshape(-1, len(self._scene.joint_qpos))
        positions = np.full((len(rows), 3), np.nan)
        for row in np.flatnonzero(np.isfinite(rows).all(axis=1)):
            data.qpos[self._scene.joint_qpos] = rows[row]
            mujoco.mj_kinematics(self._scene.model, data)
            positions[row] = data.site_xpos[self._scene.pinch_site]
        return positions.reshape(*np.shape(command)[:-1], 3)

    def block_positions(self, state: StateArray) -> StateArray:
        """Return the centres (K, 3) [m] of the blocks in a logged state, the scene's target first."""
        return self._loaded(state).xpos[self._scene.block_body].copy()

    def with_blocks_exchanged(self, state: StateArray) -> StateArray:
        """Return a logged state in which target and first confuser have exchanged poses and velocities.

        Raises:
            UsageError: if the environment has no confuser.
        """
        if self._scene.config.confusers == 0:
            raise UsageError("blocks cannot be exchanged: this environment has no confuser")
        data = self._loaded(state)
        for values, addresses, size in (
            (data.qpos, self._scene.block_qpos, 7),
            (data.qvel, self._scene.block_qvel, 6),
        ):
            first, second = (slice(address, address + size) for address in addresses[:2])
            values[first], values[second] = values[second].copy(), values[first].copy()
        return self._saved(data)

    def without_confusers(self, state: StateArray) -> StateArray:
        """Return a logged state with every confuser out of the cameras' sight, below the table."""
        data = self._loaded(state)
        data.qpos[self._scene.block_qpos[1:] + 2] = _HIDDEN_DEPTH
        return self._saved(data)

    def _target_through(self, count: int, event_step: int | None) -> IntArray:
        """Return which block is the target in the first `count` states of an episode; always the same here."""
        return np.zeros(count, np.int64)

    def _loaded(self, state: StateArray) -> mujoco.MjData:
        """Return fresh simulator data in a state, with poses computed."""
        data = mujoco.MjData(self._scene.model)
        mujoco.mj_setState(self._scene.model, data, state, FULL)
        mujoco.mj_fwdPosition(self._scene.model, data)
        return data

    def _saved(self, data: mujoco.MjData) -> StateArray:
        """Return the state (S,) of simulator data."""
        state = np.empty(mujoco.mj_stateSize(self._scene.model, FULL))
        mujoco.mj_getState(self._scene.model, data, state, FULL)
        return state
