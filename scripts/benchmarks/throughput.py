"""Environment steps per second with rendered cameras, against bare MuJoCo and gym-aloha, in turn in one process.

python scripts/benchmarks/throughput.py --rounds 20
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import tyro
from rendering import bare_frame, data_at_home

import act_eval.envs  # noqa: F401  # registers the environments
from act_eval.envs.adapters import Declaration
from act_eval.scenes.arm import HOME
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.scenes.workspace import SUBSTEPS
from act_eval.sources.external_envs import make_adapted

CAMERAS = ("overhead", "wrist")
ALOHA = "gym_aloha/AlohaTransferCube-v0"
ALOHA_SIZE = (480, 640)

Step = Callable[[], object]


@dataclass(frozen=True)
class Arguments:
    """Measure the processor time of a step; the contestants take turns, a round each."""

    sizes: tuple[int, ...] = (64, 96, 128, 192)
    """Heights and widths of our two cameras [px]."""
    steps: int = 100
    """Steps of a round."""
    rounds: int = 20
    """Rounds of each contestant."""
    aloha_steps: int = 3
    """Steps of a round of gym-aloha, where it is installed."""
    json: Path | None = None
    """File for the numbers."""


def main() -> None:
    """Print steps per second of each contestant, and the ratios."""
    arguments = tyro.cli(Arguments, description=__doc__)
    contestants = {
        f"{who} {size}": (make(size), arguments.steps)
        for size in arguments.sizes
        for who, make in (("bare", bare), ("ours", ours))
    }
    contestants["ours, no camera"] = (ours(96, look=False), arguments.steps)
    contestants["ours, one 480x640"] = (ours_rendering(), arguments.aloha_steps)
    if find_spec("gym_aloha") is not None:
        contestants["gym-aloha, one 480x640"] = (aloha(), arguments.aloha_steps)
    times = measured(contestants, arguments.rounds)
    renderer = renderer_for(compile_scene(SceneConfig()).model).name
    print(f"MuJoCo {mujoco.__version__}, {renderer}, {arguments.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, seconds in times.items():
        print(f"{name:<24} {1 / np.median(seconds):8.1f} steps/s (quartiles {quartiles(1 / seconds)})")
    ratios = {f"{size}": times[f"bare {size}"] / times[f"ours {size}"] for size in arguments.sizes}
    for size, ratio in ratios.items():
        print(f"ours / bare at two {size}²: {np.median(ratio):.3f} (quartiles {quartiles(ratio)})")
    if "gym-aloha, one 480x640" in times:
        slow = times["gym-aloha, one 480x640"]
        for name in ("ours 96", "ours, one 480x640"):
            print(f"{name} / gym-aloha with its defaults: {np.median(slow) / np.median(times[name]):.1f}")
    else:
        print("gym-aloha is not installed here: it is left out")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({name: seconds.tolist() for name, seconds in times.items()}) + "\n")


def measured(contestants: dict[str, tuple[Step, int]], rounds: int) -> dict[str, Any]:
    """Return the processor time of a step in every round but the first, which warms up, (rounds,) [s]."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    drawing = renderer_for(compile_scene(SceneConfig()).model).bound
    for _ in range(rounds + 1):
        for name, (step, count) in contestants.items():
            # Held through a round, as in a process that has no other package's context.
            with nullcontext() if name.startswith("gym-aloha") else drawing.current():
                began = time.process_time()
                for _ in range(count):
                    step()
                times[name].append((time.process_time() - began) / count)
    return {name: np.array(values[1:]) for name, values in times.items()}


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
    assert np.shape(_rendered(env)) == (*ALOHA_SIZE, 3)
    step = _endless(env, np.array(HOME, np.float32))
    return lambda: (step(), env.render())


def aloha() -> Step:
    """Return a step of gym-aloha with its defaults: one camera of 480 × 640, MuJoCo's usual drawing."""
    env = make_adapted(ALOHA, {"obs_type": "pixels_agent_pos"}, Declaration(), film=False).env
    return _endless(env, np.zeros(14, np.float32))


def _rendered(env: gym.Env[Any, Any]) -> Any:
    env.reset(seed=3)
    return env.render()


def _endless(env: gym.Env[Any, Any], action: Any) -> Step:
    env.reset(seed=3)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(seed=3)

    return step


if __name__ == "__main__":
    main()
