"""One attempt: someone acts in a seeded episode; of the expert's, those that succeed are kept.

Attempts run in this process or in spawned ones. Workers write episodes themselves and return one line each.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any, Protocol

import numpy as np

from act_eval.collect.plan import CollectPlan
from act_eval.datasets import Attempt, AttemptFolder, Episode, Feature, ImageStorage, demonstration_features
from act_eval.datasets.layout import DONE, SUCCESS
from act_eval.envs.recovery_expert import RecoveryExpert
from act_eval.envs.registration import make as make_env
from act_eval.errors import DatasetError, SimulationError, UsageError
from act_eval.scenes.arm import JOINTS
from act_eval.seeding import Purpose, episode_seeds
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


def observed(env: Any) -> tuple[dict[str, tuple[int, int]], int]:
    """Return the cameras of an environment with (height, width) [pixels], and the size of its `environment_state`."""
    spaces = env.observation_space.spaces
    cameras = {name: space.shape[:2] for name, space in spaces["pixels"].spaces.items()} if "pixels" in spaces else {}
    return cameras, spaces["environment_state"].shape[0] if "environment_state" in spaces else 0


@dataclass(frozen=True)
class Demonstrator:
    """An environment with an expert that acts in it."""

    env: Any
    """A Gymnasium environment; its `unwrapped` has `verdict()` and `suite_facts()`."""
    expert: Expert
    joints: tuple[str, ...]
    """Names of the joints, in the order of `agent_pos` and of the action."""
    begin: Callable[[int], int] = lambda _seed: 0
    """Called with the episode seed after every reset; returns the number of initial steps not to record."""

    def features(self, images: ImageStorage) -> dict[str, Feature]:
        """Return the features of demonstrations."""
        cameras, environment_state = observed(self.env)
        return demonstration_features(self.joints, cameras, images, environment_state)

    def attempt(self, seed: int) -> tuple[str, Episode | None]:
        """Run one episode, and keep it if it succeeds."""
        return _record(self, seed)


def expert_demonstrator(env_id: str, options: Mapping[str, Any], recovery: float = 0.0) -> Demonstrator:
    """Return an environment of act_eval with its expert.

    Args:
        env_id: Gymnasium id.
        options: options of the environment.
        recovery: share of the episodes that begin with a mistake, which is not recorded.

    Raises:
        UsageError: if the environment does not know an option.
    """
    try:
        env = make_env(env_id, options)
    except TypeError as error:  # Gymnasium lets the constructor's complaint through
        raise UsageError(f"{env_id} does not take the options {dict(options)}: {error}") from error
    expert = RecoveryExpert(env.unwrapped, recovery)  # pyright: ignore[reportArgumentType]
    return Demonstrator(env, expert, JOINTS, expert.begin)


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
        IMAGE_PREFIX + name: np.stack([o["pixels"][name] for o in observations])
        for name in observations[0].get("pixels", ())
    }
    return Episode(seed, {**vectors, SUCCESS: success, DONE: done}, frames)


@dataclass(frozen=True)
class Recorder:
    """Runs attempts and stores their episodes."""

    plan: CollectPlan
    source: Attempts
    store: AttemptFolder
    features: Mapping[str, Feature]
    fps: int

    def attempt(self, number: int) -> Attempt:
        """Run the attempt of a number; its worker writes its episode, and returns one line."""
        seed = episode_seeds(Purpose.COLLECT, self.plan.seed, 1, first=number)[0]
        outcome, episode = self.source.attempt(seed)
        return self.store.add(number, seed, outcome, episode, self.features, self.fps)


_recorder: Recorder | None = None
"""The recorder of a worker process."""

Submit = Callable[[int], "Future[Attempt]"]
"""Submits the attempt of a number."""


@contextmanager
def runner(recorder: Recorder, make: MakeAttempts, workers: int) -> Iterator[Submit]:
    """Yield a function that submits an attempt, to this process or to spawned ones."""
    if workers == 1:

        def run(number: int) -> Future[Attempt]:
            future: Future[Attempt] = Future()
            future.set_result(recorder.attempt(number))
            return future

        yield run
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(recorder.plan, make, recorder.store, recorder.features, recorder.fps),
    )
    try:
        yield lambda number: pool.submit(_attempt_in_worker, number)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"a collecting process died; finished attempts are kept in {recorder.store.folder}, and the same command "
            "continues. With fewer --workers it needs less memory"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(
    plan: CollectPlan, make: MakeAttempts, store: AttemptFolder, features: Mapping[str, Feature], fps: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C: running attempts finish
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _recorder
    _recorder = Recorder(plan, make(plan.env, plan.options), store, features, fps)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the parent was killed


def _attempt_in_worker(number: int) -> Attempt:
    if _recorder is None:
        raise AssertionError("a worker runs _start_worker first")
    return _recorder.attempt(number)
