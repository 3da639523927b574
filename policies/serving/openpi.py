"""A policy of an openpi server, called with one observation at a time in openpi's format.

The server accepts neither a prefix nor an estimated delay, draws its noise from its own generator, and does not name
its policy: a run is reproducible only as far as the server is.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from act_eval.errors import FeatureMismatch, RemoteError
from act_eval.policies.serving.address import PROMPT, Address, Interface
from act_eval.policies.serving.connection import Connection
from act_eval.policies.serving.msgpack_numpy import pack, unpack
from act_eval.policies.serving.protocol import OURS, actions_in
from act_eval.policies.simple import declared
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec


class OpenpiPolicy:
    """Sends each row of a request to an openpi server."""

    remembers = False

    def __init__(self, address: Address) -> None:
        """Connect and receive the metadata frame.

        Raises:
            RemoteError: if no server answers.
            UsageError: if the token is missing or wrong, or the server is one of act_eval's.
        """
        assert address.openpi is not None
        self._interface = address.openpi
        self._url = address.endpoint.url
        self._metadata: Mapping[str, Any] = {}
        self._connection = Connection(address.endpoint, self._on_handshake)

    @property
    def spec(self) -> PolicySpec:
        return self._interface.spec

    @property
    def identity(self) -> dict[str, Any]:
        """A digest of the server's metadata and of the input mapping: the server does not identify its policy."""
        about = repr((sorted(self._metadata.items(), key=repr), self._interface))
        return {"digest": hashlib.sha256(about.encode()).hexdigest()[:16]}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: the server has no episodes."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Send one request per row.

        Raises:
            FeatureMismatch: if the server's actions are not (chunk, action_dim).
            RemoteError: if the server is lost for good, breaks the protocol or fails: it does not tell
                an error of its policy from its own.
        """
        inputs = {entry.name: declared(request.observation, entry.name) for entry in self._interface.entries.values()}
        return ActionChunks(np.stack([self._predict_row(inputs, row) for row in range(len(request.rows))]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _predict_row(self, inputs: Mapping[str, np.ndarray], row: int) -> np.ndarray:
        observation = openpi_observation(self._interface, {name: value[row] for name, value in inputs.items()})
        reply = self._connection.request(pack(observation))
        if isinstance(reply, str):
            last = (reply.strip().splitlines() or [""])[-1]
            raise RemoteError(f"{self._url} failed: {last[:500]}")
        actions = actions_in(unpack(reply))
        expected = (self.spec.chunk, self.spec.action_dim)
        if actions.shape != expected or actions.dtype.kind not in "fiu":
            raise FeatureMismatch(
                f"{self._url} returns actions of shape {actions.shape}, {actions.dtype}; its options say "
                f"chunk={expected[0]} and action_dim={expected[1]}"
            )
        return actions.astype(np.float32)

    def _on_handshake(self, frame: bytes) -> None:
        metadata = unpack(frame)
        if OURS in metadata:
            raise FeatureMismatch(f"{self._url} is an act_eval server, which takes no options beside its address")
        self._metadata = metadata


def openpi_observation(interface: Interface, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return one observation in the server's format.

    Args:
        interface: The server's inputs.
        inputs: Our name → array without a batch axis.
    """
    nested: dict[str, Any] = {} if interface.prompt is None else {PROMPT: interface.prompt}
    for path, entry in interface.entries.items():
        inner = nested
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        value = inputs[entry.name]
        inner[path[-1]] = np.ascontiguousarray(value.transpose(2, 0, 1)) if entry.chw else value
    return nested
