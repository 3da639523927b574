"""Runs attempts in this process or in spawned ones. Workers write episodes themselves and return one line each."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from act_eval.collect.plan import CollectPlan
from act_eval.collect.recording import Attempts, MakeAttempts
from act_eval.datasets import Attempt, AttemptFolder, Feature
from act_eval.errors import DatasetError
from act_eval.seeding import Purpose, episode_seeds


class Recorder:
    """Runs attempts and stores their episodes."""

    def __init__(
        self,
        plan: CollectPlan,
        source: Attempts,
        store: AttemptFolder,
        features: Mapping[str, Feature],
        fps: int,
    ) -> None:
        self.plan, self.store, self.features, self.fps = plan, store, features, fps
        self._source = source

    def attempt(self, number: int) -> Attempt:
        seed = episode_seeds(Purpose.COLLECT, self.plan.seed, 1, first=number)[0]
        outcome, episode = self._source.attempt(seed)
        if episode is None:
            return self.store.add_discarded(number, seed, outcome)
        return self.store.add_episode(number, episode, self.features, self.fps)


_recorder: Recorder | None = None
"""The recorder of a worker process."""

Submit = Callable[[int], "Future[Attempt]"]
"""Submits the attempt of a number."""


@contextmanager
def runner(recorder: Recorder, make: MakeAttempts, workers: int) -> Iterator[Submit]:
    """Yield a function that submits an attempt, to this process or to spawned ones."""
    if workers == 1:
        yield lambda number: _done(recorder.attempt(number))
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


def _done(attempt: Attempt) -> "Future[Attempt]":
    future: Future[Attempt] = Future()
    future.set_result(attempt)
    return future


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
