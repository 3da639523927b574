"""Everything on the table but the arm: table top, tray, blocks, lights and cameras."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from act_eval.scenes.workspace import BLOCK_SIDE, TRAY, TRAY_FLOOR, TRAY_HEIGHT, TRAY_WALL
from act_eval.types.scene import Variation

_WORLD_COLLISION = 2  # of table, tray and blocks: they meet each other and the arm
_WORLD_AFFINITY = 3

TARGET = "target"
TARGET_RGBA = (0.80, 0.16, 0.13, 1.0)
OTHER_RGBA = ((0.13, 0.35, 0.80, 1.0), (0.15, 0.60, 0.25, 1.0), (0.55, 0.20, 0.65, 1.0))
"""Colours of the confusers where they are not identical to the target."""


def confuser_name(number: int) -> str:
    """Return the body name of the confuser with this number (from 0)."""
    return f"confuser{number}"


@dataclass(frozen=True)
class Camera:
    """A fixed camera: in the table frame, or in the frame of the body it is mounted on."""

    name: str
    position: tuple[float, float, float]
    """[m]"""
    look_at: tuple[float, float, float]
    """[m]"""
    up: tuple[float, float, float]
    fovy: float
    """Vertical field of view [degrees]."""
    body: str | None = None

    def axes(self) -> np.ndarray:
        """Return the camera's x and y axes in its parent's frame, (6,), as MuJoCo's `xyaxes`."""
        back = np.subtract(self.position, self.look_at)
        back = back / np.linalg.norm(back)
        right = np.cross(self.up, back)
        right = right / np.linalg.norm(right)
        return np.concatenate([right, np.cross(back, right)])


OVERHEAD = Camera("overhead", (0.36, -0.015, 0.42), (0.155, -0.015, 0.0), (-1, 0, 0), 46)
WRIST = Camera("wrist", (0.003, 0.062, -0.035), (0.003, 0.006, -0.115), (0, 1, 0), 62, body="gripper")
REVIEW = Camera("review", (0.52, -0.30, 0.34), (0.15, -0.01, 0.04), (0, 0, 1), 42)


TABLE_RGBA = (0.62, 0.60, 0.57, 1.0)
_PATTERN_CONTRAST = (0.10, 0.20, 0.35, 0.55, 0.80)  # of the checkers, by pattern
_CHECKER = 0.04  # side of a checker [m]
_DISTRACTORS = (
    (mujoco.mjtGeom.mjGEOM_CYLINDER, (0.011, 0.015, 0), (0.85, 0.65, 0.10, 1.0)),
    (mujoco.mjtGeom.mjGEOM_SPHERE, (0.013, 0, 0), (0.30, 0.55, 0.75, 1.0)),
    (mujoco.mjtGeom.mjGEOM_ELLIPSOID, (0.016, 0.009, 0.012), (0.75, 0.30, 0.55, 1.0)),
    (mujoco.mjtGeom.mjGEOM_CAPSULE, (0.008, 0.010, 0), (0.35, 0.60, 0.30, 1.0)),
    (mujoco.mjtGeom.mjGEOM_CYLINDER, (0.015, 0.006, 0), (0.20, 0.20, 0.22, 1.0)),
)
"""Shape, sizes [m] and colour of each distractor."""


def add_tabletop(spec: mujoco.MjSpec, variation: Variation) -> None:
    """Add the table top, the tray, the lights, and what a variation puts beside them."""
    world, up = spec.worldbody, variation.table_height
    _add_box(world, "table", (0.35, 0.40, 0.02), TABLE_RGBA, pos=(0.2, 0, up - 0.02), **_pattern(spec, variation))
    half_x, half_y, wall = (TRAY.high[0] - TRAY.low[0]) / 2, (TRAY.high[1] - TRAY.low[1]) / 2, TRAY_WALL / 2
    (x0, y0), (x1, y1) = (np.add(corner, variation.tray_shift) for corner in (TRAY.low, TRAY.high))
    cx, cy = np.add(TRAY.centre, variation.tray_shift)
    tray = (0.20, 0.45, 0.42, 1.0)
    rim = (0.13, 0.33, 0.31, 1.0)
    z, half_z = TRAY_HEIGHT / 2 + up, TRAY_HEIGHT / 2
    _add_box(world, "tray_floor", (half_x, half_y, TRAY_FLOOR / 2), tray, pos=(cx, cy, TRAY_FLOOR / 2 + up))
    _add_box(world, "tray_near", (wall, half_y + TRAY_WALL, half_z), rim, pos=(x0 - wall, cy, z))
    _add_box(world, "tray_far", (wall, half_y + TRAY_WALL, half_z), rim, pos=(x1 + wall, cy, z))
    _add_box(world, "tray_right", (half_x, wall, half_z), rim, pos=(cx, y0 - wall, z))
    _add_box(world, "tray_left", (half_x, wall, half_z), rim, pos=(cx, y1 + wall, z))
    for name, pos, diffuse in (("key", (0.5, 0.4, 1.0), 0.55), ("fill", (0.3, -0.6, 0.9), 0.35)):
        world.add_light(
            name=name,
            pos=pos,
            dir=np.subtract((0.17, 0, 0), pos),
            diffuse=(diffuse,) * 3,
            specular=(0.1,) * 3,
            castshadow=False,
        )

    for number, (place, (shape, size, rgba)) in enumerate(zip(variation.distractors, _DISTRACTORS, strict=False)):
        half = {mujoco.mjtGeom.mjGEOM_CYLINDER: size[1], mujoco.mjtGeom.mjGEOM_CAPSULE: size[0] + size[1]}
        height = half.get(shape, size[2] or size[0])
        _add_geom(world, f"distractor{number}", shape, size, rgba, pos=(*place, up + height))


def add_block(spec: mujoco.MjSpec, name: str, rgba: tuple[float, float, float, float], scale: float) -> None:
    """Add a free cube of side `BLOCK_SIDE` [m] and 20 g, its side times `scale` at the same density."""
    side = BLOCK_SIDE * scale
    body = spec.worldbody.add_body(name=name, pos=(0, 0, side / 2))
    body.add_freejoint(name=name)
    _add_box(body, name, (side / 2,) * 3, rgba, mass=0.02 * scale**3, condim=4)


def add_camera(spec: mujoco.MjSpec, camera: Camera) -> None:
    """Add a camera to the world or to the body that it names."""
    parent = spec.worldbody if camera.body is None else spec.body(camera.body)
    rotation = np.column_stack([camera.axes()[:3], camera.axes()[3:], np.cross(camera.axes()[:3], camera.axes()[3:])])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    parent.add_camera(name=camera.name, pos=camera.position, quat=quat, fovy=camera.fovy)


def _pattern(spec: mujoco.MjSpec, variation: Variation) -> dict[str, Any]:
    """Add the material of a checkered table top; return its name as a geom takes it."""
    if variation.table_pattern == 0:
        return {}
    contrast = _PATTERN_CONTRAST[variation.table_pattern - 1]
    spec.add_texture(
        name="checkers",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(1, 1, 1),
        rgb2=(1 - contrast,) * 3,
        width=64,
        height=64,
    )
    material = spec.add_material(name="checkers", texrepeat=(0.5 / _CHECKER,) * 2, texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checkers"
    return {"material": "checkers"}


def _add_box(body: mujoco.MjsBody, name: str, half: tuple, rgba: tuple, **more: Any) -> None:
    _add_geom(body, name, mujoco.mjtGeom.mjGEOM_BOX, half, rgba, **more)


def _add_geom(body: mujoco.MjsBody, name: str, shape: Any, size: tuple, rgba: tuple, **more: Any) -> None:
    body.add_geom(
        name=name,
        type=shape,
        size=size,
        rgba=rgba,
        contype=_WORLD_COLLISION,
        conaffinity=_WORLD_AFFINITY,
        friction=(0.8, 0.005, 0.0005),
        **more,
    )
