"""Environments in a process of their own, under any Python: simulators whose packages do not fit into this one.

The process inherits one end of a socket pair and shared memory, neither of which has a name or an address; both are
gone when this process ends, however it ends. All environments that one worker makes of one name share a process. If it
dies, their episodes are invalid and the next reset starts another one; a call that is interrupted ends it too.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from act_eval.errors import SimulationError, UsageError
from act_eval.processes import WORKER_ENVIRONMENT

if TYPE_CHECKING:
    from act_eval.envs.serving.client import ServedEnv

_BEGINS_S = 60.0
_ENDS_S = 5.0
_LARGEST = 2**30
_PACKAGE = Path(__file__).parents[1]
_CHILD = Path(__file__).with_name("env_child.py")
_OLDEST = (3, 11)

_processes: "WeakValueDictionary[tuple[str, str], EnvProcess]" = WeakValueDictionary()


def made_in_process(python: str, name: str, options: Mapping[str, Any], film: bool, horizon: int | None) -> "ServedEnv":
    """Return an environment in a process of `python`; see `act_eval.sources.external_envs.make_raw`.

    Raises:
        UsageError: or a child of it, if that Python cannot be used or the environment cannot be made there.
    """
    from act_eval.envs.serving.client import ServedEnv

    try:
        job = json.dumps({"name": name, "options": dict(options)}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--env-python: the options of {name} must be JSON values: {error}") from error
    process = _processes.get((python, job))
    if process is None:
        process = _processes[python, job] = EnvProcess(python, job)
    process.users += 1
    return ServedEnv(process, film, horizon)


class EnvProcess:
    """A process that holds environments of one name; implements `act_eval.envs.serving.client.Channel`."""

    def __init__(self, python: str, job: str) -> None:
        self.where = f"the environment's process ({python})"
        self.life = 0
        self.users = 0
        """Environments that have not been closed."""
        self.begun: dict[int, dict[str, Any]] = {}
        self.arrived: dict[int, dict[str, Any]] = {}
        self._python, self._job = python, job
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start the process unless it runs.

        Raises:
            UsageError: if the Python cannot be run, or lacks a package.
        """
        if self._process is not None:
            return
        need_messages()
        from act_eval.serving.shared_arrays import SharedArrays, reserve

        here, there = socket.socketpair()
        memory = reserve()
        self._connection, self._shared = Connection(here.detach()), SharedArrays(memory)
        try:
            self._process = _start(self._python, there.fileno(), memory)
        finally:
            there.close()
            os.close(memory)
        _check_hello(self._python, self._interrupted_by_faults(self._hello))
        self._interrupted_by_faults(lambda: self._connection.send_bytes(self._job.encode()))

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request.

        Raises:
            SimulationError: if the process has died.
        """
        from act_eval.serving.messages import pack, unpack

        frame = pack(message)

        def ask() -> bytes:
            self._connection.send_bytes(frame)
            return self._connection.recv_bytes(_LARGEST)

        return unpack(self._interrupted_by_faults(ask), self._shared)

    def release(self) -> None:
        """End the process after its last environment."""
        self.users -= 1
        if self.users <= 0:
            self._end()

    def _interrupted_by_faults(self, ask: Callable[[], Any]) -> Any:
        """Return what `ask` returns; end the process if it is interrupted, since a late response would be misread."""
        try:
            return ask()
        except (EOFError, OSError) as error:
            raise SimulationError(f"{self.where} {self._end()}") from error
        except BaseException:  # a time limit or ctrl-C, either of which may come again at once
            if self._process is not None:
                self._process.kill()
            self._end()
            raise

    def _hello(self) -> bytes:
        if not self._connection.poll(_BEGINS_S):
            raise UsageError(f"--env-python {self._python} has not answered within {_BEGINS_S:g} s: is it a Python?")
        try:
            return self._connection.recv_bytes(_LARGEST)
        except (EOFError, OSError) as error:
            raise UsageError(
                f"--env-python {self._python} {self._end()} before it answered: it must be a Python interpreter"
            ) from error

    def _end(self) -> str:
        """End the process; return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "has ended"
        self.life += 1
        self._connection.close()
        try:
            code = process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"did not answer and was ended after {_ENDS_S:g} s"
        return f"was killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def __del__(self) -> None:
        self._end()


def need_messages() -> None:
    """Refuse a process of its own where the package of its messages is missing.

    Raises:
        UsageError: naming it.
    """
    from importlib.util import find_spec

    if find_spec("msgpack") is None:
        raise UsageError("--env-python needs 'msgpack' here too: pip install 'act_eval[serve]'")


def _start(python: str, connection: int, memory: int) -> "subprocess.Popen[bytes]":
    if sys.platform == "win32":
        raise UsageError("--env-python needs Linux or macOS")
    command = [python, os.fspath(_CHILD), str(connection), str(memory), os.fspath(_PACKAGE)]
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    kept = {**WORKER_ENVIRONMENT, **kept}
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(connection, memory), env=kept)
    except OSError as error:
        raise UsageError(f"--env-python {python} cannot be run: {error.strerror}") from error


def _check_hello(python: str, frame: bytes) -> None:
    """Refuse a Python that is too old or lacks a package."""
    try:
        hello = json.loads(frame)
        version, missing = hello["python"], list(map(str, hello["missing"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--env-python {python} answers {frame[:80]!r}: it must be a Python interpreter") from error
    if tuple(version) < _OLDEST:
        oldest, found = (".".join(map(str, one)) for one in (_OLDEST, version))
        raise UsageError(f"--env-python {python} is Python {found}; it must be {oldest} or newer")
    if missing:
        packages = " ".join(missing)
        raise UsageError(f"--env-python {python} lacks {', '.join(missing)}: {python} -m pip install {packages}")
