"""Where places on the table appear in a fixed camera's image, as a homography that a policy can take along."""

import mujoco
import numpy as np

from act_eval.errors import UsageError
from act_eval.scenes.rendering import camera_id


def table_homography(model: mujoco.MjModel, camera: str, height: float) -> tuple[float, ...]:
    """Return the matrix (9,), row by row, from (x, y, 1) [m] to a square image's (u, v, 1) up to scale.

    u and v go from 0 at the upper left corner to 1, whatever the image's size.

    Args:
        model: compiled scene.
        camera: a camera that does not move.
        height: of the plane above the table [m].

    Raises:
        UsageError: if there is no such camera, or it moves with a body.
    """
    number = camera_id(model, camera)
    if model.cam_bodyid[number] != 0:
        raise UsageError(f"camera {camera!r} moves with the arm: where a place appears depends on the moment")
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.cam_quat[number])
    # Columns: what x, y and 1 contribute to a point's place along the camera's axes (right, up, back).
    plane = np.array([[1, 0, 0], [0, 1, 0], [0, 0, height]]) - np.outer(model.cam_pos[number], [0, 0, 1])
    right, up, back = axes.reshape(3, 3).T @ plane
    focal = 0.5 / np.tan(np.radians(model.cam_fovy[number]) / 2)
    depth = -back
    return tuple(np.concatenate([focal * right + depth / 2, depth / 2 - focal * up, depth]).tolist())
