"""Measure how far bfloat16 autocast moves the commands of the shipped policies.

python scripts/benchmarks/precision.py      the table in docs/compile.md
"""

import sys
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

import act_eval.envs  # noqa: F401  # registers our environments
from act_eval.cli import guarded
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.serve import Precision, TorchChunkPolicy
from act_eval.sources.policies import checkpoint_folder, shipped
from act_eval.types import ChunkRequest, FloatArray, Observation

_STRAY = 0.1  # standard deviation of the joint steps that make observations differ [rad]
_FAST: Precision = "bf16"


@dataclass(frozen=True)
class Options:
    """Deviation of commands in bfloat16 from those in float32, without delay."""

    policies: tuple[str, ...] = ()
    """Shipped policies or checkpoint folders; all shipped ones by default."""
    env: str = "act_eval/ConfuserPick-v0"
    """Gymnasium id."""
    episodes: int = 10
    """Episodes that observations come from, 20 steps of each."""
    threads: int = 1
    """CPU threads."""


def main(options: Options) -> int:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    env = gym.make(options.env, disable_env_checker=True)
    request = _request(env, options.episodes)
    table = Table("policy", "joints, median [mrad]", "99 %", "most", "gripper's place, median [mm]", "99 %", "most")
    for name in options.policies or shipped():
        exact, fast = (_commands(name, precision, request) for precision in ("float32", _FAST))
        apart_mrad = 1e3 * np.abs(exact - fast)
        places = [_places(env, commands) for commands in (exact, fast)]
        apart_mm = 1e3 * np.linalg.norm(places[0] - places[1], axis=-1)
        table.add_row(name, *(f"{q:.2f}" for x in (apart_mrad, apart_mm) for q in np.percentile(x, (50, 99, 100))))
    Console().print(table)
    return 0


def _request(env: gym.Env, episodes: int) -> ChunkRequest:
    rng, seen = np.random.default_rng(0), []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        for _ in range(20):
            seen.append(observation)
            stray = observation["agent_pos"] + rng.normal(0, _STRAY, observation["agent_pos"].shape)
            space = env.action_space
            assert isinstance(space, gym.spaces.Box)
            observation, *_ = env.step(np.clip(stray, space.low, space.high).astype(np.float32))
    joints = np.stack([o["agent_pos"] for o in seen])
    rows = np.arange(len(seen))
    return ChunkRequest(
        rows=rows,
        steps=np.zeros_like(rows),
        observation=Observation(
            pixels={camera: np.stack([o["pixels"][camera] for o in seen]) for camera in seen[0]["pixels"]},
            agent_pos=joints,
            environment_state=np.stack([o["environment_state"] for o in seen]),
        ),
        estimated_delay=np.zeros_like(rows),
        prefix=np.zeros((len(seen), 0, joints.shape[1]), np.float32),
        last_action=joints,
    )


def _commands(name: str, precision: Precision, request: ChunkRequest) -> FloatArray:
    policy, processor = load_pretrained(checkpoint_folder(name))
    return TorchChunkPolicy(policy, processor, precision=precision).predict(request).actions


def _places(env: gym.Env, commands_NCA: FloatArray) -> np.ndarray:
    position = env.unwrapped.gripper_position  # pyright: ignore[reportAttributeAccessIssue]
    return np.array([position(command) for command in commands_NCA.reshape(-1, commands_NCA.shape[-1])])


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(tyro.cli(Options))))
