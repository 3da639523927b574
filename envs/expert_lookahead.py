"""What the scripted expert would do next, found out in a copy that leaves the episode itself alone."""

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


class ExpertForesight:
    """The commands that the expert would give if it took over now: ground truth for the prefix of a policy.

    It sees the future, disturbances of the arm included, which no policy can.
    """

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        """Take the environments of the slots.

        Raises:
            UsageError: if one has no scripted expert or cannot be forked.
        """
        self._forks = [_fork_of(env) for env in envs]
        self._twin: PickEnv | None = None
        self._expert = Expert(self)

    def privileged(self) -> Privileged:
        """Return what the expert knows: the present moment of the copy."""
        assert self._twin is not None
        return self._twin.privileged()

    def __call__(self, slot: int, steps: int) -> FloatArray:
        """Return the expert's commands (steps, 6) for the next steps of a slot's episode [rad].

        Raises:
            SimulationError: if physics break in the copy.
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
        raise UsageError(f"{env} has no scripted expert whose next commands could be found out (privileged, fork)")
    return hooks.fork
