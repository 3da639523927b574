"""The connection to a server of environments; implements `act_eval.envs.serving.client.Channel`.

A lost connection is not repaired within an episode, since a step must not run twice: the run stops with a
`RemoteError`, its finished episodes are kept, and repeating the command runs the others.
"""

from collections.abc import Mapping
from typing import Any

from act_eval.envs.serving.frames import PROTOCOL, SERVED
from act_eval.errors import RemoteError
from act_eval.serving.connection import Connection, Endpoint
from act_eval.serving.messages import pack, unpack


class EnvConnection:
    """One client's connection, which holds one environment."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.where = endpoint.url
        self.life = 0
        self.name, self.options = "", dict[str, Any]()
        """Of the environments that the server makes."""
        self.begun: dict[int, dict[str, Any]] = {}
        self.arrived: dict[int, dict[str, Any]] = {}
        self._endpoint = endpoint
        self._connection: Connection | None = None

    def begin(self) -> None:
        """Connect.

        Raises:
            RemoteError: if no server answers, or it serves no environment.
            UsageError: if the token is missing or wrong.
        """
        if self._connection is None:
            self._connection = Connection(self._endpoint, self._greeted)

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request.

        Raises:
            RemoteError: if the connection is lost, or the server sends no response.
        """
        assert self._connection is not None
        try:
            frame = self._connection.request(pack(message), repeats=0)
            if isinstance(frame, str):
                raise RemoteError(f"{self.where} responds with text instead of MessagePack: {frame[:200]!r}")
            return unpack(frame)
        except BaseException:  # lost, or interrupted by a time limit: a late response would be misread
            self.release()
            raise

    def release(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.life += 1
            connection.close()

    def _greeted(self, frame: bytes) -> None:
        about = unpack(frame).get(SERVED)
        match about:
            case {"protocol": int(protocol), "name": str(name), "options": dict(options)} if protocol == PROTOCOL:
                self.name, self.options = name, options
            case {"protocol": protocol}:
                raise RemoteError(
                    f"{self.where} speaks protocol {protocol!r} for environments, this client {PROTOCOL}: install the "
                    "same version of act_eval on both sides"
                )
            case _:
                raise RemoteError(f"{self.where} serves no environment; start one with: act-eval serve-env --env NAME")
