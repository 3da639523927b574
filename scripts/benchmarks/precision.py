"""Measure how far bfloat16 autocast moves the commands of the shipped policies.

python scripts/benchmarks/precision.py      the table in docs/compile.md
"""

import sys

import gymnasium as gym
import numpy as np
import torch
import tyro
from in_turn import request_of
from rich.console import Console
from rich.table import Table

import act_eval.envs  # noqa: F401  # registers our environments
from act_eval.cli import guarded
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.serve import Precision, TorchChunkPolicy
from act_eval.rollout import batch_observations
from act_eval.sources.policies import checkpoint_folder, shipped
from act_eval.types import ChunkRequest

_STRAY = 0.1  # standard deviation of the joint steps that make observations differ [rad]
_PRECISIONS: tuple[Precision, Precision] = ("float32", "bf16")


def main(
    policies: tuple[str, ...] = (), env: str = "act_eval/ConfuserPick-v1", episodes: int = 10, threads: int = 1
) -> int:
    """Deviation of commands in bfloat16 from those in float32, without delay.

    Args:
        policies: Shipped policies or checkpoint folders; all shipped ones by default.
        env: Gymnasium id.
        episodes: Episodes that observations come from, 20 steps of each.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    made = gym.make(env, disable_env_checker=True)
    request = _request(made, episodes)
    position = made.unwrapped.gripper_position  # pyright: ignore[reportAttributeAccessIssue]
    table = Table("policy", "joints, median [mrad]", "99 %", "most", "gripper's place, median [mm]", "99 %", "most")
    for name in policies or shipped():
        loaded = load_pretrained(checkpoint_folder(name))
        exact, fast = (TorchChunkPolicy(*loaded, precision=one).predict(request).actions for one in _PRECISIONS)
        apart_mrad = 1e3 * np.abs(exact - fast)
        apart_mm = 1e3 * np.linalg.norm(position(exact) - position(fast), axis=-1)
        table.add_row(name, *(f"{q:.2f}" for x in (apart_mrad, apart_mm) for q in np.percentile(x, (50, 99, 100))))
    Console().print(table)
    return 0


def _request(env: gym.Env, episodes: int) -> ChunkRequest:
    rng, seen = np.random.default_rng(0), []
    space = env.action_space
    assert isinstance(space, gym.spaces.Box)
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        for _ in range(20):
            seen.append(observation)
            stray = observation["agent_pos"] + rng.normal(0, _STRAY, observation["agent_pos"].shape)
            observation, *_ = env.step(np.clip(stray, space.low, space.high).astype(np.float32))
    batch = batch_observations(seen)
    return request_of(batch, batch.agent_pos)


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
