"""Where a server listens, and whom it admits. Without a token only this machine can connect."""

import hmac
import http
import ipaddress
import os
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection as AsyncServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from act_eval.errors import UsageError
from act_eval.serving import TOKEN

MEGABYTE = 2**20
MOST_CLIENTS = 64
SHORTEST_TOKEN = 16
PROTOCOL_ERROR = 1002


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Address, access token and message limit of a server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free one."""
    token: str | None = field(default=None, repr=False)
    """Token that clients must present; required unless the host is loopback."""
    max_bytes: int = 64 * MEGABYTE
    """Largest accepted message."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise UsageError(f"port is {self.port}; it must be 0 to {2**16 - 1}")
        if self.max_bytes < 1024:
            raise UsageError(f"the largest message is {self.max_bytes} bytes; it must be at least 1024")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UsageError(f"the token has {len(self.token)} characters; it must have at least {SHORTEST_TOKEN}")
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached from other machines, so clients must present a token: set "
                f"{TOKEN} for server and clients, or serve on 127.0.0.1"
            )

    @classmethod
    def of_flags(cls, host: str, port: int, max_megabytes: int) -> "Exposure":
        """Return the exposure that a command's flags ask for, with the token of the environment variable.

        Raises:
            UsageError: naming what cannot be.
        """
        if max_megabytes < 1:
            raise UsageError(f"--max-megabytes is {max_megabytes}; it must be at least 1")
        token = os.environ.get(TOKEN) or None
        return cls(host=host, port=port, token=token, max_bytes=max_megabytes * MEGABYTE)

    @property
    def guard(self) -> str:
        """What clients need, for the line that a server prints."""
        return "token needed" if self.token else "no token, this machine only"

    def admit(self, connection: ServerConnection | AsyncServerConnection, request: Request) -> Response | None:
        """Refuse a client with the wrong token; answer a health check."""
        if self.token is not None:
            presented = request.headers.get_all("Authorization")
            expected = f"Api-Key {self.token}".encode()
            if len(presented) != 1 or not hmac.compare_digest(presented[0].encode(), expected):
                return connection.respond(http.HTTPStatus.UNAUTHORIZED, "the request has no valid token\n")
        if request.path == "/healthz":
            return Response(http.HTTPStatus.OK, "OK", Headers(Content_Length="3"), b"OK\n")
        return None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
