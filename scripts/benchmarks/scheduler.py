"""Overhead of the scheduler in a rollout without delay, against a bare loop of predictions and environment steps.

python scripts/benchmarks/scheduler.py --rounds 20
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import tyro

import act_eval.envs  # noqa: F401  # registers the environments
from act_eval.executors import ChunkExecutor
from act_eval.rollout import Episode, batch_observations, hold_of, rollout
from act_eval.scenes.arm import HOME
from act_eval.timing import Naive, Schedule
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec

CHUNK, SEED = 20, 3
_SWAY = (np.asarray(HOME) + 0.05 * np.sin(np.arange(CHUNK) / 3)[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Arguments:
    """Compare our rollout with a bare loop, in turn, on the same environments and commands."""

    env: str = "act_eval/Pick-v0"
    """Gymnasium id."""
    execution_horizon: int = 10
    """Control steps between two requests."""
    slots: int = 8
    """Episodes that run at a time."""
    rounds: int = 20
    """Measurements of each."""


class Swaying:
    """Answers at once, with small movements around the condition's rest."""

    spec = PolicySpec(chunk=CHUNK, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs={})

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: it remembers nothing."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Answer with the same chunk, whatever is seen."""
        return ActionChunks(np.broadcast_to(_SWAY, (len(request.rows), *_SWAY.shape)))


def main() -> None:
    """Print the lowest processor time per step of both, and what the scheduler adds."""
    arguments = tyro.cli(Arguments, description=__doc__)
    envs = [gym.make(arguments.env, disable_env_checker=True) for _ in range(arguments.slots)]
    contestants = {
        "bare": partial(bare_episodes, envs, Swaying(), arguments.execution_horizon),
        "ours": partial(our_episodes, envs, Swaying(), arguments.execution_horizon),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds + 1):
        for name, episodes in contestants.items():
            times[name].append(_cpu_per_step(episodes))
    best = {name: 1e6 * min(values[1:]) for name, values in times.items()}  # the first of each warms up
    added = best["ours"] - best["bare"]
    print(
        f"{arguments.env}, s = {arguments.execution_horizon}, {arguments.slots} episodes at a time, "
        f"{arguments.rounds} rounds"
    )
    print(f"lowest processor time of an environment step: bare {best['bare']:.0f} µs, ours {best['ours']:.0f} µs")
    print(f"the scheduler adds {added:.0f} µs, {added / best['bare']:.1%}")


def _cpu_per_step(episodes: Callable[[], int]) -> float:
    began = time.process_time()
    steps = episodes()
    return (time.process_time() - began) / steps


def bare_episodes(envs: Sequence[gym.Env], policy: Swaying, execution_horizon: int) -> int:
    """Run an episode in each environment, with nothing around predictions and steps; return the steps of all.

    All have the same seed and end together.
    """
    show: list[Any] = [env.unwrapped for env in envs]
    rows, prefix = np.arange(len(envs)), np.zeros((len(envs), 0, 6), np.float32)
    for env in show:
        env.skip_cameras(False)
    observed = [env.reset(seed=SEED)[0] for env in envs]
    chunks, last = np.zeros((len(envs), CHUNK, 6), np.float32), np.zeros((len(envs), 6), np.float32)
    step, over = 0, False
    while not over:
        index = step % execution_horizon
        if index == 0:
            request = ChunkRequest(
                rows=rows,
                steps=np.full(len(envs), step),
                observation=batch_observations(observed),
                estimated_delay=np.zeros(len(envs), np.int64),
                prefix=prefix,
                last_action=last,
            )
            chunks = policy.predict(request).actions
        for n, env in enumerate(envs):
            show[n].skip_cameras((step + 1) % execution_horizon != 0)
            observed[n], _, terminated, truncated, _ = env.step(chunks[n, index])
            over = terminated or truncated
        step += 1
    for env in show:
        env.verdict()  # the outcome is wanted of both
    return step * len(envs)


def our_episodes(envs: Sequence[gym.Env], policy: Swaying, execution_horizon: int) -> int:
    """Run the same episodes under the scheduler; return the steps of all."""
    executor = ChunkExecutor(policy, Schedule(method=Naive(execution_horizon)), hold_of(envs))
    return sum(record.steps for record in rollout(envs, executor, [Episode(n, SEED) for n in range(len(envs))]))


if __name__ == "__main__":
    main()
