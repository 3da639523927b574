"""A folder that stands in for a checkout of MuJoCo Menagerie: its layout and the arm's link frames, boxes as meshes.

Drawn on purpose: magenta, one box on every link. Not drawn: cyan, on the camera mount, and green, which collides.
"""

import struct
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from act_eval.scenes.arm import LINKS
from act_eval.scenes.scene import SceneConfig, build_spec

MOUNT = """<body name="camera_mount"><geom class="visual" mesh="mount" rgba="0 1 1 1"/></body>
<geom type="mesh" mesh="tip" rgba="0 1 0 1" group="4"/>"""


def write_menagerie(root: Path, *, half: float = 0.03, shoulder_z: float | None = None, frames: bool = True) -> Path:
    """Write `root/robotstudio_so101`; return the root.

    Args:
        root: The checkout.
        half: Half the side of a link's box [m].
        shoulder_z: Height of the shoulder on the base [m]; the arm's own by default.
        frames: Whether links other than the base are there.
    """
    folder = root / "robotstudio_so101"
    (folder / "assets").mkdir(parents=True)
    for name, size in (("part", half), ("mount", 0.05), ("tip", 0.05)):
        (folder / "assets" / f"{name}.stl").write_bytes(box_stl(size))
    spec = build_spec(SceneConfig())
    body = ""
    for link in reversed(LINKS if frames else LINKS[:1]):
        pos, quat = spec.body(link).pos.copy(), spec.body(link).quat
        if link == "shoulder" and shoulder_z is not None:
            pos[2] = shoulder_z
        name = "moving_jaw_so101_v1" if link == "moving_jaw" else link
        inside = '<geom class="visual" mesh="part" material="paint"/>' + (MOUNT if link == "gripper" else "")
        joint = "" if link == "base" else "<joint/>"
        inertial = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        body = f'<body name="{name}" pos="{_text(pos)}" quat="{_text(quat)}">{joint}{inertial}{inside}{body}</body>'
    (folder / "so101.xml").write_text(f"""<mujoco model="so101">
<compiler angle="radian" meshdir="assets"/>
<default><default class="visual"><geom type="mesh" contype="0" conaffinity="0" group="2"/></default></default>
<asset><mesh file="part.stl"/><mesh file="mount.stl"/><mesh file="tip.stl"/>
<material name="paint" rgba="1 0 1 1"/></asset>
<worldbody>{body}</worldbody></mujoco>""")
    return root


def box_stl(half: float) -> bytes:
    """Return a cube as a binary STL file."""
    corners = np.array(list(product((-half, half), repeat=3)), np.float32)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [(a, b, c) for a, *rest in faces for b, c in pairwise(rest)]
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *corners[list(t)].ravel(), 0) for t in triangles)
    return bytes(80) + struct.pack("<I", len(triangles)) + body


def _text(numbers: np.ndarray) -> str:
    return " ".join(map(str, numbers))
