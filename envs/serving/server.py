"""Environments of one name behind a WebSocket, for clients in another container or on another machine.

Every call of an environment runs in the main thread, one at a time: simulators and OpenGL contexts are bound to their
thread. A connection is a session with environments of its own; without a token only this machine can connect.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from act_eval.envs.serving.frames import PROTOCOL, SERVED
from act_eval.envs.serving.session import EnvSession, Make
from act_eval.errors import RemoteError, UsageError
from act_eval.serving.exposure import MOST_CLIENTS, PROTOCOL_ERROR, Exposure
from act_eval.serving.messages import pack, unpack


class EnvServer:
    """Serves environments of one name."""

    def __init__(self, make: Make, name: str, options: Mapping[str, Any], exposure: Exposure) -> None:
        """Prepare to serve.

        Args:
            make: Makes an environment.
            name: Of the environments, as `--env` takes it.
            options: Given to them.
            exposure: Address, token and limits.
        """
        self._make, self._exposure = make, exposure
        self._handshake = pack({SERVED: {"protocol": PROTOCOL, "name": name, "options": dict(options)}})
        self._clients = 0

    def serve_forever(self, on_address: Callable[[str], None]) -> None:
        """Respond to requests until interrupted; `on_address` receives the URL.

        Raises:
            UsageError: if the port cannot be bound.
        """
        asyncio.run(self._serve(on_address))

    async def _serve(self, on_address: Callable[[str], None]) -> None:
        exposure = self._exposure
        limits: dict[str, Any] = {"origins": [None], "compression": None, "max_size": exposure.max_bytes}
        limits |= {"ping_interval": None, "process_request": exposure.admit}  # a long step is no lost client
        try:
            server = await serve(self._client, exposure.host, exposure.port, **limits)
        except OSError as error:
            raise UsageError(f"cannot listen at {exposure.host}, port {exposure.port}: {error}") from error
        host, port = next(iter(server.sockets)).getsockname()[:2]
        on_address(f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}")
        async with server:
            await server.serve_forever()

    async def _client(self, connection: ServerConnection) -> None:
        if self._clients >= MOST_CLIENTS:
            await connection.close(1013, f"{MOST_CLIENTS} clients are connected already")
            return
        self._clients += 1
        session = EnvSession(self._make)
        try:
            await connection.send(self._handshake)
            async for frame in connection:
                try:
                    message = unpack(frame if isinstance(frame, bytes) else b"")
                except RemoteError as error:
                    await connection.close(PROTOCOL_ERROR, str(error)[:100])
                    return
                await connection.send(pack(session.respond(message)))
        except ConnectionClosed:
            pass
        finally:
            self._clients -= 1
            session.close()
