"""The SO-101 arm: link frames, inertias, joint ranges and servo constants of MuJoCo Menagerie's `robotstudio_so101`.

The numbers are Menagerie's (see NOTICE); the visible and colliding shapes are primitives of our own. The jaws are thick
boxes: thin ones let a block tunnel through. The moving pad is rotated so that it is parallel to the fixed one when a
block is between them; pads that are not parallel squeeze the block out in transport.
"""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from act_eval.scenes.workspace import BLOCK_SIDE

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""Joint names in the order of `agent_pos` and of actions."""

HOME = (-0.005, -0.964, 0.895, 1.628, 0.005, 0.65)
"""Joint angles at reset [rad]: gripper open, pointing down, behind the blocks."""

PINCH_SITE = "pinch"
"""Site between the jaws at the centre of a grasped block; its x axis points along the fingers."""
FIXED_PAD = "fixed_pad"
MOVING_PAD = "moving_pad"

GRIPPER_OPEN = 0.65
"""Command that opens the jaws wide enough to pass over a block [rad]."""
GRIPPER_CLOSED = -0.1
"""Command that presses a block with all of the gripper's force [rad]."""
GRASP_ANGLE = 0.2
"""Gripper angle at which the pads are parallel, one block apart [rad]."""
CLOSING_THRESHOLD = 0.4
"""A gripper command below this is a command to close [rad]."""

_ARM_COLLISION = 1  # arm touches the world, never itself: its links cannot meet within these joint ranges
_GOLD = (0.94, 0.75, 0.20, 1.0)
_BLACK = (0.13, 0.13, 0.15, 1.0)


@dataclass(frozen=True)
class _Box:
    pos: tuple[float, float, float]
    half: tuple[float, float, float]
    rgba: tuple[float, float, float, float] = _GOLD


@dataclass(frozen=True)
class _Link:
    name: str
    pos: tuple[float, float, float]
    quat: tuple[float, float, float, float]
    joint: str
    range: tuple[float, float]
    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]  # xx yy zz xy xz yz
    boxes: tuple[_Box, ...]


# fmt: off
_LINKS = (
    _Link("shoulder", (0.0388353, 0, 0.0624), (0, 0, -1, 0), "shoulder_pan", (-1.91986, 1.91986),
          0.100006, (-0.0307604, -1.7e-05, -0.0252713),
          (8.3759e-05, 8.10403e-05, 2.39783e-05, 7.55525e-08, -1.16342e-06, 1.54663e-07),
          (_Box((-0.030, 0, -0.040), (0.024, 0.016, 0.016), _BLACK), _Box((-0.020, 0, -0.012), (0.030, 0.024, 0.012)))),
    _Link("upper_arm", (-0.0303992, -0.0182778, -0.0542), (1, -1, -1, -1), "shoulder_lift", (-1.7453293, 1.7453293),
          0.103, (-0.089847, -0.008382, 0.018409),
          (4.08002e-05, 0.000147318, 0.000142487, -1.97819e-05, -4.03016e-08, 8.97326e-09),
          (_Box((-0.055, -0.004, 0.0185), (0.062, 0.013, 0.020)),
           _Box((-0.112, -0.020, 0.0185), (0.014, 0.018, 0.018), _BLACK))),
    _Link("lower_arm", (-0.11257, -0.028, 0), (1, 0, 0, 1), "elbow_flex", (-1.69, 1.69),
          0.104, (-0.098070, 0.0032438, 0.018283),
          (2.87438e-05, 0.000159844, 0.00014529, 7.41152e-06, 1.26409e-06, -4.90188e-08),
          (_Box((-0.062, 0.001, 0.0182), (0.062, 0.011, 0.019)),
           _Box((-0.126, 0.005, 0.0182), (0.018, 0.013, 0.018), _BLACK))),
    _Link("wrist", (-0.1349, 0.0052, 0), (1, 0, 0, -1), "wrist_flex", (-1.658063, 1.658063),
          0.079, (-0.000103312, -0.0386143, 0.0281156),
          (3.68263e-05, 2.5391e-05, 2.1e-05, 1.7893e-08, -5.28128e-08, 3.6412e-06),
          (_Box((0, -0.030, 0.0181), (0.018, 0.026, 0.014), _BLACK),)),
    _Link("gripper", (0, -0.0611, 0.0181), (0.0172091, -0.0172091, 0.706897, 0.706897),
          "wrist_roll", (-2.7438473, 2.7438473),
          0.087, (0.000214, 0.000245, -0.025187),
          (2.75087e-05, 4.33657e-05, 3.45059e-05, -3.35241e-07, -5.7352e-06, -5.17847e-08),
          (_Box((-0.002, 0, -0.026), (0.026, 0.014, 0.018), _BLACK),
           _Box((-0.0205, 0, -0.058), (0.0065, 0.010, 0.018)))),
    _Link("moving_jaw", (0.0202, 0.0188, -0.0234), (1, 1, 0, 0), "gripper", (-0.174533, 1.7453292),
          0.012, (-0.001575, -0.0300244, 0.0192755),
          (6.61427e-06, 1.89032e-06, 5.28738e-06, -3.19807e-07, -5.90717e-09, -1.09945e-07),
          (_Box((0.001, -0.020, 0.0188), (0.008, 0.022, 0.010)),)),
)
# fmt: on
LINKS = ("base", *(link.name for link in _LINKS))
"""Body names from the base to the moving jaw."""
_BASE_MASS, _BASE_COM = 0.147, (0.0137179, -5.19711e-05, 0.0334843)
_BASE_INERTIA = (0.000114686, 0.000136117, 0.000130364, -4.59787e-07, 4.97151e-06, 9.75275e-08)

# Feetech STS3215 (Menagerie's class `sts3215`); the position gains are ours: Menagerie's kp 998, kv 2.7 ring for half
# a second after every 20 Hz command.
_DAMPING, _FRICTION_LOSS, _ARMATURE, _FORCE = 0.60, 0.052, 0.028, 2.94
_KP, _KV = 200.0, 6.0
_GRIPPER_KP, _GRIPPER_KV, _GRIPPER_FORCE = 20.0, 1.0, 0.6  # more force squeezes the block out

_PAD_HALF = (0.006, 0.010, 0.020)
_PAD_Z = -0.085  # centre of the pads along the fingers, gripper frame [m]
_FIXED_SURFACE = -0.008  # x of the fixed pad's inner face, gripper frame [m]
_PINCH_Z = -0.0955
_PAD = {"condim": 6, "friction": (1.0, 0.005, 0.0005), "priority": 1, "solref": (0.01, 1)}


def add_arm(spec: mujoco.MjSpec) -> None:
    """Add the arm with its base at the origin of the table frame, one position actuator per joint."""
    base = spec.worldbody.add_body(name="base")
    _set_inertia(base, _BASE_MASS, _BASE_COM, _BASE_INERTIA)
    _add_box(base, "base_foot", _Box((0.01, 0, 0.012), (0.055, 0.036, 0.012)))
    _add_box(base, "base_motor", _Box((0.026, 0, 0.043), (0.026, 0.018, 0.020), _BLACK))
    parent = base
    for link in _LINKS:
        parent = _add_link(spec, parent, link)
    _add_jaws(spec)
    spec.add_exclude(name="base_shoulder", bodyname1="base", bodyname2="shoulder")


def _add_link(spec: mujoco.MjSpec, parent: mujoco.MjsBody, link: _Link) -> mujoco.MjsBody:
    body = parent.add_body(name=link.name, pos=link.pos, quat=link.quat)
    _set_inertia(body, link.mass, link.com, link.inertia)
    body.add_joint(
        name=link.joint,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=(0, 0, 1),
        range=link.range,
        limited=True,
        damping=_DAMPING,
        frictionloss=_FRICTION_LOSS,
        armature=_ARMATURE,
    )
    for number, box in enumerate(link.boxes):
        _add_box(body, f"{link.name}_{number}", box)
    is_gripper = link.joint == "gripper"
    kp, kv, force = (_GRIPPER_KP, _GRIPPER_KV, _GRIPPER_FORCE) if is_gripper else (_KP, _KV, _FORCE)
    actuator = spec.add_actuator(name=link.joint, target=link.joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.set_to_position(kp=kp, kv=kv)
    actuator.ctrlrange, actuator.ctrllimited = link.range, True
    actuator.forcerange, actuator.forcelimited = (-force, force), True
    return body


def _add_jaws(spec: mujoco.MjSpec) -> None:
    gripper, jaw = spec.body("gripper"), spec.body("moving_jaw")
    _add_box(gripper, FIXED_PAD, _Box((_FIXED_SURFACE - _PAD_HALF[0], 0, _PAD_Z), _PAD_HALF), quat=(1, 0, 0, 0), **_PAD)
    # Pose of the moving pad in the jaw's frame: parallel to the fixed pad, one block away, at GRASP_ANGLE.
    at_grasp = np.array([_FIXED_SURFACE + BLOCK_SIDE + _PAD_HALF[0], 0, _PAD_Z]) - np.array(_LINKS[-1].pos)
    x, y, z = at_grasp[0], at_grasp[2], -at_grasp[1]  # the jaw's frame is the gripper's, turned by 90° about x
    cos, sin = np.cos(GRASP_ANGLE), np.sin(GRASP_ANGLE)
    grasp = np.array([np.cos(-GRASP_ANGLE / 2), 0, 0, np.sin(-GRASP_ANGLE / 2)])
    to_gripper = np.zeros(4)
    mujoco.mju_mulQuat(to_gripper, grasp, np.array([np.sqrt(0.5), -np.sqrt(0.5), 0, 0]))
    _add_box(jaw, MOVING_PAD, _Box((x * cos + y * sin, -x * sin + y * cos, z), _PAD_HALF), quat=to_gripper, **_PAD)
    gripper.add_site(
        name=PINCH_SITE,
        pos=(_FIXED_SURFACE + BLOCK_SIDE / 2, 0, _PINCH_Z),
        quat=(np.sqrt(0.5), 0, np.sqrt(0.5), 0),
        group=4,
    )


def _add_box(body: mujoco.MjsBody, name: str, box: _Box, **more: Any) -> None:
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=box.pos,
        size=box.half,
        rgba=box.rgba,
        mass=0,
        contype=_ARM_COLLISION,
        conaffinity=0,
        **more,
    )


def _set_inertia(body: mujoco.MjsBody, mass: float, com: tuple, inertia: tuple) -> None:
    body.explicitinertial = True
    body.mass, body.ipos, body.fullinertia = mass, com, inertia
