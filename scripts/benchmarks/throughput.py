"""Environment steps per second with rendered cameras, against bare MuJoCo and gym-aloha, in turn in one process.

python scripts/benchmarks/throughput.py --rounds 20
"""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import tyro
from in_turn import in_turn
from rendering import bare_frame, data_at_home

import act_eval.envs  # noqa: F401  # registers the environments
from act_eval.envs.adapters import Declaration
from act_eval.scenes.arm import HOME
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.scenes.workspace import SUBSTEPS
from act_eval.sources.external_envs import make_adapted

CAMERAS = ("overhead", "wrist")
OURS, OURS_RENDERING, ALOHA = "ours 96", "ours, one 480x640", "gym-aloha, one 480x640"
ALOHA_SIZE = (480, 640)

Step = Callable[[], object]


def main(
    sizes: tuple[int, ...] = (64, 96, 128, 192),
    steps: int = 100,
    rounds: int = 20,
    aloha_steps: int = 3,
    json_file: Path | None = None,
) -> None:
    """Measure the processor time of a step; the contestants take turns, a round each.

    Args:
        sizes: Heights and widths of our two cameras [px].
        steps: Steps of a round.
        rounds: Rounds of each contestant, after one that warms up.
        aloha_steps: Steps of a round of gym-aloha, where it is installed.
        json_file: File for the numbers.
    """
    contestants: dict[str, Callable[[], int]] = {}
    for size in sizes:
        contestants[f"bare {size}"] = _round(bare(size), steps)
        contestants[f"ours {size}"] = _round(ours(size), steps)
    contestants["ours, no camera"] = _round(ours(96, look=False), steps)
    contestants[OURS_RENDERING] = _round(ours_rendering(), aloha_steps)
    if find_spec("gym_aloha") is not None:
        contestants[ALOHA] = _round(aloha(), aloha_steps, drawing=False)
    times = in_turn(contestants, rounds)
    renderer = renderer_for(compile_scene(SceneConfig()).model).name
    print(f"MuJoCo {mujoco.__version__}, {renderer}, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, seconds in times.items():
        print(f"{name:<24} {1 / np.median(seconds):8.1f} steps/s (quartiles {quartiles(1 / seconds)})")
    for size in sizes:
        ratio = times[f"bare {size}"] / times[f"ours {size}"]
        print(f"ours / bare at two {size}²: {np.median(ratio):.3f} (quartiles {quartiles(ratio)})")
    if ALOHA in times:
        for name in (OURS, OURS_RENDERING):
            print(f"{name} / gym-aloha with its defaults: {np.median(times[ALOHA]) / np.median(times[name]):.1f}")
    else:
        print("gym-aloha is not installed here: it is left out")
    if json_file is not None:
        json_file.write_text(json.dumps({name: seconds.tolist() for name, seconds in times.items()}) + "\n")


def _round(step: Step, count: int, drawing: bool = True) -> Callable[[], int]:
    """Return a call that takes `count` steps and returns their number.

    Our drawing context is held through a round, as in a process that has no other package's context.
    """
    bound = renderer_for(compile_scene(SceneConfig()).model).bound

    def run() -> int:
        with bound.current() if drawing else nullcontext():
            for _ in range(count):
                step()
        return count

    return run


def quartiles(values: Any) -> str:
    """Return the first and third quartile as text."""
    low, high = np.percentile(values, [25, 75])
    return f"{low:.3g} … {high:.3g}"


def bare(size: int) -> Step:
    """Return a control step of nothing but MuJoCo's own calls: physics, then update, render and read two cameras."""
    scene = compile_scene(SceneConfig())
    data = data_at_home(scene)
    renderer = renderer_for(scene.model)
    frames = [bare_frame(renderer, scene.model, data, camera, size) for camera in CAMERAS]

    def step() -> None:
        mujoco.mj_step(scene.model, data, SUBSTEPS)
        for frame in frames:
            frame()

    return step


def ours(size: int, look: bool = True) -> Step:
    """Return a step of our environment with both cameras, or with none."""
    env = gym.make("act_eval/ConfuserPick-v0", image_size=size, disable_env_checker=True)
    base: Any = env.unwrapped
    base.skip_cameras(not look)
    return _endless(env, np.array(HOME, np.float32))


def ours_rendering() -> Step:
    """Return a step of our environment with one image of gym-aloha's size."""
    env = gym.make("act_eval/ConfuserPick-v0", render_mode="rgb_array", disable_env_checker=True)
    base: Any = env.unwrapped
    base.skip_cameras(True)
    step = _endless(env, np.array(HOME, np.float32))
    assert np.shape(env.render()) == (*ALOHA_SIZE, 3)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return lambda: (step(), env.render())


def aloha() -> Step:
    """Return a step of gym-aloha with its defaults: one camera of 480 × 640, MuJoCo's usual drawing."""
    name = "gym_aloha/AlohaTransferCube-v0"
    env = make_adapted(name, {"obs_type": "pixels_agent_pos"}, Declaration(), film=False).env
    return _endless(env, np.zeros(14, np.float32))


def _endless(env: gym.Env[Any, Any], action: Any) -> Step:
    env.reset(seed=3)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(seed=3)

    return step


if __name__ == "__main__":
    tyro.cli(main)
