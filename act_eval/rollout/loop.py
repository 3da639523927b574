"""The rollout loop: steps environments in this process, with one policy prediction for all requests that are due.

Each slot runs one environment. A finished slot starts its next episode at the step of another slot's request, so the
slots keep requesting together and predictions are batched well. An episode depends on its seed alone: its record is the
same in any slot, batch and order.

A fault of the policy ends its episode as `policy_error`; a fault of the environment ends it as `invalid`, outside the
rate. Exceptions of environments and policies, the end of the process included, are therefore results here; only this
module and `act_eval.executors.request` catch every exception. A lost OpenGL context is no episode's fault and stops the
run. Of an environment's hooks (`act_eval.types.env_hooks`) the rollout uses `skip_cameras`, `simulator_state` and
`verdict`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.encoding import find_unserializable
from act_eval.errors import ActionError, RemoteError, SimulationError, UsageError
from act_eval.rollout.observations import ObservationBatch
from act_eval.rollout.slots import (
    NO_STATE,
    STOP,
    EnvSlot,
    Episode,
    FrameObserver,
    env_slots,
    episode_record,
    is_success,
    step_record,
)
from act_eval.rollout.timeouts import EnvTimeout
from act_eval.types import (
    INVALID,
    NOTHING_COUNTED,
    OUTCOMES,
    POLICY_ERROR,
    SUCCESS,
    Actions,
    EndStateObserver,
    EpisodeRecord,
    Executor,
    FloatArray,
    ImageArray,
    Observer,
    Verdict,
)
from act_eval.user_code import Fault, exits_raise, truth

_End = tuple[str | None, str | None]
"""(outcome, or None if the environment decides it; error)."""


@dataclass(frozen=True, kw_only=True)
class EpisodeClock:
    """Wall-clock times of one episode."""

    episode: int
    wall_s: float
    """From reset to end, the interleaved work of other slots included [s]."""
    inference_ms: tuple[float, ...]
    """Each batched prediction that the episode took part in [ms]."""


def rollout(
    envs: Sequence[gym.Env[Any, Any]],
    executor: Executor,
    episodes: Iterable[Episode],
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] | None = None,
    on_clock: Callable[[EpisodeClock], None] | None = None,
) -> Iterator[EpisodeRecord]:
    """Run episodes and yield their records as they end.

    Args:
        envs: One environment per slot, none shared.
        executor: Decides the commands.
        episodes: In starting order.
        observers: Called before every step and at every end of an episode; `on_end_state` receives the final state,
            `on_frame` the rendered frames.
        should_stop: Called before each episode; once it returns True no further episode begins, running ones finish.
        on_clock: Receives the wall-clock times.

    Raises:
        UsageError: if an environment has neither `verdict()` nor `info["is_success"]`.
        FeatureMismatch: if its observation lacks `agent_pos` or has pixels without camera names.
    """
    batch = _Batch(envs, executor, observers, on_clock)
    waiting = iter(episodes)
    with exits_raise():
        try:
            while True:
                yield from batch.begin(waiting, should_stop or (lambda: False))
                if not batch.running:
                    return
                yield from batch.step()
        finally:
            batch.show_all_cameras()


class _Batch:
    """The slots, stepped together."""

    def __init__(
        self,
        envs: Sequence[gym.Env[Any, Any]],
        executor: Executor,
        observers: Sequence[Observer],
        on_clock: Callable[[EpisodeClock], None] | None,
    ) -> None:
        self._slots = env_slots(envs)
        self._executor = executor
        # An executor that reads observations of steps without a request says which steps have one.
        self._wants_request = getattr(executor, "wants_request", None)
        self._observers = observers
        self._end_observers = [o for o in observers if isinstance(o, EndStateObserver)]
        self._frame_observers = [o for o in observers if isinstance(o, FrameObserver)]
        self._on_clock = on_clock
        self._seen = ObservationBatch(len(envs), envs[0].observation_space)
        self._has_requests = False  # never, under the expert
        self._request_due = False

    @property
    def running(self) -> bool:
        return any(slot.episode is not None for slot in self._slots)

    def show_all_cameras(self) -> None:
        for slot in self._slots:
            slot.set_cameras(True)

    def begin(self, waiting: Iterator[Episode], should_stop: Callable[[], bool]) -> Iterator[EpisodeRecord]:
        """Start waiting episodes in idle slots once a request is due; yield those that end before their first step."""
        if self._has_requests and self.running and not self._request_due:
            return
        for slot in self._slots:
            while slot.episode is None and not should_stop():
                episode = next(waiting, None)
                if episode is None:
                    return
                slot.start_episode(episode)
                failure = self._reset(slot, episode)
                if failure is not None:
                    yield self._end(slot, episode, *failure)

    def _reset(self, slot: EnvSlot, episode: Episode) -> _End | None:
        """Reset environment and policy; return the end of the episode on failure."""
        try:
            slot.set_cameras(True)
            observed, _ = slot.env.reset(seed=episode.seed)
            slot.began = True
        except STOP:
            raise
        except BaseException as error:  # user code may raise anything
            return INVALID, Fault.of(error)
        try:
            self._seen.put(slot.row, observed)
        except SimulationError as error:
            return INVALID, Fault.of(error)
        try:
            self._executor.reset([slot.row], [episode.seed])
        except (*STOP, UsageError, RemoteError):
            raise
        except BaseException as error:  # user code may raise anything
            return POLICY_ERROR, Fault.of(error)
        slot.counted = True
        return None

    def step(self) -> Iterator[EpisodeRecord]:
        """Take one step in every running slot; yield the episodes that end."""
        running = [(slot, slot.episode) for slot in self._slots if slot.episode is not None]
        steps = [-1 if slot.episode is None else slot.step for slot in self._slots]
        actions = self._executor.act(np.array(steps, np.int64), self._seen.observation)
        for row in (*actions.errors, *actions.invalid):
            steps[row] = -1
        following = [-1 if step < 0 else step + 1 for step in steps]
        images_needed = self._executor.wants_observation(np.array(following, np.int64)).tolist()
        self._has_requests |= bool(actions.requested.any())
        due = images_needed if self._wants_request is None else self._wants_request(np.array(following, np.int64))
        self._request_due = any(due)
        sent = actions.command if actions.ran is None else actions.ran
        if len(running) > 1 and not self._frame_observers:
            self._begin_steps([slot for slot, _ in running if steps[slot.row] >= 0], sent, images_needed)
        for slot, episode in running:
            if slot.row in actions.errors:
                yield self._end(slot, episode, POLICY_ERROR, actions.errors[slot.row])
                continue
            if slot.row in actions.invalid:
                yield self._end(slot, episode, INVALID, actions.invalid[slot.row])
                continue
            ended = self._advance(slot, episode, actions, sent[slot.row].copy(), images_needed[slot.row])
            if ended is not None:
                yield self._end(slot, episode, *ended)

    def _begin_steps(self, slots: Sequence[EnvSlot], commands: FloatArray, images_needed: Sequence[bool]) -> None:
        """Begin the steps of environments that other processes hold, so that these run them together.

        With a time limit each step runs by itself.
        """
        for slot in slots:
            if slot.hooks.begin_step is not None and not isinstance(slot.env, EnvTimeout):
                try:
                    slot.set_cameras(images_needed[slot.row])
                    slot.hooks.begin_step(commands[slot.row].copy())
                except STOP:
                    raise
                except BaseException:  # the step itself raises it again
                    continue

    def _show(self, image: ImageArray, slot: EnvSlot, episode: Episode) -> None:
        for observer in self._frame_observers:
            observer.on_frame(episode.number, slot.step, image)

    def _advance(
        self, slot: EnvSlot, episode: Episode, actions: Actions, command: FloatArray, image_needed: bool
    ) -> _End | None:
        """Observe and take a step; return None while the episode goes on, else its end."""
        try:
            image = slot.frame() if self._frame_observers else None
            state = slot.state() if self._observers else NO_STATE
        except STOP:
            raise
        except BaseException as error:  # user code may raise anything
            return INVALID, Fault.of(error)
        if image is not None:
            self._show(image, slot, episode)
        if self._observers:
            record = step_record(episode, slot.step, actions, slot.row, state)
            for observer in self._observers:
                observer.on_step(record)
        try:
            slot.set_cameras(image_needed)
            observed, _, terminated, truncated, info = slot.env.step(command)
            slot.step += 1
            ended = truth("terminated", terminated, SimulationError) or truth("truncated", truncated, SimulationError)
            if image_needed and not ended:
                self._seen.put(slot.row, observed)
        except ActionError as error:
            return POLICY_ERROR, Fault.of(error)
        except STOP:
            raise
        except BaseException as error:  # user code may raise anything
            return INVALID, Fault.of(error)
        if slot.hooks.verdict is None:
            slot.succeeded |= is_success(info)
        return (None, None) if ended else None

    def _end(self, slot: EnvSlot, episode: Episode, outcome: str | None, error: str | None) -> EpisodeRecord:
        """End a slot's episode and return its record."""
        if outcome != INVALID and self._frame_observers:
            try:
                self._show(slot.frame(), slot, episode)
            except SimulationError as fault:
                outcome, error = outcome or INVALID, error or Fault.of(fault)
        verdict = Verdict(outcome=outcome) if outcome is not None else None
        if verdict is None:
            verdict, error = _judge(slot)
        counted = self._executor.statistics(slot.row) if slot.counted else NOTHING_COUNTED
        record = episode_record(episode, slot.step, verdict, error, counted)
        if self._end_observers:
            state = slot.end_state()
            for observer in self._end_observers:
                observer.on_end_state(episode.number, state)
        for observer in self._observers:
            observer.on_episode_end(record)
        if self._on_clock is not None:
            spent = perf_counter() - slot.since
            times = self._executor.inference_ms(slot.row) if slot.counted else ()
            self._on_clock(EpisodeClock(episode=episode.number, wall_s=spent, inference_ms=times))
        slot.episode = None
        return record


def _judge(slot: EnvSlot) -> tuple[Verdict, str | None]:
    """Return the outcome of an episode without a fault: from the verdict hook, or success at any step by `info`."""
    if slot.hooks.verdict is None:
        return Verdict(outcome=SUCCESS if slot.succeeded else "timeout"), None
    try:
        verdict = slot.hooks.verdict()
        if not isinstance(verdict, Verdict):
            raise TypeError(f"verdict() returned {verdict!r}, expected an act_eval.types.Verdict")
        if verdict.outcome not in OUTCOMES:
            raise ValueError(f"verdict().outcome is {verdict.outcome!r}; there are: {', '.join(OUTCOMES)}")
        problem = find_unserializable(verdict, "verdict")
    except STOP:
        raise
    except BaseException as error:  # user code may raise anything
        return Verdict(outcome=INVALID), Fault.of(error)
    return (verdict, None) if problem is None else (Verdict(outcome=INVALID), problem)
