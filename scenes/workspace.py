"""Positions and sizes shared by scene, reset, expert and outcome rules.

The table frame has its origin under the arm's base, x forward, y to the arm's left, z up; the table top is z = 0. [m]
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTROL_HZ = 20
"""Control steps per second."""
PHYSICS_STEP = 0.0025
"""Physics time step [s]; thin jaws let the block tunnel through at 5 ms."""
SUBSTEPS = round(1 / (CONTROL_HZ * PHYSICS_STEP))
"""Physics steps per control step."""
HORIZON = 200
"""Control steps of an episode (10 s)."""

BLOCK_SIDE = 0.025
"""Edge of the cubes [m]."""
MIN_SEPARATION = 0.07
"""Smallest distance between block centres at reset [m]: closer ones the open jaws would touch both."""


@dataclass(frozen=True)
class Box2:
    """An axis-aligned rectangle on the table [m]."""

    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def centre(self) -> NDArray[np.float64]:
        """(2,) midpoint [m]."""
        return (np.asarray(self.low) + np.asarray(self.high)) / 2

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a point (2,) drawn uniformly."""
        return rng.uniform(self.low, self.high)

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for points (..., 2) whether they are inside."""
        return np.all((points >= self.low) & (points <= self.high), axis=-1)

    def holds(self, x: float, y: float) -> bool:
        """Return whether one point is inside; ten times as fast as `contains`."""
        return self.low[0] <= x <= self.high[0] and self.low[1] <= y <= self.high[1]


BLOCKS = Box2(low=(0.145, -0.05), high=(0.235, 0.15))
"""Region of initial block centres; all of it is within reach of a vertical gripper 6 cm above the table."""

PLACES = ((0.19, 0.0), (0.19, 0.10))
"""The two places of `positions` other than `continuous`, (x, y) each: further apart than `MIN_SEPARATION` [m]."""
PLACE_SPREAD = 0.01
"""Largest offset of a block's centre from its place, along x and along y [m]."""

ANY_YAW = float(np.pi / 4)
"""Turned by up to this to either side, a cube shows every orientation that it has [rad]."""

CLICK_ERROR = 0.015
"""Standard deviation of a click's error along x and along y [m]."""
CLICK_LIMIT = 0.030
"""Longest error of a click [m]: less than half of `MIN_SEPARATION`, so that the nearest block is the one meant."""

TRAY = Box2(low=(0.13, -0.19), high=(0.22, -0.10))
"""Inner floor of the tray."""
TRAY_WALL = 0.004
"""Thickness of the tray's walls [m]."""
TRAY_HEIGHT = 0.016
"""Height of the tray's walls above the table [m]."""
TRAY_FLOOR = 0.003
"""Height of the tray's floor above the table [m]."""
