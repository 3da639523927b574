"""What the scripted expert would do next, found out in a copy that leaves the episode itself alone."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from act_eval.envs.expert import Expert
from act_eval.envs.pick import PickEnv, Privileged
from act_eval.errors import UsageError
from act_eval.types import FloatArray


@runtime_checkable
class ForkingEnv(Protocol):
    """An environment whose future can be tried out."""

    def privileged(self) -> Privileged: ...

    def fork(self) -> PickEnv: ...


class ExpertForesight:
    """The commands that the expert would give if it took over now: ground truth for the prefix of a policy.

    It sees the future, disturbances of the arm included, which no policy can.
    """

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        """Take the environments of the slots.

        Raises:
            UsageError: if one has no scripted expert or cannot be forked.
        """
        self._envs = [_forking(env) for env in envs]
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
        self._twin = twin = self._envs[slot].fork()
        commands = np.zeros((steps, 6), np.float32)
        for step in range(steps):
            commands[step] = self._expert.act()
            if step < steps - 1:
                twin.step(commands[step])
        return commands


def _forking(env: gym.Env[Any, Any]) -> ForkingEnv:
    base = env.unwrapped
    if not isinstance(base, ForkingEnv):
        raise UsageError(f"{env} has no scripted expert whose next commands could be found out (privileged, fork)")
    return base
