"""Duration of `evaluate` against LeRobot's own `lerobot-eval`, whole commands in turn, the same policy and environment.

python scripts/benchmarks/lerobot_eval.py --lerobot-python PYTHON --episodes 100 --rounds 3

PYTHON is the interpreter of an environment with LeRobot and the packages that act_eval needs (docs/lerobot.md).
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import gymnasium as gym
import mujoco
import numpy as np
import torch
import tyro
from evaluation import EVALUATE, timed
from in_turn import request_of

import act_eval.envs
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.precision import has_bf16
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.results.records import read_episodes
from act_eval.rollout import batch_observations
from act_eval.scenes.arm import HOME
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.scenes.workspace import SUBSTEPS
from act_eval.sources.policies import checkpoint_folder

ROOT = Path(__file__).parents[2]
BF16 = has_bf16("cpu")
PACKAGE = (*(("--precision", "bf16") if BF16 else ()), "--compile", "default")
OURS = {
    "evaluate": ("--video", "none"),
    "evaluate, bf16, package" if BF16 else "evaluate, package": ("--video", "none", *PACKAGE),
    "evaluate, every episode filmed": ("--video", "all"),
}


@dataclass(frozen=True)
class Arguments:
    """Measure both."""

    lerobot_python: Path
    """Interpreter of LeRobot."""
    policy: str = "act_rtc"
    """A shipped policy or a checkpoint folder."""
    env: str = "confuser_pick"
    """Environment."""
    episodes: int = 100
    """Episodes of each run; `lerobot-eval` films the first ten."""
    rounds: int = 3
    """Runs of each contestant."""
    vectors: tuple[Literal["synchronous", "asynchronous"], ...] = ("synchronous", "asynchronous")
    """Modes of `lerobot-eval`, whose default is the slower second one."""


def main(arguments: Arguments) -> None:
    """Print the duration of each contestant, and for ours its ratio and its computed bound."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    walls: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        _evaluate(arguments, out / "first", 1, *PACKAGE)  # makes the package; both have their modules compiled
        _lerobot_eval(replace(arguments, episodes=1), False, out / "their first")
        for number in range(arguments.rounds):
            for vectors in arguments.vectors:
                wall = _lerobot_eval(arguments, vectors == "asynchronous", out / f"{vectors}{number}")
                walls.setdefault(f"lerobot-eval, {vectors}", []).append(wall)
            for name, flags in OURS.items():
                wall = _evaluate(arguments, out / f"{name}{number}", arguments.episodes, *flags)
                walls.setdefault(name, []).append(wall)
        bounds = {name: _bound_s(arguments, out / f"{name}0", "bf16" in name) for name in OURS}
    fastest = min(float(np.median(values)) for name, values in walls.items() if name not in OURS)
    for name, values in walls.items():
        middle = float(np.median(values))
        against = f", {fastest / middle:.2f} times as fast; bound {bounds[name]:.1f} s" if name in OURS else ""
        print(f"{name:<31} {middle:5.1f} s ({min(values):.1f} to {max(values):.1f}, n = {len(values)}){against}")


def _evaluate(arguments: Arguments, out: Path, episodes: int, *flags: object) -> float:
    what = ["--policy", arguments.policy, "--env", arguments.env, "--delay", 0, "--episodes", episodes]
    return timed(sys.executable, EVALUATE, *what, "--out", out, *flags).wall_s


def _lerobot_eval(arguments: Arguments, asynchronous: bool, out: Path) -> float:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "plugins")))
    command = [
        *("env", f"PYTHONPATH={paths}", arguments.lerobot_python.parent / "lerobot-eval", "--env.type=act_eval"),
        *(f"--env.task={arguments.env}", f"--policy.path={checkpoint_folder(arguments.policy)}", f"--output_dir={out}"),
        *("--policy.device=cpu", f"--eval.n_episodes={arguments.episodes}", "--eval.batch_size=10"),
        f"--eval.use_async_envs={str(asynchronous).lower()}",
        "--env.discover_packages_path=lerobot_policy_act_rtc",
    ]
    return timed(*command).wall_s


def _bound_s(arguments: Arguments, run: Path, bf16: bool) -> float:
    """Return what physics, images and network calls of a run take at least on two cores, after `import torch`."""
    torch.set_num_threads(1)  # as in each worker
    (records,) = (read_episodes(path) for path in run.glob("*/episodes.jsonl"))
    steps, requests = sum(one.steps for one in records), sum(one.requests for one in records)
    scene = compile_scene(SceneConfig())
    data, renderer = mujoco.MjData(scene.model), renderer_for(scene.model)
    data.qpos[scene.joint_qpos] = data.ctrl[:] = HOME
    env = gym.make(act_eval.envs.ENVIRONMENTS[arguments.env], disable_env_checker=True)
    observed, _ = env.reset(seed=0)
    policy, processor = load_pretrained(checkpoint_folder(arguments.policy), "cpu")
    served = TorchChunkPolicy(policy, processor, "cpu", 8, "bf16" if bf16 else "float32")
    request = request_of(batch_observations([observed] * 8), np.stack([observed["agent_pos"]] * 8))
    physics = _seconds(lambda: mujoco.mj_step(scene.model, data, SUBSTEPS))
    images = sum(_seconds(lambda: renderer.render(data, name, 96, 96)) for name in observed["pixels"])  # noqa: B023
    network = _seconds(lambda: served.predict(request)) / 8
    imports = timed(sys.executable, "-c", "import torch").wall_s
    return imports + (steps * physics + requests * (images + network)) / 2


def _seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(50):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times[5:]))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
