"""A slot of a rollout: its environment, the hooks of that environment, its episode and the records of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import DeclarationError, RemoteError, RenderError, SimulationError, UsageError
from act_eval.executors import Hold
from act_eval.types import (
    Actions,
    EpisodeRecord,
    ExecutorStatistics,
    FloatArray,
    ImageArray,
    IntArray,
    Observer,
    StepRecord,
    Verdict,
)
from act_eval.types.env_hooks import EnvHooks, hooks_of
from act_eval.user_code import Fault, truth

STOP = (RenderError, DeclarationError, RemoteError, KeyboardInterrupt, GeneratorExit)
"""No episode's fault: the run stops."""
_COUNTS = ("chunk", "index", "observed", "estimated_delay", "actual_delay", "in_flight")
NO_STATE = np.zeros(0, np.float64)


@dataclass(frozen=True)
class Episode:
    """An episode of a suite."""

    number: int
    """Within the suite."""
    seed: int


@runtime_checkable
class FrameObserver(Observer, Protocol):
    """An observer that also takes the rendered frames, before every step and at the end."""

    def on_frame(self, episode: int, step: int, image: ImageArray) -> None:
        """Take the (H, W, 3) frame before `step`; for the last frame `step` is the number of steps taken."""
        ...


@dataclass(slots=True)
class EnvSlot:
    """A slot and the episode in it."""

    row: int
    env: gym.Env[Any, Any]
    hooks: EnvHooks
    episode: Episode | None = None
    began: bool = False
    """Whether the environment has been reset for the episode."""
    counted: bool = False
    """Whether the executor has been reset for the episode."""
    step: int = 0
    succeeded: bool = False
    since: float = 0.0
    """Clock reading at the start of the episode [s]."""
    state_size: int = 0

    def start_episode(self, episode: Episode) -> None:
        """Replace the previous episode."""
        self.episode, self.step, self.succeeded, self.since = episode, 0, False, perf_counter()
        self.began = self.counted = False

    def state(self) -> NDArray[np.float64]:
        """Return the (S,) simulator state; S = 0 if the environment has none."""
        if self.hooks.simulator_state is None:
            return NO_STATE
        state = np.asarray(self.hooks.simulator_state(), np.float64)
        if state.ndim != 1 or (self.step and len(state) != self.state_size):
            raise SimulationError(f"simulator_state() returned shape {state.shape}; expected a constant (S,)")
        self.state_size = len(state)
        return state

    def end_state(self) -> NDArray[np.float64]:
        """Return the final state: NaN if it cannot be read, empty if the episode never began."""
        if not self.began:
            return NO_STATE
        try:
            return self.state()
        except STOP:
            raise
        except BaseException:  # the environment is broken and its episode already invalid
            return np.full(self.state_size, np.nan)

    def frame(self) -> ImageArray:
        """Return the environment's rendered frame (H, W, 3).

        Raises:
            SimulationError: if `render()` raises, or returns something else.
        """
        try:
            image: Any = self.env.render()
        except STOP:
            raise
        except BaseException as error:  # user code may raise anything
            raise SimulationError(
                f"render() raised {Fault.of(error)}; --video none evaluates without videos"
            ) from error
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
            raise SimulationError(f"render() returned {got}; a video needs (H, W, 3) uint8, or choose --video none")
        return image

    def set_cameras(self, needed: bool) -> None:
        """Render the images of the next observation, or skip them."""
        if self.hooks.skip_cameras is not None:
            self.hooks.skip_cameras(not needed)


def env_slots(envs: Sequence[gym.Env[Any, Any]]) -> list[EnvSlot]:
    """Return one slot per environment.

    Raises:
        UsageError: if there is no environment, or one is given twice.
    """
    if not envs:
        raise UsageError("a rollout needs at least one environment")
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise UsageError("an environment is given twice; each slot needs its own")
    return [EnvSlot(row, env, hooks_of(env)) for row, env in enumerate(envs)]


def hold_of(envs: Sequence[gym.Env[Any, Any]]) -> Hold:
    """Return the environments' hold actions for an executor; without a hook the last command repeats."""
    return EnvHold(envs)


class EnvHold:
    """The environments' hold actions; implements `act_eval.executors.Hold`."""

    def __init__(self, envs: Sequence[gym.Env[Any, Any]]) -> None:
        self._rules = [hooks_of(env).hold_action for env in envs]
        undeclared = [env for env, rule in zip(envs, self._rules, strict=True) if rule is None]
        self.undeclared = type(undeclared[0].unwrapped).__name__ if undeclared else None
        """Name of an environment that declares no hold action."""

    def __call__(self, last_command: FloatArray, slots: IntArray) -> FloatArray:
        """Return the hold actions.

        Raises:
            SimulationError: if a rule raises, or returns no finite command.
        """
        return np.stack([self._held(last, slot) for last, slot in zip(last_command, slots.tolist(), strict=True)])

    def _held(self, last: FloatArray, slot: int) -> FloatArray:
        rule = self._rules[slot]
        if rule is None:
            return last
        try:
            held = np.asarray(rule(last.copy()), np.float32)  # a copy: users' code may change what it is given
        except STOP:
            raise
        except BaseException as error:  # user code may raise anything
            raise SimulationError(f"hold_action() raised {Fault.of(error)}") from error
        if held.shape != last.shape or not np.isfinite(held).all():
            raise SimulationError(f"hold_action() returned {held.tolist()}; expected a finite command {last.shape}")
        return held


def is_success(info: Mapping[str, Any]) -> bool:
    """Return the success flag of a step's info.

    Raises:
        UsageError: if the flag is missing or not a truth value.
    """
    if "is_success" not in info:
        raise UsageError(
            'the environment signals no success: add info["is_success"] (bool) to every step, '
            f"or a method verdict() -> act_eval.types.Verdict; its info holds {sorted(info)}"
        )
    return truth('info["is_success"]', info["is_success"], UsageError)


def step_record(episode: Episode, step: int, actions: Actions, row: int, state: NDArray[np.float64]) -> StepRecord:
    """Return the record of one slot's step."""
    return StepRecord(
        episode=episode.number,
        seed=episode.seed,
        step=step,
        command=actions.command[row],
        ran=None if actions.ran is None else actions.ran[row],
        requested=bool(actions.requested[row]),
        chunk_switch=bool(actions.chunk_switch[row]),
        **{name: int(getattr(actions, name)[row]) for name in _COUNTS},
        chunk_switch_effect=actions.chunk_switch_effects.get(row),
        predictions=actions.predictions.get(row, ()),
        state=state,
    )


def episode_record(
    episode: Episode, steps: int, verdict: Verdict, error: str | None, counted: ExecutorStatistics
) -> EpisodeRecord:
    """Return an episode's record; executor counts without their own field go into its detail."""
    timing = {
        "estimated_delays": list(counted.estimated_delays),
        "actual_delays": list(counted.actual_delays),
        "lost_answers": counted.lost,
        "late_answers": counted.late,
        "beyond_max_delay": counted.beyond_max_delay,
        "predicted_actions": counted.predicted_actions,
        "discarded_actions": counted.discarded_actions,
    }
    if any(counted.observation_ages):
        timing["observation_ages"] = list(counted.observation_ages)
    return EpisodeRecord(
        episode=episode.number,
        seed=episode.seed,
        outcome=verdict.outcome,
        steps=steps,
        stopped_steps=counted.stopped_steps,
        grasp_choice=verdict.grasp_choice,
        chunk_switches=counted.chunk_switches,
        underrun_steps=counted.underrun_steps,
        requests=counted.requests,
        detail={**verdict.detail, **timing},
        error=error,
    )
