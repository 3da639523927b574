"""A run of toys: a stochastic policy walks to a goal, under two delays. Quick, and all parts of a run are real."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
from toy_envs import HookedWalk

from act_eval.evaluation.worker import Job
from act_eval.executors import ChunkExecutor
from act_eval.results import Manifest, fingerprint, notes
from act_eval.results.suites import Suite
from act_eval.rollout import hold_of
from act_eval.seeding import Stream, stream
from act_eval.timing import Constant, Naive, Schedule
from act_eval.types import ActionChunks, ChunkRequest, Executor, PolicySpec

SEEDS = tuple(range(500, 511))
DELAYS = {"d0": 0, "d2": 2}


class Wanderer:
    """A stochastic policy: noise about the goal, from the episode's own stream."""

    spec = PolicySpec(chunk=8, action_dim=2, window="same", takes_prefix=False, max_delay=0, inputs={})

    def __init__(self) -> None:
        self._rngs: dict[int, np.random.Generator] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._rngs.update({row: stream(seed, Stream.POLICY) for row, seed in zip(rows, seeds, strict=True)})

    def predict(self, request: ChunkRequest) -> ActionChunks:
        goals = request.observation.environment_state
        assert goals is not None
        noise = [self._rngs[int(row)].normal(0, 0.5, (8, 2)) for row in request.rows]
        return ActionChunks((goals[:, None] + np.array(noise)).astype(np.float32))


class Drawn(HookedWalk):
    pause_s = 0.0
    """Of every step."""

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        time.sleep(self.pause_s)
        return super().step(action)

    def render_state(self, state: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), int(20 * abs(state[0])), np.uint8)


class Bench:
    facts = "walks"

    def __init__(self, slots: int, pause_s: float = 0.0) -> None:
        self.envs: list[gym.Env] = [Drawn(horizon=9) for _ in range(slots)]
        for env in self.envs:
            env.pause_s = pause_s  # pyright: ignore[reportAttributeAccessIssue]
        self._policy = Wanderer()

    def executor(self, schedule: Schedule | None) -> Executor:
        assert schedule is not None
        return ChunkExecutor(self._policy, schedule, hold_of(self.envs))

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Walkers:
    slots: int
    pause_s: float = 0.0

    def __call__(self) -> Bench:
        return Bench(self.slots, self.pause_s)


def job(folder: Path, batch: int = 3) -> Job:
    conditions = {condition: Schedule(method=Naive(4), delay=Constant(delay)) for condition, delay in DELAYS.items()}
    return Job(folder=folder, seeds=SEEDS, title="walk", conditions=conditions, batch=batch, video="failures")


def manifest(seeds: Sequence[int] = SEEDS) -> Manifest:
    return Manifest(
        suite=Suite(env="Walk-v0", kwargs={}, horizon=9, facts={}, seeds=tuple(seeds)),
        configuration={
            "policy": {"name": "wanderer"},
            "conditions": {condition: {"delay": d} for condition, d in DELAYS.items()},
        },
        fingerprint=fingerprint(threads=1, renderer="none"),
        notes=notes(),
    )
