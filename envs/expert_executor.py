"""An environment's scripted expert as an executor, the reference without delay; and its commands in advance."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.errors import UsageError
from act_eval.types import NOTHING_COUNTED, Actions, BoolArray, ExecutorStatistics, FloatArray, IntArray, Observation
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import user_code


class ExpertExecutor:
    """Acts in every step on the simulator's state; implements `act_eval.types.Executor`, with no chunk and no delay."""

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        """Take the experts of the environments of the slots.

        Raises:
            UsageError: if one has none.
        """
        self._experts = [expert_of(env) for env in envs]
        self._action_dim = _action_dim(envs[0])

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: the expert is stateless."""

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return False for every slot: the expert uses no images."""
        return np.zeros(len(steps_B), np.bool_)

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        """Return the experts' commands, each its own chunk of one action."""
        active = steps_B >= 0
        command = np.zeros((len(steps_B), self._action_dim), np.float32)
        for row in np.flatnonzero(active):
            command[row] = self._experts[row]()
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


class ExpertLookahead:
    """The commands of an expert that takes over now: ground truth for the prefix of a policy.

    It includes future disturbances of the arm, which no policy can predict.
    """

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        """Prepare to fork the environments of the slots.

        Raises:
            UsageError: if one has no scripted expert or cannot be forked.
        """
        self._forks = []
        for env in envs:
            hooks = hooks_of(env)
            if hooks.expert_action is None or hooks.fork is None:
                raise UsageError(
                    f"{env} has no scripted expert to look ahead with: it lacks the hooks expert_action and fork"
                )
            self._forks.append(hooks.fork)
        self._action_dim = _action_dim(envs[0])

    def __call__(self, slot: int, steps: int) -> FloatArray:
        """Return the expert's commands (steps, A) for the next steps of a slot's episode.

        Raises:
            SimulationError: if the physics of the copy diverge.
        """
        return self.after(slot, np.zeros((0, self._action_dim), np.float32), steps, to_the_end=False)

    def after(self, slot: int, committed: FloatArray, steps: int, to_the_end: bool = True) -> FloatArray:
        """Return the expert's commands (n, A) once committed ones have run, n <= `steps`.

        Args:
            slot: the slot.
            committed: (d, A) commands that run first.
            steps: how many commands of the expert.
            to_the_end: whether the end of the episode ends them, so that n may be smaller.

        Raises:
            SimulationError: if the physics of the copy diverge.
        """
        twin = self._forks[slot]()
        expert = expert_of(twin)
        for command in committed:
            if _ended(twin, command, to_the_end):
                return np.zeros((0, self._action_dim), np.float32)
        commands = np.zeros((steps, self._action_dim), np.float32)
        for step in range(steps):
            commands[step] = expert()
            if step < steps - 1 and _ended(twin, commands[step], to_the_end):
                if to_the_end:
                    return commands[: step + 1]
                commands[step + 1 :] = commands[step]  # it was cut off, after which many environments refuse a step
                break
        return commands


def _ended(twin: gym.Env[Any, Any], command: FloatArray, to_the_end: bool) -> bool:
    """Take a step in a copy; return whether it was the last one, where `to_the_end` counts its success."""
    _, _, terminated, truncated, _ = twin.step(command)
    return bool(truncated or (terminated and to_the_end))


def _action_dim(env: gym.Env[Any, Any]) -> int:
    """Return A, the size of an environment's action."""
    shape = env.action_space.shape
    assert shape is not None
    return int(shape[0])


def expert_of(env: gym.Env[Any, Any]) -> Callable[[], FloatArray]:
    """Return what gives the expert's command (A,) in an environment's current state, a `UsageError` if that raises.

    Raises:
        UsageError: if it has no expert.
    """
    expert = hooks_of(env, ("expert_action",)).expert_action
    if expert is None:
        raise UsageError(f"{env} has no scripted expert: it lacks the hook expert_action")

    def act() -> FloatArray:
        with user_code(f"{env}: expert_action raised"):
            return expert()

    return act
