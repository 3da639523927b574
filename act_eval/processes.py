"""Worker processes: on Linux forked from a server that has imported PyTorch once, elsewhere started anew.

This module imports the standard library only, so that the server can start first and import while the parent does.
"""

import gc
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from act_eval.errors import LaunchError

WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # llvmpipe renders in the calling thread: a fifth less time per image
}
"""Environment variables of every worker process."""

end_process = os._exit
"""`os._exit`, also where `user_code.exits_raise` has replaced it."""

_FORKS = sys.platform == "linux"  # elsewhere system libraries do not survive a fork

NETWORKS = ("torch", "act_eval.policies.checkpoint", "act_eval.policies.serve")
EPISODES = ("act_eval.launch.local", "act_eval.evaluation.worker", "act_eval.sources.workers")
"""Modules that start no thread, and read nothing at import that may change before a worker starts."""

_FIRST = "act_eval.server_start"

_Process = (get_context("forkserver") if _FORKS else get_context("spawn")).Process


def preload(policy: object, workers: int | None, launcher: str) -> None:
    """Let the server of worker processes start, and import what workers need for a policy.

    Args:
        policy: as `--policy` names it; only networks of act_eval's own need PyTorch.
        workers: requested number; None: the default.
        launcher: its name; only `local` starts workers on this machine.
    """
    if workers != 1 and launcher == "local" and isinstance(policy, str):
        _start_server(EPISODES if ":" in policy or policy == "expert" else (*NETWORKS, *EPISODES))


def _start_server(modules: Sequence[str]) -> None:
    """Start the server; without effect where it runs already."""
    if _FORKS and not _running():
        forkserver.set_forkserver_preload([_FIRST, *modules])
        with _environment(WORKER_ENVIRONMENT), main_module_hidden(), _interrupts_blocked():
            forkserver.ensure_running()


def _running() -> bool:
    return forkserver._forkserver._forkserver_pid is not None  # pyright: ignore  # no public way to ask


def start_process(target: Callable[..., None], pipe: Connection, *args: Any) -> BaseProcess:
    """Start a worker process that calls `target(*args, pipe)`, and return it.

    It has this process's environment variables, with those of workers, and its import paths, but does not run the
    user's script again: a script or notebook needs no `if __name__ == "__main__"`. So every object that is sent to it
    must be importable; sources reject objects defined in `__main__`. The command line is hidden too: a module that a
    worker imports may parse it.

    Raises:
        LaunchError: if the system refuses another process.
    """
    _start_server(EPISODES)
    call = pickle.dumps((target, args))  # unpickled, which imports users' modules, when all is set
    with _environment(WORKER_ENVIRONMENT), main_module_hidden(), _interrupts_blocked():
        process: BaseProcess = _Process(target=_begin, args=(dict(os.environ), call, pipe), daemon=True)
        try:
            process.start()
        except (OSError, EOFError) as error:
            raise LaunchError(f"no worker process could be started: {error or 'their server was killed'}") from error
    return process


def _begin(environment: Mapping[str, str], call: bytes, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent handles it
    os.environ.clear()
    os.environ.update(environment)
    gc.freeze()  # what the server has imported
    gc.enable()
    target, args = pickle.loads(call)
    target(*args, pipe)


@contextmanager
def uncollected() -> Iterator[None]:
    """Put off collecting garbage, which takes an eighth of the time of importing PyTorch."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def end_with_parent() -> None:
    """End this process when its parent ends, so that it does not write into what a new run resumes."""
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        end_process(1)

    Thread(target=follow, daemon=True).start()


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep processes started inside the context from running the user's script again; see `start_process`."""
    argv, sys.argv = sys.argv, sys.argv[:1]
    main = sys.modules["__main__"].__dict__
    hidden = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)
        sys.argv = argv


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block ctrl-C while a process starts; in this process it is only delayed."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started inside the context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
