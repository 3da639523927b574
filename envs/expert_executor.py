"""The scripted expert as an executor: the reference of a perfect, delay-free policy on the same suite."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from act_eval.envs.expert import Expert
from act_eval.types import NOTHING_COUNTED, Actions, BoolArray, ExecutorStatistics, IntArray, Observation


class ExpertExecutor:
    """Acts on privileged state in every step; implements `act_eval.types.Executor`, with no chunk and no delay."""

    def __init__(self, envs: Sequence[gym.Env]) -> None:
        self._experts = [Expert(env.unwrapped) for env in envs]  # pyright: ignore[reportArgumentType]

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: the expert is stateless."""

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return False for every slot: the expert uses no images."""
        return np.zeros(len(steps_B), np.bool_)

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        """Return the experts' commands, each its own chunk of one action."""
        active = steps_B >= 0
        command = np.zeros((len(steps_B), 6), np.float32)
        for row in np.flatnonzero(active):
            command[row] = self._experts[row].act()
        return Actions(
            command=command,
            chunk=steps_B,
            index=np.where(active, 0, -1),
            observed=steps_B,
            requested=np.zeros(len(steps_B), np.bool_),
            estimated_delay=np.where(active, 0, -1),
            actual_delay=np.where(active, 0, -1),
            in_flight=np.zeros(len(steps_B), np.int64),
            chunk_switch=np.zeros(len(steps_B), np.bool_),
        )

    def statistics(self, row: int) -> ExecutorStatistics:
        """Return zeros: nothing is requested of a policy."""
        return NOTHING_COUNTED

    def inference_ms(self, row: int) -> tuple[float, ...]:
        """Return nothing: there is no inference."""
        return ()
