"""Hooks of logged simulator states: rendered views, positions, edited copies.

Videos and probes call them after an episode or during it; the running episode stays unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from act_eval.envs import sim_state
from act_eval.envs.sim_state import StateArray
from act_eval.errors import UsageError
from act_eval.scenes.arm import CLOSING_THRESHOLD, GRIPPER_CLOSED, GRIPPER_OPEN
from act_eval.scenes.projection import projected
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import Scene
from act_eval.scenes.workspace import BLOCK_SIDE
from act_eval.types import FloatArray, ImageArray, IntArray, Motion
from act_eval.types.scene import SceneTrack, Stage


class LoggedStates:
    """The environment's hooks of states (S,) of its scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._replayed: mujoco.MjData | None = None

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
        sim_state.pose(self._scene, self._replayed, state)
        renderer = renderer_for(self._scene.model)
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
        return SceneTrack(blocks_xyz=sim_state.block_tracks(self._scene, logged), target=target)

    def stage(self) -> Stage:
        """Return the sizes that drawings need."""
        return Stage(
            block_side=BLOCK_SIDE,
            jaws_closed=GRIPPER_CLOSED,
            jaws_open=GRIPPER_OPEN,
            closes_below=CLOSING_THRESHOLD,
        )

    def motion(self, logged: StateArray) -> Motion:
        """Return how the arm moved through logged states (N, S)."""
        return sim_state.motion(self._scene, logged)

    def gripper_position(self, command: FloatArray) -> StateArray:
        """Return where commands (..., 6) [rad] put the point between the jaws, (..., 3) [m], once the arm is there."""
        return sim_state.gripper_positions(self._scene, command)

    def block_positions(self, state: StateArray) -> StateArray:
        """Return the centres (K, 3) [m] of the blocks in a logged state, the scene's target first."""
        return sim_state.block_positions(self._scene, state)

    def with_blocks_exchanged(self, state: StateArray) -> StateArray:
        """Return a logged state with target and first confuser exchanged.

        Raises:
            UsageError: if the environment has no confuser.
        """
        if self._scene.config.confusers == 0:
            raise UsageError("blocks cannot be exchanged: this environment has no confuser")
        return sim_state.with_blocks_exchanged(self._scene, state)

    def without_confusers(self, state: StateArray) -> StateArray:
        """Return a logged state with every confuser out of the cameras' sight."""
        return sim_state.without_confusers(self._scene, state)

    def _target_through(self, count: int, event_step: int | None) -> IntArray:
        """Return which block is the target in the first `count` states of an episode; always the same here."""
        return np.zeros(count, np.int64)
