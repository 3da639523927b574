"""A client's connection to one server: one request at a time, over a WebSocket that may break."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from act_eval.errors import RemoteError, UsageError
from act_eval.serving import TOKEN

MOST_REPEATS = 5
LARGEST_RESPONSE = 64 * 2**20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_TOO_BIG = 1009


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Address of a server and the client's time limits."""

    url: str
    """`ws://host:port` or `wss://host:port`."""
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    """Per response [s]; after it the connection counts as broken."""
    patience_s: float = 60.0
    """For reconnecting to a lost server [s]."""

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise UsageError(f"the token in {TOKEN} must be printable ASCII")
        for name in ("timeout_s", "patience_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")


class Connection:
    """One connection to one server, one request at a time."""

    def __init__(self, endpoint: Endpoint, on_handshake: Callable[[bytes], None]) -> None:
        """Connect.

        Args:
            endpoint: address and limits.
            on_handshake: checks the first frame of every connection; raises if it is not acceptable.

        Raises:
            RemoteError: if no server answers.
            UsageError: if the token is missing or wrong.
        """
        self._endpoint = endpoint
        self._on_handshake = on_handshake
        self._connection: ClientConnection | None = None
        self._held = contextlib.ExitStack()
        self._connect()

    def request(self, frame: bytes, repeats: int = MOST_REPEATS) -> bytes | str:
        """Return the response to a request; reconnects if the connection breaks.

        Args:
            frame: the request.
            repeats: how often it may be sent again; 0 if the server would carry it out twice.

        Raises:
            RemoteError: if the server does not come back, or this request loses the connection too often.
            UsageError: if the request is too large for the server, or the token is no longer accepted.
        """
        reason = ""
        for _ in range(1 + repeats):
            try:
                if self._connection is None:
                    self._reconnect()
                assert self._connection is not None
                self._connection.send(frame)
                return self._connection.recv(timeout=self._endpoint.timeout_s)
            except ConnectionClosed as error:
                reason = _closed(error, len(frame))
            except (OSError, TimeoutError) as error:
                reason = str(error) or f"no response within {self._endpoint.timeout_s:g} s"
            self.close()
        raise RemoteError(
            f"{self._endpoint.url} was lost {1 + repeats} times during one request: {reason}. "
            "Finished episodes are kept: repeat the command to run the others."
        )

    def close(self) -> None:
        """Close the connection; the next request connects again."""
        self._connection = None
        with contextlib.suppress(OSError, WebSocketException):
            self._held.close()

    def _reconnect(self) -> None:
        """Reconnect, with growing pauses."""
        until, pause = time.monotonic() + self._endpoint.patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._connect()
            except RemoteError as error:
                if time.monotonic() + pause > until:
                    raise RemoteError(
                        f"the server was lost and did not come back within {self._endpoint.patience_s:g} s: {error}. "
                        "Finished episodes are kept: repeat the command to run the others."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _connect(self) -> None:
        with contextlib.ExitStack() as stack:
            connection = self._open(stack)
            try:
                handshake = connection.recv(timeout=self._endpoint.timeout_s)
            except (ConnectionClosed, OSError, TimeoutError) as error:
                url = self._endpoint.url
                raise RemoteError(f"{url} closed the connection before its handshake: {error}") from error
            if isinstance(handshake, str):
                raise RemoteError(f"{self._endpoint.url} sends text instead of a handshake: {handshake[:200]!r}")
            self._on_handshake(handshake)
            self._held = stack.pop_all()
        self._connection = connection

    def _open(self, stack: contextlib.ExitStack) -> ClientConnection:
        url, token = self._endpoint.url, self._endpoint.token
        try:
            return stack.enter_context(
                connect(
                    url,
                    additional_headers={"Authorization": f"Api-Key {token}"} if token else None,
                    compression=None,
                    max_size=LARGEST_RESPONSE,
                    proxy=None,
                )
            )
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                refused = "refuses the token in" if token else "requires a token in"
                raise UsageError(f"{url} {refused} the environment variable {TOKEN}") from error
            raise RemoteError(f"{url} answers with HTTP status {error.response.status_code}") from error
        except InvalidURI as error:
            raise UsageError(f"{url!r} is not a server address such as ws://localhost:8000") from error
        except (InvalidHandshake, EOFError) as error:
            raise RemoteError(f"{url} does not speak WebSocket: {error}") from error
        except (OSError, TimeoutError) as error:
            raise RemoteError(f"no server answers at {url}: {error}") from error


def _closed(error: ConnectionClosed, size: int) -> str:
    """Return why the server closed the connection.

    Raises:
        UsageError: if the request was too large, which repeating cannot solve.
    """
    if error.rcvd is not None and error.rcvd.code == _TOO_BIG:
        raise UsageError(f"a request of {size} bytes is too large for the server: {error.rcvd.reason}") from error
    return str(error)
