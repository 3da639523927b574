"""Perturbations of the built-in scenes: objects, sizes and places.

Strengths at severities 1 to 5 stand beside each. The environment compiles the varied scene, keeps its outcome rules
true to it and takes its state from it.
"""

from dataclasses import dataclass

import numpy as np

from act_eval.perturbations.base import Offered, Perturbation
from act_eval.types.scene import Variation

_SHAPE = ("model.geom_*", "model.body_*", "model.bvh_*")
_ADDED = (*_SHAPE, "model.dof_*", "model.name*", "model.tree_*", "model.mat_*", "model.tex_*", "model.actuator_acc0")
_DISTRACTOR_CELLS = np.linspace(-0.13, 0.13, 5)  # y of the places, beyond the blocks' region [m]
_DISTRACTOR_X = (0.285, 0.315)
_DISTRACTOR_SPREAD = 0.010


@dataclass
class _ScenePerturbation(Perturbation):
    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        return None if offered.varies else f"{offered.label} is no built-in environment, whose scene alone it varies"


@dataclass
class Distractors(_ScenePerturbation):
    """1 to 5 cylinders, spheres and others on the table, fixed, beyond the region of the blocks."""

    writes = _ADDED

    def begin(self) -> None:
        """Draw the places."""
        cells = self.rng.permutation(_DISTRACTOR_CELLS)[: self.severity]
        x = self.rng.uniform(*_DISTRACTOR_X, len(_DISTRACTOR_CELLS))
        y = cells + self.rng.uniform(-_DISTRACTOR_SPREAD, _DISTRACTOR_SPREAD, len(_DISTRACTOR_CELLS))[: self.severity]
        self._places = tuple((float(a), float(b)) for a, b in zip(x, y, strict=False))

    def variation(self) -> Variation:
        """Return the scene with the objects."""
        return Variation(distractors=self._places)


@dataclass
class BlockSize(_ScenePerturbation):
    """Edges of all blocks longer or shorter by 4, 8, 12, 16 or 20 %, drawn per episode; density stays."""

    writes = (
        *(*_SHAPE, "model.dof_*", "model.actuator_acc0", "model.qpos0", "model.qpos_spring"),
        *("model.cam_poscom0", "model.light_poscom0", "state"),
    )

    def begin(self) -> None:
        """Draw the scale."""
        self._scale = 1 + self.sign() * self.level((0.04, 0.08, 0.12, 0.16, 0.20))

    def variation(self) -> Variation:
        """Return the scene with other blocks."""
        return Variation(block_scale=self._scale)


@dataclass
class TableHeight(_ScenePerturbation):
    """Table, tray and blocks higher or lower by 2, 4, 6, 9 or 12 mm, drawn per episode."""

    writes = (*_SHAPE, "state")

    def begin(self) -> None:
        """Draw the height."""
        self._height = self.sign() * self.level((0.002, 0.004, 0.006, 0.009, 0.012))

    def variation(self) -> Variation:
        """Return the scene with the table at its height."""
        return Variation(table_height=self._height)


@dataclass
class StartPose(_ScenePerturbation):
    """The arm's joints at reset off by up to 0.05, 0.1, 0.15, 0.2 or 0.3 rad each, drawn per episode."""

    writes = ("state",)

    def begin(self) -> None:
        """Draw the offsets."""
        most = self.level((0.05, 0.10, 0.15, 0.20, 0.30))
        self._joints = tuple((most * self.rng.uniform(-1, 1, 5)).tolist())

    def variation(self) -> Variation:
        """Return the scene with the arm in its pose."""
        return Variation(joints=self._joints)


@dataclass
class TrayPlace(_ScenePerturbation):
    """The tray shifted by 5, 10, 15, 20 or 25 mm within reach, in a direction drawn per episode."""

    writes = _SHAPE

    def begin(self) -> None:
        """Draw the direction, forward or to the side away from the blocks."""
        angle = self.rng.uniform(np.pi, 2 * np.pi)
        size = self.level((0.005, 0.010, 0.015, 0.020, 0.025))
        self._shift = (float(size * np.cos(angle)), float(size * np.sin(angle)))

    def variation(self) -> Variation:
        """Return the scene with the tray at its place."""
        return Variation(tray_shift=self._shift)


@dataclass
class TablePattern(_ScenePerturbation):
    """A checkered table top in place of a plain one, its contrast 10, 20, 35, 55 or 80 %."""

    writes = _ADDED

    def variation(self) -> Variation:
        """Return the scene with the pattern."""
        return Variation(table_pattern=self.severity)
