"""A slot of a rollout: its environment, the optional abilities of that environment, and the episode in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import RenderError, UsageError
from act_eval.executors import Hold
from act_eval.types import FloatArray, ImageArray, IntArray, Observer
from act_eval.types.env_hooks import EnvHooks, hooks_of

_NO_STATE = np.zeros(0, np.float64)


@dataclass(frozen=True)
class Episode:
    """An episode to run."""

    number: int
    """Within the suite."""
    seed: int


@runtime_checkable
class FrameObserver(Observer, Protocol):
    """An observer that also wants what the environment renders, before every step and at the end."""

    def on_frame(self, episode: int, step: int, image: ImageArray) -> None:
        """Take the (H, W, 3) frame of the moment before `step`; the last one has the number of steps taken."""
        ...


@dataclass(slots=True)
class Lane:
    """A slot and the episode in it."""

    row: int
    env: gym.Env[Any, Any]
    hooks: EnvHooks
    episode: Episode | None = None
    began: bool = False
    """Whether the environment has been reset for the episode, so that its state belongs to it."""
    counted: bool = False
    """Whether the executor has been reset for the episode, so that its counts belong to it."""
    step: int = 0
    succeeded: bool = False
    since: float = 0.0
    """Reading of the clock when the episode was taken on [s]."""
    state_size: int = 0

    def take_on(self, episode: Episode) -> None:
        """Forget the episode before and take on another."""
        self.episode, self.step, self.succeeded, self.since = episode, 0, False, perf_counter()
        self.began = self.counted = False

    def state(self) -> NDArray[np.float64]:
        """Return the (S,) simulator state, S = 0 where the environment has none."""
        if self.hooks.simulator_state is None:
            return _NO_STATE
        state = self.hooks.simulator_state()
        self.state_size = len(state)
        return state

    def end_state(self) -> NDArray[np.float64]:
        """Return the state in which the episode ended: NaN where it cannot be read, empty where it never began."""
        if not self.began:
            return _NO_STATE
        try:
            return self.state()
        except Exception:  # a broken environment: its episode is invalid already
            return np.full(self.state_size, np.nan)

    def frame(self) -> Any:
        """Return what the environment renders of this moment.

        Raises:
            RenderError: if it cannot; the run stops, because an episode that cannot be filmed is no bad episode.
        """
        try:
            return self.env.render()
        except Exception as error:  # somebody else's code may raise anything
            raise RenderError(
                f"render() raised {type(error).__name__}: {error}; --video none evaluates without videos"
            ) from error

    def look(self, needed: bool) -> None:
        """Say whether the next observation's images will be looked at."""
        if self.hooks.skip_cameras is not None:
            self.hooks.skip_cameras(not needed)


def lanes(envs: Sequence[gym.Env[Any, Any]]) -> list[Lane]:
    """Return one slot per environment.

    Raises:
        UsageError: if there is no environment, or one is given twice.
    """
    if not envs:
        raise UsageError("a rollout needs at least one environment")
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise UsageError("an environment is given twice; each slot needs its own")
    return [Lane(row, env, hooks_of(env)) for row, env in enumerate(envs)]


def hold_of(envs: Sequence[gym.Env[Any, Any]]) -> Hold:
    """Return the environments' own hold actions for an executor; those without one repeat the last command."""
    rules = [hooks_of(env).hold_action or _repeat for env in envs]

    def hold(last_command: FloatArray, slots: IntArray) -> FloatArray:
        return np.stack([rules[slot](last) for last, slot in zip(last_command, slots.tolist(), strict=True)])

    return hold


def _repeat(last_command: FloatArray) -> FloatArray:
    return last_command


def says_success(info: Mapping[str, Any]) -> bool:
    """Return what a step's info says of success.

    Raises:
        UsageError: if it says nothing, or something else than yes or no.
    """
    if "is_success" not in info:
        raise UsageError(
            'the environment says nothing of success: add info["is_success"] (bool) to every step, '
            f"or a method verdict() -> act_eval.types.Verdict; its info holds {sorted(info)}"
        )
    success = np.asarray(info["is_success"])
    if success.size != 1 or success.dtype.kind not in "biuf" or success.item() not in (0, 1):
        raise UsageError(f'info["is_success"] is {info["is_success"]!r}; it must be one truth value')
    return bool(success.item())
