"""Projection of points into the image of a fixed camera."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError


def projected(
    model: mujoco.MjModel, points: NDArray[np.floating], camera: str, height: int, width: int
) -> NDArray[np.float64]:
    """Return where points (..., 3) [m] appear in the image of a fixed camera, (..., 2) as x, y [px] from the top left.

    Points behind the camera give NaN.

    Raises:
        UsageError: if there is no such camera, or it moves with a body.
    """
    position, axes, slope = _fixed_camera(model, camera)
    right, up, back = np.moveaxis((np.asarray(points) - position) @ axes, -1, 0)
    depth = np.where(back < 0, -back, np.nan)
    focal = height / 2 / slope
    return np.stack([width / 2 + focal * right / depth, height / 2 - focal * up / depth], axis=-1)


def table_homography(model: mujoco.MjModel, camera: str, height: float) -> tuple[float, ...]:
    """Return the matrix (9,), row by row, from (x, y, 1) [m] to a square image's (u, v, 1) up to scale.

    u and v go from 0 at the upper left corner to 1, for any image size.

    Args:
        model: compiled scene.
        camera: a camera that does not move.
        height: of the plane above the table [m].

    Raises:
        UsageError: if there is no such camera, or it moves with a body.
    """
    position, axes, slope = _fixed_camera(model, camera)
    # Columns: what x, y and 1 contribute to a point's coordinates along the camera's axes (right, up, back).
    plane = np.array([[1, 0, 0], [0, 1, 0], [0, 0, height]]) - np.outer(position, [0, 0, 1])
    right, up, back = axes.T @ plane
    focal, depth = 0.5 / slope, -back
    return tuple(np.concatenate([focal * right + depth / 2, depth / 2 - focal * up, depth]).tolist())


def _fixed_camera(model: mujoco.MjModel, camera: str) -> tuple[NDArray[np.float64], NDArray[np.float64], np.float64]:
    """Return a camera's position (3,) [m], its axes right, up, back as columns (3, 3), and tan(fovy / 2)."""
    number = camera_id(model, camera)
    if model.cam_bodyid[number] != 0:
        raise UsageError(f"camera {camera!r} moves with the arm: its view of a point changes from step to step")
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.cam_quat[number])
    return model.cam_pos[number], axes.reshape(3, 3), np.tan(np.radians(model.cam_fovy[number]) / 2)


def camera_id(model: mujoco.MjModel, name: str) -> int:
    """Return the id of a camera.

    Raises:
        UsageError: if the model has no such camera; the text lists those it has.
    """
    number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    if number < 0:
        names = sorted(model.camera(i).name for i in range(model.ncam))
        raise UsageError(f"camera {name!r} is not in the scene; cameras: {names}")
    return number
