"""A policy in another process or on another machine, behind the `ChunkPolicy` protocol.

Chunks are bit-identical to those of the served policy: a request is sent as one batch, and the server keeps its own
rows per call. If the connection breaks, the request is repeated; the server computes each request once. If the server
stays away longer than `patience_s`, or one request loses the connection too often, the run ends with a `RemoteError`.
Finished episodes are kept.
"""

import uuid
from collections.abc import Sequence

from act_eval.errors import ActEvalError, FeatureMismatch, RemoteError, UsageError
from act_eval.policies.serving.protocol import Handshake, PredictRequest, actions_in
from act_eval.serving.connection import Connection, Endpoint
from act_eval.serving.messages import pack, unpack
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec


class RemotePolicyError(ActEvalError):
    """The served policy raised an exception; counts as a policy error of the episode."""


class RemotePolicy:
    """A policy of an act_eval server."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect and receive the handshake.

        Raises:
            RemoteError: if no server answers, or it speaks another protocol.
            UsageError: if the token is missing or wrong.
        """
        self._url = endpoint.url
        self._session = uuid.uuid4().hex
        self._number = 0
        self._resets: dict[int, int] = {}
        self._handshake: Handshake | None = None
        self._connection = Connection(endpoint, self._on_handshake)

    @property
    def handshake(self) -> Handshake:
        """The server's description of itself and of its policy."""
        assert self._handshake is not None
        return self._handshake

    @property
    def spec(self) -> PolicySpec:
        return self.handshake.spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Record the episodes that begin; they are sent with the next request."""
        self._resets |= dict(zip(map(int, rows), map(int, seeds), strict=True))

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Request chunks from the server.

        Raises:
            RemotePolicyError: if the served policy raised.
            UsageError: if the server refuses the request, or the request exceeds its size limit.
            RemoteError: if the server is lost for good, or breaks the protocol.
        """
        numbered = PredictRequest(
            session=self._session, number=self._number, resets=dict(self._resets), request=request
        )
        data = pack(numbered.to_message(self.spec))
        if len(data) > self.handshake.max_bytes:
            raise UsageError(
                f"a request has {len(data)} bytes, {self._url} accepts {self.handshake.max_bytes}: lower --batch, "
                "or raise --max-megabytes of the server"
            )
        self._number += 1
        reply = self._connection.request(data)
        if isinstance(reply, str):
            raise RemoteError(f"{self._url} responds with text instead of MessagePack: {reply[:200]!r}")
        response = unpack(reply)
        error = _error(response["error"], self._url) if "error" in response else None
        if not isinstance(error, FeatureMismatch):  # the policy never received this request
            self._resets.clear()
        if error is not None:
            raise error
        return ActionChunks(actions_in(response))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _on_handshake(self, frame: bytes) -> None:
        """Decode a handshake; after a reconnect it must describe the same policy."""
        new, old = Handshake.from_message(unpack(frame)), self._handshake
        if old is not None and (new.spec, new.identity, new.run) != (old.spec, old.identity, old.run):
            raise UsageError(
                f"{self._url} came back with another policy: {dict(new.identity)}, {dict(new.run)}; "
                f"it was {dict(old.identity)}, {dict(old.run)}"
            )
        self._handshake = new


def _error(about: object, url: str) -> ActEvalError:
    kind = about.get("kind") if isinstance(about, dict) else None
    text = str(about.get("text") if isinstance(about, dict) else about)[:2000]
    match kind:
        case "policy":
            return RemotePolicyError(text)
        case "shape":
            return FeatureMismatch(f"{url}: {text}")
        case "usage":
            return UsageError(f"{url}: {text}")
        case _:
            return RemoteError(f"{url} refused the request: {text}")
