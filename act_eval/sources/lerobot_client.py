"""The process of a LeRobot policy, and its client; `websockets` is imported with this module."""

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from act_eval.errors import CheckpointError, RemoteError, UsageError
from act_eval.policies.serving.client import RemotePolicy
from act_eval.serving import TOKEN
from act_eval.serving.connection import Endpoint
from act_eval.types import ActionChunks, ChunkRequest

_BOOT = Path(__file__).parents[1] / "lerobot_process" / "boot.py"
_PATIENCE_S = 1.0
"""The process serves nobody else and does not come back."""
_SHOWN = 2000
"""Characters of the process's output in an error."""


class LeRobotProcess:
    """The process of one policy. It ends when this object does, and with this process."""

    def __init__(self, python: str, name: str, settings: Mapping[str, Any]) -> None:
        """Start it.

        Raises:
            UsageError: if the interpreter cannot be run.
        """
        self._python, self._name, self._settings = python, name, settings
        self.token = secrets.token_urlsafe(32)
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        try:
            self._process = subprocess.Popen(
                [python, str(_BOOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._output,
                env={**os.environ, TOKEN: self.token},
                start_new_session=True,  # ctrl-C reaches this process alone, which ends the other
            )
        except OSError as error:
            self._output.close()
            raise UsageError(f"--policy-python {python} cannot be run: {error}") from error
        self.close = weakref.finalize(self, _end, self._process, self._output)
        """Ends the process; also called at exit."""

    def address(self, start_s: float) -> str:
        """Return the address of its server.

        Args:
            start_s: Longest time that it may take [s].

        Raises:
            UsageError: if its Python is not fit.
            CheckpointError: if it cannot serve the policy.
            RemoteError: if it ends or takes too long.
        """
        line = self._first_line(start_s)
        try:
            answer = json.loads(line) if line else {}
        except ValueError as error:
            self.close()
            raise RemoteError(f"{self._name}: {self._python} printed {line!r} instead of an address") from error
        if "address" in answer:
            return answer["address"]
        code, printed = self._process.poll(), self.printed()
        self.close()
        if "error" in answer:
            kind = UsageError if answer.get("kind") == "python" else CheckpointError
            raise kind(f"{self._name}: {self._python}: {answer['error']}")
        how = f"did not start within {start_s:g} s (--policy-options start_s=…)" if code is None else f"ended ({code})"
        raise RemoteError(f"{self._name}: its process ({self._python}) {how}; it printed:\n{printed or 'nothing'}")

    def ended(self) -> str | None:
        """Return how the process ended, with the end of its output; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"{self._name}: its process ({self._python}) ended ({code}); it printed:\n{self.printed() or 'nothing'}"

    def printed(self) -> str:
        """Return the end of what it printed."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), _SHOWN, max(0, size - _SHOWN)).decode(errors="replace").strip()

    def _first_line(self, start_s: float) -> str:
        """Send the settings and return the process's answer; empty if it ends or takes too long."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(self._settings).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            self._process.wait()
            return ""
        until, line = time.monotonic() + start_s, b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n") and waiting.select(max(0.0, until - time.monotonic())):
                read = os.read(stdout.fileno(), 4096)
                if not read:
                    self._process.wait()
                    break
                line += read
        return line.decode() if line.endswith(b"\n") else ""


def _end(process: "subprocess.Popen[bytes]", output: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, output):
        if stream is not None:
            with contextlib.suppress(OSError):  # a pipe to an ended process
                stream.close()


class LeRobotClient(RemotePolicy):
    """A policy in a process that is ended with it."""

    def __init__(self, process: LeRobotProcess, address: str, timeout_s: float) -> None:
        self._process = process
        super().__init__(Endpoint(url=address, token=process.token, timeout_s=timeout_s, patience_s=_PATIENCE_S))

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Request chunks.

        Raises:
            RemoteError: if the process has ended, with the end of its output.
            ActEvalError: as `RemotePolicy.predict`.
        """
        try:
            return super().predict(request)
        except RemoteError as error:
            ended = self._process.ended()
            raise RemoteError(ended) if ended else error from error

    def close(self) -> None:
        """Close the connection and end the process."""
        super().close()
        self._process.close()
