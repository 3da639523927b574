"""Environments with events of their own, which expose inference delay.

A block is moved by shifting it on the table between two control steps, and only while no jaw touches it.
"""

import numpy as np
from numpy.typing import NDArray

from act_eval.envs.pick import PickEnv
from act_eval.errors import SimulationError, UsageError
from act_eval.scenes.workspace import BLOCKS, CONTROL_HZ, MIN_SEPARATION
from act_eval.types import IntArray

DRIFT_SPEED = 0.03
"""Speed of the target in `moving_pick`, along the table's y axis, to and fro between the workspace's edges [m/s]."""
DRIFT_LANE = 0.045
"""In `moving_pick` confusers start at least this far from the target in x, so that it passes them [m]."""
NUDGE_DISTANCE = (0.03, 0.05)
"""Displacement of the target of `nudged_pick` [m]."""
NUDGE_TRIGGER = 0.06
"""The nudge begins when the pinch point first comes this near to the target, seen from above [m]."""
NUDGE_STEPS = 4
"""Control steps that the nudge takes."""
SWAP_STEPS = (6, 14)
"""First and last control step before which the roles in `confuser_swap` may be exchanged."""

_ATTEMPTS = 1000


class MovingPickEnv(PickEnv):
    """The target drifts along y with `DRIFT_SPEED`, to the left at first, until a jaw touches it or it is lifted."""

    def _sample_blocks(self, rng: np.random.Generator) -> NDArray[np.float64]:
        self._direction = 1.0
        for _ in range(_ATTEMPTS):
            poses = super()._sample_blocks(rng)
            if (np.abs(poses[1:, 0] - poses[0, 0]) >= DRIFT_LANE).all():
                return poses
        raise SimulationError(f"no layout with confusers {DRIFT_LANE} m beside the target after {_ATTEMPTS} attempts")

    def _before_physics(self) -> None:
        y = self._block_xy(self._target)[1]
        if y >= BLOCKS.high[1]:
            self._direction = -1.0
        elif y <= BLOCKS.low[1]:
            self._direction = 1.0
        self._shift_target(np.array([0.0, self._direction * DRIFT_SPEED / CONTROL_HZ]))


class NudgedPickEnv(PickEnv):
    """The target is displaced once, when the gripper comes near."""

    _event_steps = NUDGE_STEPS

    def _sample_blocks(self, rng: np.random.Generator) -> NDArray[np.float64]:
        self._distance, self._angle = rng.uniform(*NUDGE_DISTANCE), rng.uniform(0, 2 * np.pi)
        self._per_step, self._left = np.zeros(2), 0
        return super()._sample_blocks(rng)

    def _before_physics(self) -> None:
        pinch = self._data.site_xpos[self._scene.pinch_site][:2]
        near = np.linalg.norm(pinch - self._block_xy(self._target)) < NUDGE_TRIGGER
        if self._event_step is None and near:
            self._event_step = len(self._log.commands) - 1
            self._per_step, self._left = self._choose_nudge() / NUDGE_STEPS, NUDGE_STEPS
        if self._left > 0:
            self._left -= 1
            self._shift_target(self._per_step)

    def _choose_nudge(self) -> NDArray[np.float64]:
        """Return the displacement (2,): the drawn direction, turned until it ends in the workspace, clear of others."""
        here = self._block_xy(self._target)
        others = [self._block_xy(b) for b in range(1 + self.options.confusers) if b != self._target]
        for turn in np.arange(16) * (2 * np.pi / 16):
            angle = self._angle + turn
            move = self._distance * np.array([np.cos(angle), np.sin(angle)])
            clear = all(_gap(here, here + move, other) >= MIN_SEPARATION - 0.02 for other in others)
            if BLOCKS.contains(here + move) and clear:
                return move
        return np.zeros(2)


class ConfuserSwapEnv(PickEnv):
    """Target and first confuser exchange roles during the reach: the goal input is then that of the other block."""

    def _sample_blocks(self, rng: np.random.Generator) -> NDArray[np.float64]:
        if self.options.confusers == 0:
            raise UsageError("confuser_swap needs a confuser to exchange roles with; confusers is 0")
        self._swap_step = int(rng.integers(SWAP_STEPS[0], SWAP_STEPS[1] + 1))
        return super()._sample_blocks(rng)

    def _before_physics(self) -> None:
        if self._event_step is None and len(self._log.commands) - 1 == self._swap_step:
            self._target, self._event_step = 1, self._swap_step

    def _target_through(self, count: int, event_step: int | None) -> IntArray:
        return np.array([event_step is not None and state > event_step for state in range(count)], np.int64)


def _gap(start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    """Distance of a point from the segment start → end [m]."""
    along = end - start
    share = np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1)
    return float(np.linalg.norm(point - (start + share * along)))
