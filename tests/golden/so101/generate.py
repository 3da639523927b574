"""Write kinematics.json anew: `python tests/golden/so101/generate.py MENAGERIE/robotstudio_so101/so101.xml COMMIT`.

Where the links of MuJoCo Menagerie's SO-101 are, computed by MuJoCo from Menagerie's own file, of which only the
meshes are taken away, because they are not needed for it. Imports nothing of act_eval: it is what act_eval is held to.
"""

import hashlib
import json
import sys
from pathlib import Path

import mujoco
import numpy as np

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
LINKS = ("base", "shoulder", "upper_arm", "lower_arm", "wrist", "gripper", "moving_jaw_so101_v1")


def without_meshes(path: Path) -> mujoco.MjModel:
    """Return Menagerie's model with every geom that is a mesh left out, and the meshes with them."""
    spec = mujoco.MjSpec.from_file(str(path))
    for geom in [geom for geom in spec.geoms if geom.type == mujoco.mjtGeom.mjGEOM_MESH]:
        spec.delete(geom)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    return spec.compile()


def joint_vectors(model: mujoco.MjModel) -> np.ndarray:
    """Return (20, 6): zero, each joint alone at 0.5 rad, both ends of the ranges, and 11 places drawn from them."""
    low, high = np.array([model.joint(name).range for name in JOINTS]).T
    drawn = np.random.default_rng(0).uniform(low, high, (11, len(JOINTS)))
    return np.concatenate([np.zeros((1, 6)), 0.5 * np.eye(6), [low, high], drawn]).round(6)


def main(path: Path, commit: str) -> None:
    """Compute and write."""
    model = without_meshes(path)
    data = mujoco.MjData(model)
    rows = []
    for joints in joint_vectors(model):
        for name, angle in zip(JOINTS, joints, strict=True):
            data.joint(name).qpos = angle
        mujoco.mj_kinematics(model, data)
        poses = {name: [*data.body(name).xpos, *data.body(name).xmat] for name in LINKS}
        rows.append(
            {"joints": joints.tolist(), "links": {k: (np.round(v, 9) + 0.0).tolist() for k, v in poses.items()}}
        )
    content = {
        "origin": {
            "repository": "google-deepmind/mujoco_menagerie",
            "commit": commit,
            "file": "robotstudio_so101/so101.xml",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "licence": "Apache-2.0",
            "computed_with": f"mujoco {mujoco.__version__}",
        },
        "ranges": {name: model.joint(name).range.tolist() for name in JOINTS},
        "masses": {name: float(model.body(name).mass[0]) for name in LINKS},
        "poses": rows,
    }
    lines = json.dumps({**content, "poses": []}, indent=1).removesuffix("[]\n}")
    poses = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("kinematics.json").write_text(f"{lines}[\n{poses}\n]}}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
