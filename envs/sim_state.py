"""Simulator states: forward kinematics of a command, and edited copies of logged states.

A state is MuJoCo's full physics state (S,) from `PickEnv.simulator_state`; no function here changes an episode.
"""

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.scenes.scene import Scene
from act_eval.types import Motion

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
_HIDDEN_DEPTH = -1.0  # below the table's opaque top, where no camera sees a block [m]

StateArray = NDArray[np.float64]


def loaded(scene: Scene, state: StateArray) -> mujoco.MjData:
    """Return fresh simulator data in a state, with poses computed."""
    data = mujoco.MjData(scene.model)
    mujoco.mj_setState(scene.model, data, state, FULL)
    mujoco.mj_fwdPosition(scene.model, data)
    return data


def pose(scene: Scene, data: mujoco.MjData, state: StateArray) -> None:
    """Put simulator data into a state, with everything computed that cameras see."""
    mujoco.mj_setState(scene.model, data, state, FULL)
    mujoco.mj_kinematics(scene.model, data)
    mujoco.mj_camlight(scene.model, data)


def saved(scene: Scene, data: mujoco.MjData) -> StateArray:
    """Return the state (S,) of simulator data."""
    state = np.empty(mujoco.mj_stateSize(scene.model, FULL))
    mujoco.mj_getState(scene.model, data, state, FULL)
    return state


def gripper_positions(scene: Scene, joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the point between the jaws (..., 3) [m] for joint angles (..., 6) [rad]; non-finite ones give NaN."""
    data = mujoco.MjData(scene.model)
    rows = np.asarray(joints, np.float64).reshape(-1, len(scene.joint_qpos))
    positions = np.full((len(rows), 3), np.nan)
    for row in np.flatnonzero(np.isfinite(rows).all(axis=1)):
        data.qpos[scene.joint_qpos] = rows[row]
        mujoco.mj_kinematics(scene.model, data)
        positions[row] = data.site_xpos[scene.pinch_site]
    return positions.reshape(*np.shape(joints)[:-1], 3)


def motion(scene: Scene, states: StateArray) -> Motion:
    """Return how the arm moved through states (N, S); the gripper's jaws are its last joint."""
    first = mujoco.mj_stateSize(scene.model, mujoco.mjtState.mjSTATE_TIME)  # the state's layout: time, qpos, ...
    joints = states[:, first + scene.joint_qpos]
    return Motion(joints, gripper_positions(scene, joints), gripper_joint=joints.shape[1] - 1)


def block_positions(scene: Scene, state: StateArray) -> NDArray[np.float64]:
    """Return the blocks' centres (K, 3) [m], the scene's target first."""
    return loaded(scene, state).xpos[scene.block_body].copy()


def block_tracks(scene: Scene, states: StateArray) -> NDArray[np.float64]:
    """Return the blocks' centres (N, K, 3) [m] in states (N, S)."""
    first = mujoco.mj_stateSize(scene.model, mujoco.mjtState.mjSTATE_TIME)
    return states[:, first + scene.block_qpos[:, None] + np.arange(3)]


def with_blocks_exchanged(scene: Scene, state: StateArray) -> StateArray:
    """Return the state in which target and first confuser have exchanged poses and velocities."""
    data = loaded(scene, state)
    for values, addresses, size in ((data.qpos, scene.block_qpos, 7), (data.qvel, scene.block_qvel, 6)):
        first, second = (slice(address, address + size) for address in addresses[:2])
        values[first], values[second] = values[second].copy(), values[first].copy()
    return saved(scene, data)


def without_confusers(scene: Scene, state: StateArray) -> StateArray:
    """Return the state with every confuser out of all cameras' sight, below the table."""
    data = loaded(scene, state)
    for address in scene.block_qpos[1:]:
        data.qpos[address + 2] = _HIDDEN_DEPTH
    return saved(scene, data)
