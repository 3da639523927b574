"""One attempt: someone acts in a seeded episode; of the expert's, those that succeed are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from act_eval.datasets import Episode, Feature, ImageStorage, demonstration_features
from act_eval.datasets.layout import DONE, SUCCESS
from act_eval.errors import SimulationError
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, FloatArray


class Expert(Protocol):
    """Acts in the environment that it was made for."""

    def act(self) -> FloatArray:
        """Return the command (A,) for this moment."""
        ...


class Attempts(Protocol):
    """A source of attempts."""

    @property
    def env(self) -> Any:
        """A Gymnasium environment; its `unwrapped` has `suite_facts()`."""
        ...

    def features(self, images: ImageStorage) -> dict[str, Feature]:
        """Return the features of the data set that is recorded."""
        ...

    def attempt(self, seed: int) -> tuple[str, Episode | None]:
        """Run one attempt; return its outcome, and the episode if it is kept: its outcome is then `success`."""
        ...


def _record_all(_seed: int) -> int:
    return 0


@dataclass(frozen=True)
class Demonstrator:
    """An environment with an expert that acts in it."""

    env: Any
    """A Gymnasium environment; its `unwrapped` has `verdict()` and `suite_facts()`."""
    expert: Expert
    joints: tuple[str, ...]
    """Names of the joints, in the order of `agent_pos` and of the action."""
    begin: Callable[[int], int] = _record_all
    """Called with the episode seed after every reset; returns the number of initial steps not to record."""

    def features(self, images: ImageStorage) -> dict[str, Feature]:
        """Return the features of demonstrations."""
        spaces = self.env.observation_space
        cameras = {name: space.shape[:2] for name, space in spaces["pixels"].spaces.items()}
        return demonstration_features(self.joints, cameras, images, "environment_state" in spaces.spaces)

    def attempt(self, seed: int) -> tuple[str, Episode | None]:
        """Run one episode, and keep it if it succeeds."""
        return _record(self, seed)


TOO_SHORT = "too_short"
"""Outcome of an attempt that ended before its recording began."""

MakeAttempts = Callable[[str, Mapping[str, Any]], Attempts]
"""Receives environment id and options; must be importable, since workers call it."""


def _record(demonstrator: Demonstrator, seed: int) -> tuple[str, Episode | None]:
    env, observations, commands, flags = demonstrator.env, [], [], []
    observation, _ = env.reset(seed=seed)
    first = demonstrator.begin(seed)
    ended = False
    while not ended:
        command = np.array(demonstrator.expert.act(), np.float32)
        observations.append(observation)
        commands.append(command)
        try:
            observation, _, terminated, truncated, info = env.step(command)
        except SimulationError:
            return "invalid", None
        ended = bool(terminated or truncated)
        flags.append((bool(info["is_success"]), ended))
    outcome = env.unwrapped.verdict().outcome
    if outcome != "success":
        return outcome, None
    if len(commands) <= first:
        return TOO_SHORT, None
    return outcome, _episode(seed, observations[first:], commands[first:], flags[first:])


def _episode(
    seed: int, observations: list[dict[str, Any]], commands: list[FloatArray], flags: list[tuple[bool, bool]]
) -> Episode:
    vectors = {STATE: np.stack([o["agent_pos"] for o in observations]), ACTION: np.stack(commands)}
    if "environment_state" in observations[0]:
        vectors[ENVIRONMENT_STATE] = np.stack([o["environment_state"] for o in observations])
    success, done = np.array(flags).T
    frames = {
        IMAGE_PREFIX + name: np.stack([o["pixels"][name] for o in observations]) for name in observations[0]["pixels"]
    }
    return Episode(seed, {**vectors, SUCCESS: success, DONE: done}, frames)
