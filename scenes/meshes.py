"""The robot's own meshes in place of the arm's primitives, for the eye only: what collides and moves stays the same.

Meshes, their places on the links and their colours are read from the user's copy of MuJoCo Menagerie; none is shipped.
The camera mount is left out: our wrist camera hovers where its plate would be and would see nothing else.
"""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from act_eval.errors import UsageError
from act_eval.scenes.arm import LINKS

ROOT_VARIABLE = "MENAGERIE_ROOT"
"""Environment variable that names a checkout of Menagerie; the package `mujoco-menagerie` calls it so too."""
MODEL = "robotstudio_so101"
"""Menagerie's folder of the arm."""
FILE = "so101.xml"

_THEIR_NAMES = {"moving_jaw": "moving_jaw_so101_v1"}  # links that Menagerie calls otherwise
_TOLERANCE = 1e-5  # by which link frames may differ, [m] and of unit quaternions
_DRAWN, _HIDDEN = 2, 3  # MuJoCo's visualisation groups; the renderers show 0 to 2
_HINT = (
    f"set {ROOT_VARIABLE} to a checkout of google-deepmind/mujoco_menagerie, or install its package: "
    "pip install mujoco-menagerie"
)


def menagerie_model() -> Path:
    """Return the folder of Menagerie's SO-101: under `MENAGERIE_ROOT`, or the copy of the package `mujoco-menagerie`.

    Raises:
        UsageError: if there is neither, saying how to get one.
    """
    if root := os.environ.get(ROOT_VARIABLE):
        folder = Path(root) / MODEL
    elif find_spec("mujoco_menagerie") is None:
        raise UsageError(f"robot_meshes: the meshes are not part of act_eval; {_HINT}")
    else:
        import mujoco_menagerie  # pyright: ignore[reportMissingImports]  # optional

        try:
            folder = mujoco_menagerie.get(MODEL).path()  # fetches it on first use
        except (mujoco_menagerie.MenagerieError, OSError) as error:
            raise UsageError(f"robot_meshes: mujoco-menagerie has no {MODEL} for us ({error}); {_HINT}") from error
    if not (folder / FILE).is_file():
        raise UsageError(f"robot_meshes: there is no {folder / FILE}; {_HINT}")
    return folder.resolve()


def put_on(spec: mujoco.MjSpec, folder: Path) -> str:
    """Hide the arm's primitives behind the meshes of a Menagerie model; nothing but the look changes.

    Args:
        spec: A scene with the arm, not compiled yet.
        folder: Menagerie's `robotstudio_so101`.

    Returns:
        SHA-256 of what the meshes' files hold, wherever they lie.

    Raises:
        UsageError: if the folder's model cannot be read, is of another arm, or lacks a mesh.
    """
    try:
        model = mujoco.MjSpec.from_file(str(folder / FILE))
    except ValueError as error:
        raise UsageError(f"robot_meshes: {folder / FILE} is no MuJoCo model: {error}") from error
    contents = hashlib.sha256()
    for link in LINKS:
        body, theirs = spec.body(link), model.body(_THEIR_NAMES.get(link, link))
        _check_frame(body, theirs, folder)
        for geom in body.geoms:
            geom.group = _HIDDEN
        visible = [g for g in theirs.geoms if g.type == mujoco.mjtGeom.mjGEOM_MESH and not (g.contype or g.conaffinity)]
        for number, geom in enumerate(visible):
            if spec.mesh(geom.meshname) is None:
                data = _add_mesh(spec, model, geom.meshname, folder)
                contents.update(hashlib.sha256(data).digest())
            body.add_geom(
                name=f"{link}_mesh_{number}",
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=geom.meshname,
                pos=geom.pos,
                quat=geom.quat,
                rgba=model.material(geom.material).rgba if geom.material else geom.rgba,
                group=_DRAWN,
                mass=0,
                contype=0,
                conaffinity=0,
            )
    if not spec.meshes:
        raise UsageError(f"robot_meshes: {folder / FILE} draws no mesh on any of {', '.join(LINKS)}")
    return contents.hexdigest()


def _check_frame(ours: mujoco.MjsBody, theirs: mujoco.MjsBody | None, folder: Path) -> None:
    """Refuse a model whose link has another pose on its parent: its meshes would not fit this arm."""
    if theirs is None:
        raise UsageError(f"robot_meshes: {folder / FILE} has no link {_THEIR_NAMES.get(ours.name, ours.name)!r}")
    turned = abs(ours.quat @ theirs.quat) / np.linalg.norm(ours.quat) / np.linalg.norm(theirs.quat)
    if np.abs(ours.pos - theirs.pos).max() > _TOLERANCE or 1 - turned > _TOLERANCE**2:
        raise UsageError(
            f"robot_meshes: {folder / FILE} is of another arm: {theirs.name} has pos {theirs.pos.tolist()}, "
            f"quat {theirs.quat.tolist()}, ours pos {ours.pos.tolist()}, quat {ours.quat.tolist()}"
        )


def _add_mesh(spec: mujoco.MjSpec, model: mujoco.MjSpec, name: str, folder: Path) -> bytes:
    """Add a mesh under its file's bare name, so that the scene knows no path; return what the file holds."""
    mesh = model.mesh(name)
    path = folder / model.meshdir / mesh.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"robot_meshes: {folder / FILE} names the mesh {path}: {error.strerror}") from error
    spec.assets[path.name] = data
    # The surface decides nothing here, and need not be closed.
    spec.add_mesh(name=name, file=path.name, scale=mesh.scale, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    return data
