"""What environments may say of their scene, for drawings over it and for plots.

Legend: `N` states · `M` blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act_eval.types import IntArray


@dataclass(frozen=True, kw_only=True)
class SceneTrack:
    """Where the blocks were in N states; what environments say of logged states with `scene_track(states, detail)`."""

    blocks_xyz: NDArray[np.float64]
    """(N, M, 3) centres of the blocks [m]."""
    target: IntArray
    """(N,) number of the block that is the target."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Sizes that drawings need; what environments say of their scene with `stage()`."""

    block_side: float
    """Edge of a block [m]."""
    jaws_closed: float
    """Gripper joint when the jaws are closed [rad]."""
    jaws_open: float
    """Gripper joint when they are open [rad]."""
    closes_below: float
    """A gripper command below this is one to close [rad]."""
