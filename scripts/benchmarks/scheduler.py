"""Overhead of the scheduler in a rollout without delay, against a bare loop of predictions and environment steps.

python scripts/benchmarks/scheduler.py --rounds 20
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from in_turn import in_turn, request_of

import act_eval.envs  # noqa: F401  # registers the environments
from act_eval.executors import ChunkExecutor
from act_eval.rollout import Episode, batch_observations, hold_of, rollout
from act_eval.scenes.arm import HOME
from act_eval.timing import Naive, Schedule
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec

CHUNK, SEED = 20, 3
_SWAY = (np.asarray(HOME) + 0.05 * np.sin(np.arange(CHUNK) / 3)[:, None]).astype(np.float32)


class Swaying:
    """Answers at once, with small movements around the condition's rest."""

    spec = PolicySpec(chunk=CHUNK, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs={})

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: it remembers nothing."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Answer with the same chunk, whatever is seen."""
        return ActionChunks(np.broadcast_to(_SWAY, (len(request.rows), *_SWAY.shape)))


def main(env: str = "act_eval/Pick-v0", execution_horizon: int = 10, slots: int = 8, rounds: int = 20) -> None:
    """Compare our rollout with a bare loop, in turn, on the same environments and commands.

    Prints the lowest processor time per step of both, and what the scheduler adds.

    Args:
        env: Gymnasium id.
        execution_horizon: Control steps between two requests.
        slots: Episodes that run at a time.
        rounds: Measurements of each, after one that warms up.
    """
    envs, policy = [gym.make(env, disable_env_checker=True) for _ in range(slots)], Swaying()
    contestants = {
        "bare": lambda: bare_episodes(envs, policy, execution_horizon),
        "ours": lambda: our_episodes(envs, policy, execution_horizon),
    }
    bare_us, ours_us = (1e6 * seconds.min() for seconds in in_turn(contestants, rounds).values())
    added_us = ours_us - bare_us
    print(f"{env}, s = {execution_horizon}, {slots} episodes at a time, {rounds} rounds")
    print(f"lowest processor time of an environment step: bare {bare_us:.0f} µs, ours {ours_us:.0f} µs")
    print(f"the scheduler adds {added_us:.0f} µs, {added_us / bare_us:.1%}")


def bare_episodes(envs: Sequence[gym.Env], policy: Swaying, execution_horizon: int) -> int:
    """Run an episode in each environment, with nothing around predictions and steps; return the steps of all.

    All have the same seed and end together.
    """
    show: list[Any] = [env.unwrapped for env in envs]
    for env in show:
        env.skip_cameras(False)
    observed = [env.reset(seed=SEED)[0] for env in envs]
    chunks, last = np.zeros((len(envs), CHUNK, 6), np.float32), np.zeros((len(envs), 6), np.float32)
    step, over = 0, False
    while not over:
        index = step % execution_horizon
        if index == 0:
            request = request_of(batch_observations(observed), last)
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
    tyro.cli(main)
