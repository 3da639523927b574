"""One attempt: someone acts in a seeded episode; of the expert's, those that succeed are kept.

Attempts run in this process or in spawned ones. Workers write episodes themselves and return one line each.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np

from act_eval.collect.plan import CollectPlan
from act_eval.config import EnvDeclaration
from act_eval.datasets import Attempt, AttemptFolder, Episode, Feature, ImageStorage, Shown, demonstration_features
from act_eval.datasets.layout import DONE, SUCCESS
from act_eval.envs.expert_executor import expert_of
from act_eval.envs.recovery_expert import RecoveryExpert
from act_eval.errors import DatasetError, SimulationError, UsageError
from act_eval.processes import end_with_parent
from act_eval.scenes.arm import JOINTS
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.env_declaration import as_dict
from act_eval.sources.environments import EnvSource
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, FloatArray


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


def shown_by(env: Any, joints: Sequence[str] = ()) -> Shown:
    """Return what an environment shows and takes.

    Args:
        env: a Gymnasium environment with act_eval's observations.
        joints: names of the numbers of `agent_pos` and of the action, in a built-in environment; elsewhere they are
            numbered.
    """
    found = env.observation_space.spaces
    cameras = {name: space.shape[:2] for name, space in found["pixels"].spaces.items()} if "pixels" in found else {}
    size = found["environment_state"].shape[0] if "environment_state" in found else 0
    if joints:
        target = ("target_x", "target_y", *_numbered("state", size)[2:])[:size]
        return Shown(state=tuple(joints), environment_state=target, action=tuple(joints), cameras=cameras)
    return Shown(
        state=_numbered("state", found["agent_pos"].shape[0]),
        environment_state=_numbered("environment_state", size),
        action=_numbered("action", env.action_space.shape[0]),
        cameras=cameras,
    )


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{number}" for number in range(count))


@dataclass(frozen=True)
class Demonstrator:
    """An environment with an expert that acts in it."""

    env: Any
    """A Gymnasium environment; its `unwrapped` has `verdict()` and `suite_facts()`."""
    act: Callable[[], FloatArray]
    """Returns the expert's command (A,) for this moment."""
    joints: tuple[str, ...] = ()
    """Names of the joints, in the order of `agent_pos` and of the action, if these are joints."""
    begin: Callable[[int], int] = lambda _seed: 0
    """Called with the episode seed after every reset; returns the number of initial steps not to record."""

    def features(self, images: ImageStorage) -> dict[str, Feature]:
        """Return the features of demonstrations."""
        return demonstration_features(shown_by(self.env, self.joints), images)

    def attempt(self, seed: int) -> tuple[str, Episode | None]:
        """Run one episode, and keep it if it succeeds."""
        return _record(self, seed)


def expert_demonstrator(source: EnvSource, recovery: float = 0.0) -> Demonstrator:
    """Return an environment with its scripted expert.

    Args:
        source: of the environment.
        recovery: share of a built-in one's episodes that begin with a mistake, which is not recorded.

    Raises:
        UsageError: if the environment does not know an option, or has no expert.
    """
    env = source.make()
    if source.declared is not None:
        return Demonstrator(env, expert_of(env))
    expert = RecoveryExpert(env.unwrapped, recovery)  # pyright: ignore[reportArgumentType]
    return Demonstrator(env, expert.act, JOINTS, expert.begin)


def plan_of(source: EnvSource, flags: EnvDeclaration) -> dict[str, Any]:
    """Return what a plan says of an environment: arguments of `CollectPlan`.

    Args:
        source: of the environment.
        flags: what users declared of it.

    Raises:
        UsageError: if a built-in environment is to run in another Python.
    """
    if source.declared is not None:
        declared = {name: value for name, value in as_dict(flags).items() if name != "env_options"}
        return {"env": source.env_id, "options": source.options, "declared": declared, "task": source.env_id}
    if source.place is not None:
        raise UsageError(
            f"{source.label} is built in, and collected in this Python: name it as --env, without --env-python"
        )
    return {"env": source.env_id, "options": source.options}


TOO_SHORT = "too_short"
"""Outcome of an attempt that ended before its recording began."""

MakeAttempts = Callable[[], Attempts]
"""Can be pickled, since workers call it."""


def _record(demonstrator: Demonstrator, seed: int) -> tuple[str, Episode | None]:
    env, observations, commands, flags = demonstrator.env, [], [], []
    observation, _ = env.reset(seed=seed)
    first = demonstrator.begin(seed)
    ended = False
    while not ended:
        command = np.array(demonstrator.act(), np.float32)
        observations.append(observation)
        commands.append(command)
        try:
            observation, _, terminated, truncated, info = env.step(command)
        except SimulationError:
            return "invalid", None
        ended = bool(terminated or truncated)
        flags.append((bool(info.get("is_success", False)), ended))
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
    end_with_parent()
    global _recorder
    _recorder = Recorder(plan, make(), store, features, fps)


def _attempt_in_worker(number: int) -> Attempt:
    if _recorder is None:
        raise AssertionError("a worker runs _start_worker first")
    return _recorder.attempt(number)
