"""Scene data of environments, for metrics, videos, plots and the scripted expert.

Legend: `N` states · `M` blocks · `J` joints.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act_eval.types.arrays import IntArray


@dataclass(frozen=True)
class Motion:
    """Motion of an arm through N states; see `EnvHooks.motion`."""

    joints: NDArray[np.float64]
    """(N, J) joint positions in the order of the action dimensions [rad]."""
    gripper_xyz: NDArray[np.float64]
    """(N, 3) point between the jaws [m]."""
    gripper_joint: int | None = None
    """Joint of the jaws, which smoothness metrics leave out."""


@dataclass(frozen=True, kw_only=True)
class SceneTrack:
    """Block positions in N states; see `EnvHooks.scene_track`."""

    blocks_xyz: NDArray[np.float64]
    """(N, M, 3) centres of the blocks [m]."""
    target: IntArray
    """(N,) number of the block that is the target."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Sizes for drawings; see `EnvHooks.stage`."""

    block_side: float
    """Edge of a block [m]."""
    jaws_closed: float
    """Gripper joint when the jaws are closed [rad]."""
    jaws_open: float
    """Gripper joint when they are open [rad]."""
    closes_below: float
    """Gripper commands below this close the jaws [rad]."""


@dataclass(frozen=True)
class Privileged:
    """The scripted expert's view of a state; see `EnvHooks.privileged`."""

    joints: NDArray[np.float64]
    """(6,) joint angles [rad]."""
    pinch_pos: NDArray[np.float64]
    """(3,) point between the jaws [m]."""
    target_pos: NDArray[np.float64]
    """(3,) centre of the target [m]."""
    target_yaw: float
    """Rotation of the target about the vertical, within ±45° [rad]."""
    target_touched: bool
    """Whether a jaw touches the target."""
