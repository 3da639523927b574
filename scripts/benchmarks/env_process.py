"""Cost of `--env-python`: episodes of confuser_pick in this process and in one of its own, in turn.

Eight environments with two 96 × 96 cameras as one worker runs them, and a policy without a network that asks every ten
steps. Prints processor and wall-clock time per control step [ms] of both and the median ratio of the pairs, once with
the images of requests alone, as the engine renders, and once with all. Reads processor time from /proc (Linux).
"""

import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro

from act_eval.cli import guarded
from act_eval.config import EnvDeclaration
from act_eval.executors import make_executor
from act_eval.policies.simple import chunk_policy
from act_eval.processes import WORKER_ENVIRONMENT
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import env_source
from act_eval.timing import Constant, Naive, Schedule

BATCH = 8
CONTROL_MS = 50.0


class Waves:
    """Moves every joint a little around where it is."""

    chunk, action_dim = 20, 6
    inputs = {"observation.state": (6,), "observation.images.overhead": (96, 96, 3)}  # noqa: RUF012

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return a chunk (20, 6)."""
        return observation["observation.state"] + 0.05 * np.sin(np.arange(20) / 3)[:, None]


class Watch:
    """An observer, so that the engine asks for states as in a run."""

    def on_step(self, record: Any) -> None:
        """Do nothing."""

    def on_episode_end(self, record: Any) -> None:
        """Do nothing."""


def main(pairs: int = 10, episodes: int = 8, python: Path = Path(sys.executable)) -> int:
    """Measure the cost of environments in a process of their own.

    Args:
        pairs: Of runs, one here and one there.
        episodes: Of each run.
        python: Interpreter of the process.
    """
    os.environ.update(WORKER_ENVIRONMENT)
    sources = [env_source("confuser_pick", {}, EnvDeclaration(env_python=one), film=False) for one in (None, python)]
    here, there = ([source.make() for _ in range(BATCH)] for source in sources)
    child = there[0].unwrapped._channel._process.pid  # pyright: ignore[reportAttributeAccessIssue]
    for horizon in (10, 1):
        for envs in (here, there):
            _run(envs, BATCH, horizon, child)
        times = [tuple(_run(envs, episodes, horizon, child) for envs in (here, there)) for _ in range(pairs)]
        for number, clock in enumerate(("processor", "wall-clock")):
            own, other = (median(pair[side][number] for pair in times) for side in (0, 1))
            ratio = median(pair[1][number] / pair[0][number] for pair in times)
            print(
                f"images every {horizon} steps, {clock} time: {own:.2f} ms a step here, {other:.2f} there, ratio "
                f"{ratio:.2f} (n = {pairs} pairs of {episodes} episodes)"
            )
    for env in (*here, *there):
        env.close()
    return 0


def _run(envs: list[Any], episodes: int, horizon: int, child: int) -> tuple[float, float]:
    """Return processor and wall-clock time per step [ms]."""
    schedule = Schedule(method=Naive(horizon), delay=Constant(0))
    executor = make_executor(chunk_policy(Waves, "Waves"), schedule, hold_of(envs), CONTROL_MS, None, None)
    seeds = episode_seeds(Purpose.EVALUATE, 0, episodes)
    began, used = time.perf_counter(), _processor_s(child)
    records = rollout(envs, executor, [Episode(*one) for one in enumerate(seeds)], [Watch()])
    steps = sum(record.steps for record in records)
    return 1e3 * (_processor_s(child) - used) / steps, 1e3 * (time.perf_counter() - began) / steps


def _processor_s(child: int) -> float:
    """Return the processor time of this process and of a running child [s]."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return own.ru_utime + own.ru_stime + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
