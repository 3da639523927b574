"""A client's connection to a server: reconnects and repeats the request if it breaks, within limits.

If the server stays away longer than `patience_s`, or one request loses the connection more than `MOST_REPEATS` times,
the run ends with a `RemoteError`. Finished episodes are kept.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from act_eval.errors import RemoteError, UsageError
from act_eval.policies.serving import TOKEN

MOST_REPEATS = 5
LARGEST_ANSWER = 64 * 2**20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_TOO_BIG = 1009


@dataclass(frozen=True, kw_only=True)
class Line:
    """Address of a server and the client's time limits."""

    url: str
    """`ws://host:port` or `wss://host:port`."""
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    """Per answer [s]; after it the connection counts as broken."""
    patience_s: float = 60.0
    """For reconnecting to a lost server [s]."""

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise UsageError(f"the token in {TOKEN} must be printable ASCII")
        for name in ("timeout_s", "patience_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")


class Link:
    """One connection to one server, one request at a time."""

    def __init__(self, line: Line, greeted: Callable[[bytes], None]) -> None:
        """Connect.

        Args:
            line: address and limits.
            greeted: checks the first frame of every connection; raises if it is not acceptable.

        Raises:
            RemoteError: if no server answers.
            UsageError: if the token is missing or wrong.
        """
        self._line = line
        self._greeted = greeted
        self._connection: ClientConnection | None = None
        self._held = contextlib.ExitStack()
        self._connect()

    def ask(self, question: bytes) -> bytes | str:
        """Return the answer to a request; reconnects if the connection breaks.

        Raises:
            RemoteError: if the server does not come back, or this request loses the connection too often.
            UsageError: if the request is too large for the server, or the token is no longer accepted.
        """
        reason = ""
        for _ in range(1 + MOST_REPEATS):
            try:
                if self._connection is None:
                    self._mend()
                return self._exchange(question)
            except ConnectionClosed as error:
                reason = _closed(error, len(question))
            except (OSError, TimeoutError) as error:
                reason = str(error) or f"no answer within {self._line.timeout_s:g} s"
            self.close()
        raise RemoteError(
            f"{self._line.url} was lost {1 + MOST_REPEATS} times over one question: {reason}. "
            "Finished episodes are kept: repeat the command to run the others."
        )

    def close(self) -> None:
        """Close the connection; the next request connects again."""
        self._connection = None
        with contextlib.suppress(OSError, WebSocketException):
            self._held.close()

    def _exchange(self, question: bytes) -> bytes | str:
        assert self._connection is not None
        self._connection.send(question)
        return self._connection.recv(timeout=self._line.timeout_s)

    def _mend(self) -> None:
        """Reconnect, with growing pauses."""
        until, pause = time.monotonic() + self._line.patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._connect()
            except RemoteError as error:
                if time.monotonic() + pause > until:
                    raise RemoteError(
                        f"the server was lost and did not come back within {self._line.patience_s:g} s: {error}. "
                        "Finished episodes are kept: repeat the command to run the others."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _connect(self) -> None:
        with contextlib.ExitStack() as stack:
            connection = self._open(stack)
            try:
                greeting = connection.recv(timeout=self._line.timeout_s)
            except (ConnectionClosed, OSError, TimeoutError) as error:
                raise RemoteError(f"{self._line.url} hung up without a greeting: {error}") from error
            if isinstance(greeting, str):
                raise RemoteError(f"{self._line.url} greets with text, not with MessagePack: {greeting[:200]!r}")
            self._greeted(greeting)
            self._held = stack.pop_all()
        self._connection = connection

    def _open(self, stack: contextlib.ExitStack) -> ClientConnection:
        url, token = self._line.url, self._line.token
        try:
            return stack.enter_context(
                connect(
                    url,
                    additional_headers={"Authorization": f"Api-Key {token}"} if token else None,
                    compression=None,
                    max_size=LARGEST_ANSWER,
                    proxy=None,
                )
            )
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                wants = "another token than" if token else "a token:"
                raise UsageError(f"{url} wants {wants} {TOKEN} in the environment") from error
            raise RemoteError(f"{url} answers with HTTP status {error.response.status_code}") from error
        except InvalidURI as error:
            raise UsageError(f"{url!r} is no address of a server, as in ws://localhost:8000") from error
        except (InvalidHandshake, EOFError) as error:
            raise RemoteError(f"{url} does not speak WebSocket: {error}") from error
        except (OSError, TimeoutError) as error:
            raise RemoteError(f"nobody answers at {url}: {error}") from error


def _closed(error: ConnectionClosed, size: int) -> str:
    """Return why the server closed the connection.

    Raises:
        UsageError: if the request was too large, which repeating cannot solve.
    """
    if error.rcvd is not None and error.rcvd.code == _TOO_BIG:
        raise UsageError(f"a question of {size} bytes is too large for the server: {error.rcvd.reason}") from error
    return str(error)
