"""The scripted expert's next commands, computed in a copy of the environment."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.envs.expert import Expert
from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.types import FloatArray
from act_eval.types.env_hooks import ForkHook, hooks_of
from act_eval.types.scene import Privileged


class ExpertLookahead:
    """The commands of an expert that takes over now: ground truth for the prefix of a policy.

    It includes future disturbances of the arm, which no policy can predict.
    """

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        """Prepare to fork the environments of the slots.

        Raises:
            UsageError: if one has no scripted expert or cannot be forked.
        """
        self._forks = [_fork_of(env) for env in envs]
        self._twin: PickEnv | None = None
        self._expert = Expert(self)

    def privileged(self) -> Privileged:
        """Return the privileged state of the copy."""
        assert self._twin is not None
        return self._twin.privileged()

    def __call__(self, slot: int, steps: int) -> FloatArray:
        """Return the expert's commands (steps, 6) for the next steps of a slot's episode [rad].

        Raises:
            SimulationError: if the physics of the copy diverge.
        """
        self._twin = twin = self._forks[slot]()
        commands = np.zeros((steps, 6), np.float32)
        for step in range(steps):
            commands[step] = self._expert.act()
            if step < steps - 1:
                twin.step(commands[step])
        return commands


def _fork_of(env: gym.Env[Any, Any]) -> ForkHook:
    hooks = hooks_of(env)
    if hooks.privileged is None or hooks.fork is None:
        raise UsageError(f"{env} has no scripted expert to look ahead with: it lacks the hooks privileged and fork")
    return hooks.fork
