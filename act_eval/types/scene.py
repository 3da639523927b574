"""Scene data of environments, for metrics, videos, plots and the scripted expert.

Legend: `N` states · `M` blocks · `J` joints.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

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
    """What the scripted expert of the built-in environments knows of a state."""

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
    variation: "Variation" = field(default_factory=lambda: Variation())
    """Sizes and places of the scene."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What a perturbation changes in a built-in scene; the default changes nothing. See `EnvHooks.vary`."""

    joints: tuple[float, ...] = ()
    """Added to the arm's joints at reset, (5,) [rad]."""
    block_scale: float = 1.0
    """Of the blocks' edges; their density stays."""
    table_height: float = 0.0
    """Of table, tray and blocks above their usual height [m]."""
    tray_shift: tuple[float, float] = (0.0, 0.0)
    """Of the tray on the table [m]."""
    distractors: tuple[tuple[float, float], ...] = ()
    """Places (x, y) of objects of other shapes, fixed to the table [m]."""
    table_pattern: int = 0
    """Pattern of the table top, 1 to 5; 0: plain."""

    def resting_height(self, side: float) -> float:
        """Return the height of a block's centre on the table [m], from the usual side of a block."""
        return self.table_height + self.block_scale * side / 2

    @classmethod
    def joined(cls, several: "Iterable[Variation]") -> "Variation":
        """Return variations of different fields as one."""
        plain = cls()
        changed = {
            one.name: value
            for variation in several
            for one in fields(cls)
            if (value := getattr(variation, one.name)) != getattr(plain, one.name)
        }
        return cls(**changed)
