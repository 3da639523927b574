"""A policy behind a WebSocket: sends a handshake that describes the policy, then responds to predict requests in order.

Each connection has a thread; calls of the policy are serialized. Without a token only loopback is served. Web pages
cannot connect: browsers send an `Origin` header, and no origin is allowed.

An exception raised by the policy is a result here, as in `act_eval.executors.request`: the client receives it as the
fault of the episode.
"""

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from act_eval.errors import FeatureMismatch, RemoteError, UsageError
from act_eval.policies.serving.protocol import OURS, Handshake, PredictRequest, openpi_message
from act_eval.serving.exposure import MOST_CLIENTS, PROTOCOL_ERROR, Exposure
from act_eval.serving.messages import pack, unpack
from act_eval.types import ChunkPolicy, ChunkRequest

MOST_SESSIONS = 256
"""Beyond this the least recently used session is dropped."""

Frame = bytes | str
"""Text only for an error sent to an openpi client."""
CallPolicy = Callable[[Mapping[int, int], ChunkRequest], Frame]
"""(row → seed of the episodes that begin, request), both in the policy's own rows → the response."""


class PolicyServer:
    """Serves a policy; usable as a context, and from a thread."""

    def __init__(
        self,
        policy: ChunkPolicy,
        identity: Mapping[str, Any],
        run: Mapping[str, Any],
        numeric: Mapping[str, str],
        exposure: Exposure,
    ) -> None:
        """Bind the port; `serve_forever` then responds to requests.

        Args:
            policy: The served policy.
            identity: Its identity for manifests (JSON values).
            run: Settings of its network (device, precision …), likewise.
            numeric: Facts that its numbers may depend on (versions, CPU …), likewise.
            exposure: Address, token and limits.

        Raises:
            UsageError: if the port cannot be bound.
        """
        self._policy = policy
        self._exposure = exposure
        self._sessions = Sessions(policy)
        self._one_at_a_time = threading.Lock()
        self._clients = threading.BoundedSemaphore(MOST_CLIENTS)
        about = {"spec": policy.spec, "identity": identity, "run": run, "numeric": numeric}
        handshake = Handshake(**about, instance=uuid.uuid4().hex, max_bytes=exposure.max_bytes)
        self._handshake = pack(handshake.to_message())
        limits = {"origins": [None], "compression": None, "max_size": exposure.max_bytes}
        try:
            self._server = serve(
                self._serve_client, exposure.host, exposure.port, process_request=exposure.admit, **limits
            )
        except OSError as error:
            raise UsageError(f"cannot listen at {exposure.host}, port {exposure.port}: {error}") from error

    @property
    def address(self) -> str:
        """Its URL, `ws://host:port`."""
        host, port = self._server.socket.getsockname()[:2]
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    def serve_forever(self) -> None:
        """Respond to requests until `close`."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop listening and end the connections; valid once `serve_forever` has begun."""
        self._server.shutdown()

    @contextmanager
    def running(self) -> Iterator["PolicyServer"]:
        """Serve from a background thread while the context is open."""
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.close()
            thread.join()

    def _serve_client(self, connection: ServerConnection) -> None:
        """Serve one connection until it ends."""
        if not self._clients.acquire(blocking=False):
            connection.close(1013, f"{MOST_CLIENTS} clients are connected already")
            return
        try:
            connection.send(self._handshake)
            session = f"openpi-{uuid.uuid4().hex}"
            for number, frame in enumerate(connection):
                if not self._respond(connection, frame, session, number):
                    return
        except ConnectionClosed:
            pass  # the client may come back: its session is kept
        finally:
            self._clients.release()

    def _respond(self, connection: ServerConnection, frame: str | bytes, session: str, number: int) -> bool:
        """Respond to one frame; return whether the connection stays open."""
        ours, spec = True, self._policy.spec
        try:
            if isinstance(frame, str):
                raise RemoteError("a request must be a binary frame of MessagePack, got text")
            message = unpack(frame)
            ours = OURS in message
            message = message if ours else openpi_message(message, spec, session, number)
            request = PredictRequest.from_message(message, spec)
            with self._one_at_a_time:
                response = self._sessions.respond(request, partial(self._call_policy, ours))
        except RemoteError as error:
            connection.send(_refusal("protocol", str(error), ours))
            connection.close(PROTOCOL_ERROR)
            return False
        except FeatureMismatch as error:
            response = _refusal("shape", str(error), ours)
        connection.send(response)
        return True

    def _call_policy(self, ours: bool, resets: Mapping[int, int], request: ChunkRequest) -> Frame:
        """Return the frame with the policy's chunks, or with its error."""
        begin = time.perf_counter()
        try:
            if resets:
                self._policy.reset(list(resets), list(resets.values()))
            actions = np.asarray(self._policy.predict(request).actions)
            timing = {"infer_ms": 1e3 * (time.perf_counter() - begin)}
            return pack({"actions": actions if ours else actions[0], "server_timing": timing})
        except UsageError as error:
            return _refusal("usage", str(error), ours)
        except Exception as error:  # the policy's own: see the module's docstring
            return _refusal("policy", f"{type(error).__name__}: {error}", ours)


def _refusal(kind: str, text: str, ours: bool) -> Frame:
    """Return an error as a frame; openpi's client treats text as an error."""
    return pack({"error": {"kind": kind, "text": text}}) if ours else text


@dataclass
class _Session:
    rows: dict[int, int] = field(default_factory=dict)
    """The client's row → the policy's."""
    number: int = -1
    response: Frame = b""


class Sessions:
    """One policy for many clients; calls must not overlap.

    Each client has its own rows in the policy. The response to its last request is kept: if the connection broke before
    the response arrived, the repeated request receives it without another call of the policy.
    """

    def __init__(self, policy: ChunkPolicy) -> None:
        # A policy without this attribute is assumed to be stateful: losing its state would falsify a result.
        self._remembers = getattr(policy, "remembers", True)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._fresh_rows = count()

    def respond(self, request: PredictRequest, call: CallPolicy) -> Frame:
        """Return the response to a request, the stored one if its number is repeated.

        Raises:
            RemoteError: if the policy is stateful and does not know one of the request's episodes.
        """
        session = self._sessions.setdefault(request.session, _Session())
        self._sessions.move_to_end(request.session)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        if request.number != session.number:
            rows = self._rows(session, request)
            chunks = replace(request.request, rows=np.array([rows[r] for r in request.request.rows], np.int64))
            session.response = call({rows[row]: seed for row, seed in request.resets.items()}, chunks)
            session.number = request.number
        return session.response

    def _rows(self, session: _Session, request: PredictRequest) -> Mapping[int, int]:
        """Return the client's row → the policy's, new rows included."""
        rows = request.request.rows.tolist()
        forgotten = [row for row in rows if row not in session.rows and row not in request.resets]
        if forgotten and self._remembers:
            raise RemoteError(
                f"row {forgotten[0]} is in the middle of an episode that this server does not know: the policy "
                "is stateful, and the server was restarted or has dropped this client's session"
            )
        for row in (*request.resets, *rows):
            if row not in session.rows:
                session.rows[row] = next(self._fresh_rows)
        return session.rows
