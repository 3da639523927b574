"""Perturbations of joint readings, commands, their timing, and the goal input, in any environment.

Strengths at severities 1 to 5 stand beside each: of readings and goals in the entries' own units (rad and m in the
built-in environments), of commands as shares of half of the action space's width.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.perturbations.base import Perturbation
from act_eval.types import FloatArray


@dataclass
class JointNoise(Perturbation):
    """Gaussian noise on every joint reading of every step, standard deviation 0.005, 0.01, 0.02, 0.04 or 0.08."""

    writes = ("agent_pos",)

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with noisy joints."""
        joints = observed["agent_pos"]
        noise = self.level((0.005, 0.01, 0.02, 0.04, 0.08)) * self.rng.standard_normal(np.shape(joints))
        return {**observed, "agent_pos": (joints + noise).astype(np.float32)}


@dataclass
class JointBias(Perturbation):
    """A constant error of every joint reading, 0.01, 0.02, 0.04, 0.07 or 0.12 to either side."""

    writes = ("agent_pos",)

    def begin(self) -> None:
        """Forget the last episode's bias."""
        self._bias: np.ndarray | None = None

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with biased joints."""
        joints = observed["agent_pos"]
        if self._bias is None:
            signs = self.rng.integers(0, 2, np.shape(joints)) * 2 - 1
            self._bias = self.level((0.01, 0.02, 0.04, 0.07, 0.12)) * signs
        return {**observed, "agent_pos": (joints + self._bias).astype(np.float32)}


@dataclass
class JointDelay(Perturbation):
    """Joint readings 1, 2, 3, 5 or 8 steps late; images are not."""

    writes = ("agent_pos",)

    def begin(self) -> None:
        """Forget the last episode's readings."""
        self._late = deque[FloatArray](maxlen=int(self.level((1, 2, 3, 5, 8))) + 1)

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with late joints; the first reading until later ones arrive."""
        self._late.append(np.array(observed["agent_pos"], np.float32))
        return {**observed, "agent_pos": self._late[0]}


@dataclass
class GoalError(Perturbation):
    """An error of the goal input of 0.005, 0.01, 0.02, 0.03 or 0.05 in a direction drawn per episode."""

    writes = ("environment_state",)

    def begin(self) -> None:
        """Forget the last episode's error."""
        self._error: np.ndarray | None = None

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with a wrong goal."""
        goal = observed["environment_state"]
        if self._error is None:
            direction = self.rng.standard_normal(np.shape(goal))
            length = float(np.sqrt(np.sum(direction * direction)))
            self._error = self.level((0.005, 0.01, 0.02, 0.03, 0.05)) * direction / length
        return {**observed, "environment_state": (goal + self._error).astype(np.float32)}


@dataclass
class CommandNoise(Perturbation):
    """Gaussian noise on every command, standard deviation 0.2, 0.5, 1, 2 or 4 % of half of the action range."""

    writes = ("action",)

    def action(self, command: FloatArray, step: int) -> NDArray[np.floating]:
        """Return the command with noise."""
        sigma = self.level((0.002, 0.005, 0.01, 0.02, 0.04))
        return command + sigma * self.command_unit * self.rng.standard_normal(command.shape)


@dataclass
class CommandScale(Perturbation):
    """Every command larger or smaller by 2, 4, 7, 12 or 20 %, drawn per episode."""

    writes = ("action",)

    def begin(self) -> None:
        """Draw the factor."""
        self._factor = 1 + self.sign() * self.level((0.02, 0.04, 0.07, 0.12, 0.20))

    def action(self, command: FloatArray, step: int) -> NDArray[np.floating]:
        """Return the scaled command."""
        return command * self._factor


@dataclass
class CommandOffset(Perturbation):
    """A constant error of every command, 0.5, 1, 2, 3.5 or 6 % of half of the action range to either side."""

    writes = ("action",)

    def begin(self) -> None:
        """Draw the signs."""
        size = self.level((0.005, 0.01, 0.02, 0.035, 0.06))
        self._offset = size * self.command_unit * (self.rng.integers(0, 2, self.command_unit.shape) * 2 - 1)

    def action(self, command: FloatArray, step: int) -> NDArray[np.floating]:
        """Return the command with its offset."""
        return command + self._offset


@dataclass
class RateJitter(Perturbation):
    """Each command misses its step with probability 0.05, 0.1, 0.2, 0.35 or 0.5: the one before runs on for that step.

    The first command of an episode is always in time.
    """

    writes = ("timing",)

    def begin(self) -> None:
        """Forget the last episode's commands."""
        self._running: FloatArray | None = None

    def action(self, command: FloatArray, step: int) -> NDArray[np.floating]:
        """Return the command that runs."""
        missed = self.rng.random() < self.level((0.05, 0.1, 0.2, 0.35, 0.5))
        if self._running is None or not missed:
            self._running = command
        return self._running
