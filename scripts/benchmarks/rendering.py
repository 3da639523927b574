"""Cost of rendering one camera, against MuJoCo's bare update, render and read calls.

python scripts/benchmarks/rendering.py --size 96
"""

import time
from collections.abc import Callable

import mujoco
import numpy as np
import tyro
from in_turn import in_turn

from act_eval.scenes.arm import HOME
from act_eval.scenes.meshes import menagerie_model
from act_eval.scenes.rendering import OffscreenRenderer, renderer_for
from act_eval.scenes.scene import Scene, SceneConfig, compile_scene
from act_eval.scenes.workspace import BLOCK_SIDE


def main(size: int = 96, frames: int = 1000, robot_meshes: bool = False) -> None:
    """Compare our renderer with the bare calls, in turn, frame by frame.

    Args:
        size: Height and width of the image [px].
        frames: Frames of each.
        robot_meshes: Draw the robot's meshes, from the copy of MuJoCo Menagerie that MENAGERIE_ROOT names.
    """
    scene = compile_scene(SceneConfig(robot_meshes=menagerie_model() if robot_meshes else None))
    data = data_at_home(scene)
    renderer = renderer_for(scene.model)
    contestants = {
        "bare": bare_frame(renderer, scene.model, data, "overhead", size),
        "ours": lambda: renderer.render(data, "overhead", size, size),
    }
    times_ms = {name: 1e3 * s for name, s in in_turn(contestants, frames, time.perf_counter, warm_up=0).items()}
    bare_ms, ours_ms = (np.median(times_ms[name]) for name in contestants)
    ratio = np.median(times_ms["ours"] / times_ms["bare"])
    print(f"renderer {renderer.name}, {size} × {size}, {frames} frames of each, in turn")
    print(f"bare {bare_ms:.3f} ms, ours {ours_ms:.3f} ms, ratio of pairs {ratio:.3f} (median)")


def data_at_home(scene: Scene) -> mujoco.MjData:
    """Return simulator data with the arm at its home pose and the blocks on the table."""
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = data.ctrl[:] = HOME
    for number, address in enumerate(scene.block_qpos):
        data.qpos[address : address + 3] = [0.2, 0.1 * number, BLOCK_SIDE / 2]
    mujoco.mj_forward(scene.model, data)
    return data


def bare_frame(
    renderer: OffscreenRenderer, model: mujoco.MjModel, data: mujoco.MjData, name: str, size: int
) -> Callable[[], None]:
    """Return a call that updates, renders and reads one frame of a camera with MuJoCo's own calls."""
    renderer.render(data, name, size, size)  # makes OpenGL's context current
    view = mujoco.MjvScene(model, maxgeom=200)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
        view.flags[flag] = False
    option, camera = mujoco.MjvOption(), mujoco.MjvCamera()
    option.sitegroup[:] = 0
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
    viewport = mujoco.MjrRect(0, 0, size, size)
    model.vis.global_.offwidth = model.vis.global_.offheight = size
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)

    def frame() -> None:
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
        mujoco.mjv_updateScene(model, data, option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, view)
        mujoco.mjr_render(viewport, view, context)
        pixels = np.empty((size, size, 3), np.uint8)  # as every caller of a renderer needs
        mujoco.mjr_readPixels(pixels, None, viewport, context)

    return frame


if __name__ == "__main__":
    tyro.cli(main)
