"""A scene is a function from a frozen configuration to a compiled MuJoCo model, with the addresses that others need."""

import hashlib
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.scenes import arm, meshes, tabletop
from act_eval.scenes.workspace import PHYSICS_STEP
from act_eval.types.scene import Variation

_PLAIN = Variation()


@dataclass(frozen=True)
class SceneConfig:
    """Content of the scene."""

    confusers: int = 1
    """Number of blocks beside the target, 0 to 3."""
    identical: bool = True
    """Whether the confusers look like the target; otherwise each has a colour of its own."""
    robot_meshes: Path | None = None
    """Folder of the Menagerie model whose meshes the arm shows; None: primitives."""
    variation: Variation = _PLAIN
    """What a perturbation changes."""

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        if not 0 <= self.confusers <= len(tabletop.OTHER_RGBA):
            raise UsageError(f"confusers is {self.confusers}; 0 to {len(tabletop.OTHER_RGBA)} are allowed")

    @property
    def blocks(self) -> tuple[str, ...]:
        """Body names of all blocks, the target first."""
        return (tabletop.TARGET, *(tabletop.confuser_name(n) for n in range(self.confusers)))


@dataclass(frozen=True)
class Scene:
    """A compiled scene; the model is shared and never written to, unless `own` made the scene."""

    config: SceneConfig
    model: mujoco.MjModel
    drawn_by: mujoco.MjModel
    """The model whose meshes and textures the renderer holds; it draws copies of it too."""
    joint_qpos: NDArray[np.int64]
    """(6,) addresses of the arm's joints in qpos."""
    joint_qvel: NDArray[np.int64]
    """(6,) addresses of the arm's joints in qvel."""
    block_qpos: NDArray[np.int64]
    """(1 + confusers,) first address of each block's free joint in qpos."""
    block_qvel: NDArray[np.int64]
    """(1 + confusers,) first address of each block's free joint in qvel."""
    block_body: NDArray[np.int64]
    """(1 + confusers,) body ids."""
    block_geom: NDArray[np.int64]
    """(1 + confusers,) geom ids."""
    pad_geom: NDArray[np.int64]
    """(2,) geom ids of the fixed and the moving pad."""
    pinch_site: int
    action_low: NDArray[np.float32]
    """(6,) lower joint limits [rad]."""
    action_high: NDArray[np.float32]
    """(6,) upper joint limits [rad]."""
    digest: str
    """SHA-256 over the scene's XML and its meshes: equal for equal scenes on any machine."""

    def own(self) -> "Scene":
        """Return the scene with a copy of the model, which may be written to."""
        return self if self.model is not self.drawn_by else replace(self, model=copy(self.model))

    def varied(self, variation: Variation) -> "Scene":
        """Return a varied scene, whose model may be written to; scenes with the same objects share a renderer."""
        places = tuple((0.3, 0.05 * number) for number in range(len(variation.distractors)))
        shape = Variation(distractors=places, table_pattern=variation.table_pattern)
        drawn, config = compile_scene(replace(self.config, variation=shape)), replace(self.config, variation=variation)
        return replace(drawn, config=config, model=_compiled(config)[0])


def build_spec(config: SceneConfig) -> mujoco.MjSpec:
    """Return the editable scene of a configuration."""
    spec = mujoco.MjSpec()
    spec.modelname = "act_eval"
    spec.compiler.degree = False
    spec.option.timestep = PHYSICS_STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.visual.quality.offsamples = 0  # multisampling and shadows cost 50 times the rest in software rendering
    spec.visual.quality.shadowsize = 0
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0, 0, 0)
    spec.visual.map.znear = 0.01
    spec.stat.extent = 1.0
    spec.stat.center = (0.2, 0.0, 0.05)
    tabletop.add_tabletop(spec, config.variation)
    arm.add_arm(spec)
    for number, name in enumerate(config.blocks):
        own_colour = number > 0 and not config.identical
        rgba = tabletop.OTHER_RGBA[number - 1] if own_colour else tabletop.TARGET_RGBA
        tabletop.add_block(spec, name, rgba, config.variation.block_scale)
    for camera in (tabletop.OVERHEAD, tabletop.WRIST, tabletop.REVIEW):
        tabletop.add_camera(spec, camera)
    return spec


@lru_cache(maxsize=16)
def compile_scene(config: SceneConfig) -> Scene:
    """Return the compiled scene; equal configurations share one model within a process.

    Raises:
        UsageError: if the robot's meshes are missing, damaged, or those of another arm.
    """
    model, digest = _compiled(config)
    joints = [model.joint(name) for name in arm.JOINTS]
    blocks = [model.joint(name) for name in config.blocks]
    return Scene(
        config=config,
        model=model,
        drawn_by=model,
        joint_qpos=np.array([j.qposadr[0] for j in joints]),
        joint_qvel=np.array([j.dofadr[0] for j in joints]),
        block_qpos=np.array([b.qposadr[0] for b in blocks]),
        block_qvel=np.array([b.dofadr[0] for b in blocks]),
        block_body=np.array([model.body(name).id for name in config.blocks]),
        block_geom=np.array([model.geom(name).id for name in config.blocks]),
        pad_geom=np.array([model.geom(arm.FIXED_PAD).id, model.geom(arm.MOVING_PAD).id]),
        pinch_site=model.site(arm.PINCH_SITE).id,
        action_low=model.actuator_ctrlrange[:, 0].astype(np.float32),
        action_high=model.actuator_ctrlrange[:, 1].astype(np.float32),
        digest=digest,
    )


def _compiled(config: SceneConfig) -> tuple[mujoco.MjModel, str]:
    """Return the model of a configuration, and the scene's digest."""
    spec = build_spec(config)
    worn = "" if config.robot_meshes is None else meshes.put_on(spec, config.robot_meshes)
    try:
        model = spec.compile()
    except ValueError as error:
        if config.robot_meshes is None:
            raise
        raise UsageError(f"robot_meshes: a mesh of {config.robot_meshes} cannot be used: {error}") from error
    return model, hashlib.sha256((spec.to_xml() + worn).encode()).hexdigest()
