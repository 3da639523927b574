"""Episodes from beginning to end: environments stepped in this process, one policy prediction for all that are due.

Each slot runs one environment; a slot that has finished takes the next episode, when another one asks the policy: so
they go on asking together, and few rows of a prediction stand empty. An episode's seed alone decides what happens in
it, so its record is the same in any slot, beside any neighbours and in any order.

An episode whose policy is at fault ends as `policy_error`; one whose environment is at fault is `invalid` and
outside the rate. An exception of an environment or a policy is therefore a result here, and only here and in
`act_eval.executors.request` is every exception caught. Where OpenGL is lost no episode is at fault: the run stops.
Of an environment's hooks (`act_eval.types.env_hooks`) the rollout uses `skip_cameras`, `simulator_state` and `verdict`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.decoding import find_unserializable
from act_eval.errors import ActionError, RemoteError, RenderError, SimulationError, UsageError
from act_eval.rollout.entries import episode_record, step_record
from act_eval.rollout.observations import ObservationBatch
from act_eval.rollout.slots import Episode, FrameObserver, Lane, lanes, says_success
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
    Observer,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class EpisodeClock:
    """What the wall clock says of one episode."""

    episode: int
    wall_s: float
    """From its reset to its end, other slots' work in between included [s]."""
    inference_ms: tuple[float, ...]
    """Each prediction that the episode took part in, all rows of it [ms]."""


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
        executor: Decides what runs.
        episodes: In the order in which they begin.
        observers: Told of every step before it is taken, of the state in which an episode ended if they have
            `on_end_state`, of every end, and of what the environments render if they have `on_frame`.
        should_stop: Asked before an episode begins; once it says True no further one does, running ones finish.
        on_clock: Takes what depends on the wall clock.

    Raises:
        UsageError: if an environment says neither by `verdict()` nor by `info["is_success"]` how an episode went.
        FeatureMismatch: if its observation lacks `agent_pos` or has pixels without camera names.
    """
    batch = _Batch(envs, executor, observers, on_clock)
    waiting = iter(episodes)
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
        self._lanes = lanes(envs)
        self._executor = executor
        self._observers = observers
        self._end_observers = [o for o in observers if isinstance(o, EndStateObserver)]
        self._frame_observers = [o for o in observers if isinstance(o, FrameObserver)]
        self._on_clock = on_clock
        self._seen = ObservationBatch(len(envs))
        self._asks = False  # the expert never does
        self._request_due = False

    @property
    def running(self) -> bool:
        return any(lane.episode is not None for lane in self._lanes)

    def show_all_cameras(self) -> None:
        for lane in self._lanes:
            lane.look(True)

    def begin(self, waiting: Iterator[Episode], should_stop: Callable[[], bool]) -> Iterator[EpisodeRecord]:
        """Give waiting episodes to idle slots, when a request is due; yields those that end before their first step."""
        if self._asks and self.running and not self._request_due:
            return
        for lane in self._lanes:
            while lane.episode is None and not should_stop():
                episode = next(waiting, None)
                if episode is None:
                    return
                lane.take_on(episode)
                failure = self._reset(lane, episode)
                if failure is not None:
                    yield self._end(lane, episode, *failure)

    def _reset(self, lane: Lane, episode: Episode) -> tuple[str, str] | None:
        """Reset environment and policy; return (outcome, what went wrong) where that fails."""
        lane.look(True)
        try:
            observed, _ = lane.env.reset(seed=episode.seed)
        except RenderError:
            raise
        except Exception as error:
            return INVALID, _text(error)
        lane.began = True
        try:
            self._seen.put(lane.row, observed)
        except SimulationError as error:
            return INVALID, _text(error)
        try:
            self._executor.reset([lane.row], [episode.seed])
        except (UsageError, RemoteError):
            raise
        except Exception as error:
            return POLICY_ERROR, _text(error)
        lane.counted = True
        return None

    def step(self) -> Iterator[EpisodeRecord]:
        """Take one step in every running slot; yields the episodes that end by it."""
        running = [(lane, lane.episode) for lane in self._lanes if lane.episode is not None]
        steps = [-1 if lane.episode is None else lane.step for lane in self._lanes]
        actions = self._executor.act(np.array(steps, np.int64), self._seen.observation)
        for row in (*actions.errors, *actions.invalid):
            steps[row] = -1
        following = [-1 if step < 0 else step + 1 for step in steps]
        looks = self._executor.wants_observation(np.array(following, np.int64)).tolist()
        self._asks |= bool(actions.requested.any())
        self._request_due = any(looks)
        sent = actions.command if actions.ran is None else actions.ran
        for lane, episode in running:
            if lane.row in actions.errors:
                yield self._end(lane, episode, POLICY_ERROR, actions.errors[lane.row])
                continue
            if lane.row in actions.invalid:
                yield self._end(lane, episode, INVALID, actions.invalid[lane.row])
                continue
            self._tell(lane, episode, actions)
            ended = self._advance(lane, sent[lane.row].copy(), looks[lane.row])
            if ended is not None:
                yield self._end(lane, episode, *ended)

    def _show(self, lane: Lane, episode: Episode) -> None:
        """Show the present moment to those who keep frames."""
        if self._frame_observers:
            image = lane.frame()
            for observer in self._frame_observers:
                observer.on_frame(episode.number, lane.step, image)

    def _tell(self, lane: Lane, episode: Episode, actions: Actions) -> None:
        self._show(lane, episode)
        if self._observers:
            record = step_record(episode, lane.step, actions, lane.row, lane.state())
            for observer in self._observers:
                observer.on_step(record)

    def _advance(self, lane: Lane, command: FloatArray, look: bool) -> tuple[str | None, str | None] | None:
        """Take a step; return None while the episode goes on, else (outcome or None: judge it, what went wrong)."""
        lane.look(look)
        try:
            observed, _, terminated, truncated, info = lane.env.step(command)
        except ActionError as error:
            return POLICY_ERROR, _text(error)
        except RenderError:
            raise
        except Exception as error:
            return INVALID, _text(error)
        lane.step += 1
        if lane.hooks.verdict is None:
            lane.succeeded |= says_success(info)
        if terminated or truncated:
            return None, None
        if not look:
            return None
        try:
            self._seen.put(lane.row, observed)
        except SimulationError as error:
            return INVALID, _text(error)
        return None

    def _end(self, lane: Lane, episode: Episode, outcome: str | None, error: str | None) -> EpisodeRecord:
        """Close a slot's episode and return its record."""
        if outcome != INVALID:
            self._show(lane, episode)
        verdict = Verdict(outcome=outcome) if outcome is not None else None
        if verdict is None:
            verdict, error = _judge(lane)
        counted = self._executor.statistics(lane.row) if lane.counted else NOTHING_COUNTED
        record = episode_record(episode, lane.step, verdict, error, counted)
        if self._end_observers:
            state = lane.end_state()
            for observer in self._end_observers:
                observer.on_end_state(episode.number, state)
        for observer in self._observers:
            observer.on_episode_end(record)
        if self._on_clock is not None:
            spent = perf_counter() - lane.since
            times = self._executor.inference_ms(lane.row) if lane.counted else ()
            self._on_clock(EpisodeClock(episode=episode.number, wall_s=spent, inference_ms=times))
        lane.episode = None
        return record


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _judge(lane: Lane) -> tuple[Verdict, str | None]:
    """Return the outcome of an episode that ended by itself: success at any step where only the info tells."""
    if lane.hooks.verdict is None:
        return Verdict(outcome=SUCCESS if lane.succeeded else "timeout"), None
    try:
        verdict = lane.hooks.verdict()
        if not isinstance(verdict, Verdict):
            raise TypeError(f"verdict() returned {verdict!r}, expected an act_eval.types.Verdict")
        if verdict.outcome not in OUTCOMES:
            raise ValueError(f"verdict().outcome is {verdict.outcome!r}; there are: {', '.join(OUTCOMES)}")
        problem = find_unserializable(verdict, "verdict")
    except Exception as error:
        return Verdict(outcome=INVALID), _text(error)
    return (verdict, None) if problem is None else (Verdict(outcome=INVALID), problem)
