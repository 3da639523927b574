"""Recovery demonstrations: the expert first picks an imagined block, then recovers and picks the real one.

A policy makes mistakes that the expert never makes, such as carrying nothing to the tray. Demonstrations that begin
where such a mistake ends cover the states that follow it.
"""

from dataclasses import replace

import numpy as np

from act_eval.envs.expert import Expert, PrivilegedEnv
from act_eval.scenes.workspace import BLOCK_SIDE, BLOCKS, TRAY, TRAY_FLOOR
from act_eval.seeding import Stream, stream
from act_eval.types import FloatArray
from act_eval.types.scene import Privileged

_DISTANCE = (0.02, 0.06)
"""Distance between imagined and real block [m]."""
_LENGTH = (5, 90)
"""Shortest and longest mistake [control steps]; a whole imagined pick takes about 75."""
_CLOSED = 0.2  # gripper angle below which the imagined block is held [rad]
_HELD = 0.15  # gripper angle with the imagined block between the jaws [rad]
_NEAR = 0.02  # distance of pinch point and imagined block at the imagined grasp [m]


class RecoveryExpert:
    """The scripted expert, which begins some episodes with a mistake.

    Args:
        env: The environment to act in.
        probability: Share of the episodes that begin with a mistake.
    """

    def __init__(self, env: PrivilegedEnv, probability: float) -> None:
        self._imagined = _Imagined(env)
        self._mistaken, self._expert = Expert(self._imagined), Expert(env)
        self._probability = probability
        self._left = 0

    def begin(self, seed: int) -> int:
        """Begin an episode; return the number of steps of its initial mistake.

        Args:
            seed: Episode seed; determines the mistake.
        """
        rng = stream(seed, Stream.RECOVERY)
        self._left = int(rng.integers(_LENGTH[0], _LENGTH[1] + 1)) if rng.uniform() < self._probability else 0
        self._imagined.begin(rng)
        return self._left

    def act(self) -> FloatArray:
        """Return the command (6,) for this moment: absolute joint targets [rad]."""
        if self._left == 0:
            return self._expert.act()
        self._left -= 1
        return self._mistaken.act()


class _Imagined:
    """The environment with an imagined target beside the real one, which can be grasped and reaches the tray."""

    def __init__(self, env: PrivilegedEnv) -> None:
        self._env = env

    def begin(self, rng: np.random.Generator) -> None:
        distance, angle = rng.uniform(*_DISTANCE), rng.uniform(0, 2 * np.pi)
        real = self._env.privileged().target_pos
        beside = real[:2] + distance * np.array([np.cos(angle), np.sin(angle)])
        self._place = np.append(np.clip(beside, BLOCKS.low, BLOCKS.high), BLOCK_SIDE / 2)
        self._held = self._delivered = False

    def privileged(self) -> Privileged:
        now = self._env.privileged()
        if self._delivered:
            return replace(now, target_pos=self._place, target_touched=False)
        if not self._held:
            caught = np.linalg.norm(now.pinch_pos - self._place) < _NEAR and now.joints[5] < _CLOSED
            self._held = bool(caught)
            return replace(now, target_pos=self._place, target_touched=False)
        if TRAY.contains(now.pinch_pos[:2]) and now.pinch_pos[2] < TRAY_FLOOR + BLOCK_SIDE / 2 + 0.004:
            self._delivered, self._place = True, np.append(now.pinch_pos[:2], TRAY_FLOOR + BLOCK_SIDE / 2)
            return replace(now, target_pos=self._place, target_touched=False)
        joints = now.joints.copy()
        joints[5] = _HELD
        return replace(now, joints=joints, target_pos=now.pinch_pos.copy(), target_touched=True)
