"""Perturbations of a MuJoCo model that can be reached: lights, cameras, looks, and physical properties.

They write into the model once per episode, before its reset; strengths at severities 1 to 5 stand beside each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from act_eval.perturbations.base import Offered, Perturbation

_LIGHT_DIRECTION = ("model.light_dir", "model.light_pos")
_LIGHT_LEVEL = ("model.light_diffuse", "model.light_ambient", "model.light_specular", "model.vis.headlight.*")
_SETTLED = (
    *("model.body_subtreemass", "model.body_invweight0", "model.dof_M0", "model.dof_invweight0"),
    *("model.tendon_invweight0", "model.actuator_acc0", "model.flexedge_invweight0"),
    *("model.cam_poscom0", "model.light_poscom0"),
)
"""Fields that MuJoCo derives from masses."""


@dataclass
class _Lights(Perturbation):
    """Changes every light of the model, and the headlight."""

    turns: ClassVar[bool] = False
    dims: ClassVar[bool] = False
    tints: ClassVar[bool] = False

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if offered.model is not None and self.turns and not self.dims and offered.model.nlight == 0:
            return f"the model of {offered.label} has no light but the headlight, which has no direction"
        return super().refusal(offered)

    def change_model(self, model: Any) -> None:
        """Turn, dim or brighten, and tint the lights."""
        turn = _rotation(self.rng, self.level((10, 20, 35, 50, 70)))
        strength = 1 + self.sign() * self.level((0.15, 0.30, 0.45, 0.60, 0.80))
        tint = np.exp(self.level((0.1, 0.2, 0.35, 0.5, 0.7)) * self.rng.uniform(-1, 1, 3))
        if self.turns:
            centre = np.asarray(model.stat.center)
            model.light_dir[:] = model.light_dir @ turn.T
            model.light_pos[:] = centre + (model.light_pos - centre) @ turn.T
        factor = (strength if self.dims else 1.0) * (tint if self.tints else np.ones(3))
        if self.dims or self.tints:
            head = model.vis.headlight
            for level in (model.light_diffuse, model.light_ambient, model.light_specular):
                level[:] = level * factor
            for level in (head.ambient, head.diffuse, head.specular):
                level[:] = level * factor


@dataclass
class Light(_Lights):
    """Direction, strength and colour of the lights at once, each as in its own axis."""

    writes = (*_LIGHT_DIRECTION, *_LIGHT_LEVEL)
    turns = dims = tints = True


@dataclass
class LightDirection(_Lights):
    """Lights turned about the scene's centre by 10, 20, 35, 50 or 70°, about an axis drawn per episode."""

    writes = _LIGHT_DIRECTION
    turns = True


@dataclass
class LightStrength(_Lights):
    """Lights stronger or weaker by 15, 30, 45, 60 or 80 %, drawn per episode."""

    writes = _LIGHT_LEVEL
    dims = True


@dataclass
class LightColour(_Lights):
    """Each colour of the light stronger or weaker by a factor of up to 1.1, 1.2, 1.4, 1.6 or 2."""

    writes = _LIGHT_LEVEL
    tints = True


@dataclass
class _Cameras(Perturbation):
    """Changes the cameras that the environment shows, or all of the model's if none has the name of one."""

    cameras: tuple[str, ...] = ()
    """The model's cameras that change; empty: as above."""

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if offered.model is not None:
            names = [offered.model.camera(i).name for i in range(offered.model.ncam)]
            if not names:
                return f"the model of {offered.label} has no camera of its own"
            if unknown := [name for name in self.cameras if name not in names]:
                return f"the model of {offered.label} has no camera {unknown[0]!r}; there are: {', '.join(names)}"
        return super().refusal(offered)

    def chosen(self, model: Any) -> list[int]:
        """Return the numbers of the cameras that change."""
        names = [model.camera(i).name for i in range(model.ncam)]
        shown = [name for name in names if name in (self.cameras or self.offered.cameras)]
        return [names.index(name) for name in shown or names]


@dataclass
class CameraPose(_Cameras):
    """Cameras shifted by 5, 10, 20, 35 or 50 mm and turned by 1, 2, 4, 7 or 10°, in directions drawn per episode."""

    writes = ("model.cam_pos", "model.cam_quat")

    def change_model(self, model: Any) -> None:
        """Shift and turn the cameras."""
        for camera in self.chosen(model):
            direction, axis = _unit(self.rng.normal(size=3)), _unit(self.rng.normal(size=3))
            model.cam_pos[camera] += self.level((0.005, 0.010, 0.020, 0.035, 0.050)) * direction
            angle = np.radians(self.level((1, 2, 4, 7, 10)))
            turn = np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])
            model.cam_quat[camera] = _product(turn, model.cam_quat[camera])


@dataclass
class CameraFov(_Cameras):
    """Vertical field of view wider or narrower by 5, 10, 15, 22 or 30 %, drawn per camera and episode."""

    writes = ("model.cam_fovy",)

    def change_model(self, model: Any) -> None:
        """Widen or narrow the fields of view."""
        for camera in self.chosen(model):
            factor = 1 + self.sign() * self.level((0.05, 0.10, 0.15, 0.22, 0.30))
            model.cam_fovy[camera] = np.clip(factor * model.cam_fovy[camera], 5, 160)


@dataclass
class _Geoms(Perturbation):
    """Changes named geoms, or the visible ones that are fixed to the world if none is named."""

    geoms: tuple[str, ...] = ()
    """Names; empty: the scenery, which is fixed to the world."""

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        model = offered.model
        if model is not None:
            names = [name for i in range(model.ngeom) if (name := model.geom(i).name)]
            if unknown := [name for name in self.geoms if name not in names]:
                return f"the model of {offered.label} has no geom {unknown[0]!r}; there are: {', '.join(names)}"
            if not self.chosen(model):
                return f"no visible geom of {offered.label} is fixed to the world; name some: {', '.join(names)}"
        return super().refusal(offered)

    def chosen(self, model: Any) -> list[int]:
        """Return the numbers of the geoms that change."""
        if self.geoms:
            return [model.geom(name).id for name in self.geoms]
        fixed = model.body_weldid[model.geom_bodyid] == 0
        return [int(i) for i in np.flatnonzero(fixed & (model.geom_rgba[:, 3] > 0))]


@dataclass
class GeomColour(_Geoms):
    """Colours mixed with 15, 30, 50, 75 or 100 % of a colour drawn per geom and episode."""

    writes = ("model.geom_rgba",)

    def change_model(self, model: Any) -> None:
        """Colour the geoms."""
        share = self.level((0.15, 0.30, 0.50, 0.75, 1.0))
        for geom in self.chosen(model):
            material = int(model.geom_matid[geom])
            plain = np.allclose(model.geom_rgba[geom], (0.5, 0.5, 0.5, 1))  # then MuJoCo shows the material's colour
            own = model.mat_rgba[material] if material >= 0 and plain else model.geom_rgba[geom]
            model.geom_rgba[geom, :3] = (1 - share) * own[:3] + share * self.rng.random(3)


@dataclass
class GeomTexture(_Geoms):
    """20, 40, 60, 80 or 100 % of the geoms, drawn per episode, get another textured material of the model."""

    writes = ("model.geom_matid", "model.geom_rgba")

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if offered.model is not None and not _textured(offered.model):
            return f"the model of {offered.label} has no textured material to take; geom_colour changes plain ones"
        return super().refusal(offered)

    def change_model(self, model: Any) -> None:
        """Exchange materials; a geom's own colour becomes white, so that the texture shows."""
        materials, share = _textured(model), self.level((0.2, 0.4, 0.6, 0.8, 1.0))
        geoms = self.rng.permutation(self.chosen(model))
        for geom in geoms[: max(1, round(share * len(geoms)))].tolist():
            others = [one for one in materials if one != model.geom_matid[geom]] or materials
            model.geom_matid[geom] = others[int(self.rng.integers(len(others)))]
            model.geom_rgba[geom] = (1, 1, 1, model.geom_rgba[geom, 3])


@dataclass
class Mass(Perturbation):
    """Masses and inertias of all bodies larger or smaller by a factor of 1.15, 1.3, 1.6, 2 or 3, drawn per episode."""

    writes = ("model.body_mass", "model.body_inertia", *_SETTLED)

    def change_model(self, model: Any) -> None:
        """Scale masses and inertias, and what MuJoCo derives from them."""
        factor = self.level((1.15, 1.3, 1.6, 2.0, 3.0)) ** self.sign()
        model.body_mass[:] = factor * model.body_mass
        model.body_inertia[:] = factor * model.body_inertia
        import mujoco  # the model is there, so MuJoCo is

        mujoco.mj_setConst(model, mujoco.MjData(model))


@dataclass
class Friction(Perturbation):
    """Sliding friction of all geoms larger or smaller by a factor of 1.2, 1.5, 2, 3 or 4, drawn per episode."""

    writes = ("model.geom_friction", "model.pair_friction")

    def change_model(self, model: Any) -> None:
        """Scale the friction."""
        factor = self.level((1.2, 1.5, 2.0, 3.0, 4.0)) ** self.sign()
        model.geom_friction[:, 0] = factor * model.geom_friction[:, 0]
        if model.npair:
            model.pair_friction[:, :2] = factor * model.pair_friction[:, :2]


@dataclass
class Damping(Perturbation):
    """Joint damping larger or smaller by a factor of 1.3, 1.7, 2.5, 4 or 6, drawn per episode."""

    writes = ("model.dof_damping",)

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if offered.model is not None and not np.any(offered.model.dof_damping):
            return f"no joint of {offered.label} is damped"
        return super().refusal(offered)

    def change_model(self, model: Any) -> None:
        """Scale the damping."""
        model.dof_damping[:] = self.level((1.3, 1.7, 2.5, 4.0, 6.0)) ** self.sign() * model.dof_damping


@dataclass
class ActuatorGain(Perturbation):
    """Gains of all actuators larger or smaller by 5, 10, 20, 30 or 45 %, with their bias: a stiffer or softer servo."""

    writes = ("model.actuator_gainprm", "model.actuator_biasprm")

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if offered.model is not None and offered.model.nu == 0:
            return f"the model of {offered.label} has no actuator"
        return super().refusal(offered)

    def change_model(self, model: Any) -> None:
        """Scale gain and bias alike, so that a position servo keeps its resting place."""
        factor = 1 + self.sign() * self.level((0.05, 0.10, 0.20, 0.30, 0.45))
        model.actuator_gainprm[:, :3] = factor * model.actuator_gainprm[:, :3]
        model.actuator_biasprm[:, :3] = factor * model.actuator_biasprm[:, :3]


def _textured(model: Any) -> list[int]:
    """Return the numbers of the materials with a texture."""
    used = np.asarray(model.mat_texid).reshape(model.nmat, -1) if model.nmat else np.zeros((0, 1))
    return [int(i) for i in np.flatnonzero((used >= 0).any(axis=1))]


def _rotation(rng: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of a turn about an axis drawn uniformly."""
    x, y, z = _unit(rng.normal(size=3))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.sqrt(np.sum(vector * vector))


def _product(one: Iterable[float], other: Iterable[float]) -> NDArray[np.float64]:
    """Return the product of two quaternions (w, x, y, z)."""
    a, b, c, d = one
    w, x, y, z = other
    return np.array(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ]
    )
