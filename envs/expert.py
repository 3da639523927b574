"""The scripted expert: it reads privileged state, replans in every step, and so recovers and follows moving targets.

It remembers nothing: what to do next follows from where the arm, the jaws and the target are now. That also makes
its demonstrations learnable from single observations. Inverse kinematics is dm_control's: with the gripper vertical
the five-joint arm reaches every full pose of the workspace, so that its six-dimensional solver converges to 0.1 mm
in a few iterations from the current joints.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.envs.dm_control_modules import dm_control_module
from act_eval.scenes.arm import GRIPPER_CLOSED, GRIPPER_OPEN, JOINTS, PINCH_SITE
from act_eval.scenes.scene import SceneConfig, build_spec
from act_eval.scenes.tabletop import TARGET
from act_eval.scenes.workspace import BLOCK_SIDE, TRAY, TRAY_FLOOR
from act_eval.types import FloatArray
from act_eval.types.scene import Privileged

_TRAVEL_HEIGHT = 0.058  # of the pinch point above the table, on the way [m]; the wrist's range ends at 0.075
_GRASP_HEIGHT = BLOCK_SIDE / 2 + 0.001
_RELEASE_HEIGHT = TRAY_FLOOR + BLOCK_SIDE / 2 + 0.001
_GRASP_OFFSET = 0.010  # the open jaws are centred on the block with the pinch point this far before it [m]
_MAX_MOVE = 0.011  # of the pinch point in one control step [m]
_MAX_TURN = 0.15  # of a joint in one control step [rad]
_FUNNEL_RADIUS = 0.005  # horizontal error below which the gripper may go all the way down [m]
_FUNNEL_SLOPE = 3.0
_HOLDING_ANGLE = (0.05, 0.33)  # gripper angles with a block between the jaws [rad]
_GRIPPED_ANGLE = 0.22  # below it the jaws press the block: lifting earlier lets it slip
_RELEASED_ANGLE = 0.4  # above it the jaws are clear of the block
_DELIVERED_HEIGHT = TRAY_FLOOR + BLOCK_SIDE / 2 + 0.005  # a block in the tray below this may be let go [m]
_HOLDING_RADIUS = 0.014  # of the target about the pinch point while it is held [m]


class PrivilegedEnv(Protocol):
    """An environment that the expert can act in."""

    def privileged(self) -> Privileged: ...


class Expert:
    """Picks the target and places it in the tray, from any state."""

    def __init__(self, env: PrivilegedEnv) -> None:
        self._env = env
        self._arm = _arm_physics()
        self._solve = dm_control_module("utils.inverse_kinematics").qpos_from_site_pose

    def acting_in(self, env: PrivilegedEnv) -> "Expert":
        """Return an expert for another environment that shares the solver's memory: for the same thread."""
        other = copy(self)
        other._env = env
        return other

    def act(self) -> FloatArray:
        """Return the command (6,) for this moment: absolute joint targets [rad]."""
        now = self._env.privileged()
        goal, gripper = _plan(now)
        step = goal - now.pinch_pos
        step *= min(1.0, _MAX_MOVE / max(float(np.linalg.norm(step)), 1e-9))
        joints = self._inverse(now, now.pinch_pos + step)
        return np.append(joints, gripper).astype(np.float32)

    def _inverse(self, now: Privileged, position: NDArray[np.float64]) -> NDArray[np.float64]:
        self._arm.data.qpos[:] = now.joints
        scene = now.variation
        over_tray = bool(TRAY.contains(now.target_pos[:2] - scene.tray_shift))
        on_table = now.target_pos[2] < BLOCK_SIDE + scene.table_height
        with _silent("absl"):  # it warns of places out of reach; the nearest place is what is wanted then
            solution = self._solve(
                self._arm,
                PINCH_SITE,
                target_pos=position,
                target_quat=_pointing_down(now.target_yaw if on_table and not over_tray else 0.0),
                joint_names=list(JOINTS[:5]),
                tol=1e-4,
                max_steps=20,
                inplace=True,
            )
        turn = np.clip(solution.qpos[:5] - now.joints[:5], -_MAX_TURN, _MAX_TURN)
        low, high = self._arm.model.jnt_range[:5].T
        return np.clip(now.joints[:5] + turn, low, high)


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _plan(now: Privileged) -> tuple[NDArray[np.float64], float]:
    """Return where the pinch point should go [m] and what the gripper should do [rad]."""
    up = np.array([0.0, 0.0, now.variation.table_height])
    goal, gripper = _plan_above(replace(now, pinch_pos=now.pinch_pos - up, target_pos=now.target_pos - up))
    return goal + up, gripper


def _plan_above(now: Privileged) -> tuple[NDArray[np.float64], float]:
    """Plan with heights above the table."""
    if TRAY.contains(now.target_pos[:2] - now.variation.tray_shift) and now.target_pos[2] < _DELIVERED_HEIGHT:
        retreat = now.pinch_pos if now.joints[5] < _RELEASED_ANGLE else np.array([*_tray_centre(now), _TRAVEL_HEIGHT])
        return retreat, GRIPPER_OPEN
    near = np.linalg.norm(now.target_pos - now.pinch_pos) < _HOLDING_RADIUS
    holding = near and _HOLDING_ANGLE[0] < now.joints[5] < _HOLDING_ANGLE[1] and now.target_touched
    return _carry(now) if holding else _reach(now)


def _reach(now: Privileged) -> tuple[NDArray[np.float64], float]:
    closing = np.array([np.cos(now.target_yaw), np.sin(now.target_yaw)])
    offset = now.target_pos[:2] - now.pinch_pos[:2]
    sideways = np.array([-closing[1], closing[0]])
    along, across = offset @ closing, offset @ sideways
    low = now.pinch_pos[2] < now.target_pos[2] + 0.010
    between_jaws = abs(across) < 0.012 and -0.008 < along < _GRASP_OFFSET + 0.012
    if low and between_jaws:
        return np.array([*(now.pinch_pos[:2] + across * sideways), _GRASP_HEIGHT]), GRIPPER_CLOSED
    above = now.target_pos[:2] - _GRASP_OFFSET * closing
    error = float(np.linalg.norm(above - now.pinch_pos[:2]))
    rise = np.clip((error - _FUNNEL_RADIUS) * _FUNNEL_SLOPE, 0, _TRAVEL_HEIGHT - _GRASP_HEIGHT)
    if now.joints[5] < GRIPPER_OPEN - 0.15:  # jaws not open yet: stay above
        rise = _TRAVEL_HEIGHT - _GRASP_HEIGHT
    return np.array([*above, now.target_pos[2] + 0.001 + rise]), GRIPPER_OPEN


def _carry(now: Privileged) -> tuple[NDArray[np.float64], float]:
    if now.joints[5] > _GRIPPED_ANGLE and now.target_pos[2] < BLOCK_SIDE:
        return np.array([*now.pinch_pos[:2], _GRASP_HEIGHT]), GRIPPER_CLOSED
    tray = _tray_centre(now)
    error = float(np.linalg.norm(tray - now.pinch_pos[:2]))
    drop = np.clip((error - 0.008) * _FUNNEL_SLOPE, 0, _TRAVEL_HEIGHT - _RELEASE_HEIGHT)
    lifted = np.clip((now.target_pos[2] - BLOCK_SIDE / 2 - 0.008) / 0.02, 0, 1)  # sideways only once it is up
    sideways = now.pinch_pos[:2] + lifted * (tray - now.pinch_pos[:2])
    height = _RELEASE_HEIGHT + drop
    return np.array([*sideways, height]), GRIPPER_CLOSED


def _tray_centre(now: Privileged) -> NDArray[np.float64]:
    return TRAY.centre + now.variation.tray_shift


def _pointing_down(yaw: float) -> NDArray[np.float64]:
    """Quaternion of the pinch site with the fingers down and the jaws closing along `yaw`."""
    fingers, closing = np.array([0, 0, -1.0]), np.array([np.cos(yaw), np.sin(yaw), 0])
    rotation = np.column_stack([fingers, np.cross(closing, fingers), closing])
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    return quat


def _arm_physics() -> Any:
    """The arm alone, as dm_control's physics: kinematics without the blocks' contacts."""
    spec = build_spec(SceneConfig(confusers=0))
    spec.delete(spec.body(TARGET))
    return dm_control_module("mujoco").Physics.from_xml_string(spec.to_xml())
