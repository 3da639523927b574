"""Time limits for the calls of policies and environments.

The limit is an alarm signal of the operating system: it raises an exception in Python code that hangs (a loop, a lock,
a socket, a sleep). Compiled code that hangs cannot be interrupted; the process then prints a traceback and exits, and
the run can be resumed.
"""

import faulthandler
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import gymnasium as gym

from act_eval.errors import UsageError
from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, PolicySpec

_GRACE = 3.0
"""Multiple of the limit after which the process exits."""


class CallTimeout(Exception):
    """A call exceeded its time limit; no OSError, which code that waits for a socket would take for its own."""


class PolicyTimeout:
    """A policy with a time limit per call; implements `act_eval.types.ChunkPolicy`."""

    def __init__(self, policy: ChunkPolicy, limit_s: float) -> None:
        self._policy = policy
        self._limit_s = limit_s

    @property
    def spec(self) -> PolicySpec:
        return self._policy.spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        with time_limit(self._limit_s, "the policy's reset"):
            self._policy.reset(rows, seeds)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        with time_limit(self._limit_s, "the policy's answer"):
            return self._policy.predict(request)


class EnvTimeout(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with a time limit per call."""

    def __init__(self, env: gym.Env[Any, Any], limit_s: float) -> None:
        super().__init__(env)
        self._limit_s = limit_s

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        with time_limit(self._limit_s, "the environment's reset"):
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with time_limit(self._limit_s, "the environment's step"):
            return self.env.step(action)


def check_limit(limit_s: float) -> None:
    """Refuse an invalid limit.

    Raises:
        UsageError: if it is out of range, or the system has no alarm signal.
    """
    if not 0 < limit_s < 1e6:
        raise UsageError(f"--call-timeout-s is {limit_s}; it must be above 0 and below 1000000")
    if sys.platform == "win32":
        raise UsageError("--call-timeout-s needs the alarm signal of Linux or macOS")


@contextmanager
def time_limit(limit_s: float, what: str) -> Iterator[None]:
    """Limit the duration of a block [s]; the alarm repeats in case the block swallows the exception.

    Raises:
        CallTimeout: if the block takes longer.
        UsageError: outside the main thread, the only one that receives signals.
    """
    if current_thread() is not main_thread():
        raise UsageError("--call-timeout-s works in a process's main thread only")

    def raise_timeout(_signal: int, _frame: FrameType | None) -> None:
        raise CallTimeout(f"{what} took longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    faulthandler.dump_traceback_later(_GRACE * limit_s + 5.0, exit=True)
    signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
