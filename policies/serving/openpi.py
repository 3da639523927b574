"""A policy of an openpi server, called with one observation at a time in openpi's format.

The server accepts neither a prefix nor an estimated delay, draws its noise from its own generator, and does not name
its policy: a run is reproducible only as far as the server is. Its metadata name neither shapes nor inputs, so options
do: `chunk=50 action_dim=14`, then each of its keys with our name and shape:
`state=observation.state:14 images.cam_high=observation.images.top:480x640x3:chw`. A dot in its key nests;
`prompt=…` is sent as it is.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from act_eval.errors import FeatureMismatch, RemoteError, UsageError
from act_eval.policies.serving.protocol import OURS, actions_in
from act_eval.policies.simple import declared
from act_eval.serving.connection import Connection, Endpoint
from act_eval.serving.messages import pack, unpack
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ActionChunks, ChunkRequest, PolicySpec

_ENTRY = re.compile(r"(?P<name>observation\.[\w.]+):(?P<shape>\d+(?:x\d+)*)(?P<chw>:chw)?")
_WAITING = ("timeout_s", "patience_s")
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Entry:
    """One of our inputs, in the layout of an openpi server."""

    name: str
    shape: tuple[int, ...]
    """As the environment gives it: images are (H, W, 3)."""
    chw: bool
    """Whether the server takes images as (3, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Inputs and outputs of an openpi server."""

    chunk: int
    action_dim: int
    entries: Mapping[tuple[str, ...], Entry]
    """Path of keys in the server's observation → our input."""
    prompt: str | None = None

    @property
    def spec(self) -> PolicySpec:
        """The same as a `PolicySpec`: absolute commands from the observation on, no prefix."""
        return PolicySpec(
            chunk=self.chunk,
            action_dim=self.action_dim,
            window="same",
            takes_prefix=False,
            max_delay=0,
            inputs={entry.name: entry.shape for entry in self.entries.values()},
        )


def parse_address(url: str, options: Mapping[str, Any], token: str | None = None) -> tuple[Endpoint, Interface | None]:
    """Return the server at an address, and its interface if the options describe an openpi server.

    Args:
        url: `ws://host:port` or `wss://host:port`.
        options: `timeout_s`, `patience_s`; anything else describes an openpi server.
        token: sent to the server.

    Raises:
        UsageError: naming what is malformed, and what is allowed.
    """
    parts = urlsplit(url)
    try:
        fits = bool(parts.hostname) and parts.port is not None and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"{url!r} is not a server address; it should look like ws://localhost:8000")
    waiting = {name: _number(name, options[name], float) for name in _WAITING if name in options}
    rest = {name: value for name, value in options.items() if name not in _WAITING}
    return Endpoint(url=url, token=token, **waiting), _interface(url, rest) if rest else None


def _interface(url: str, options: dict[str, Any]) -> Interface:
    """Return the interface of an openpi server from the options beside its address."""
    if not {"chunk", "action_dim"} <= set(options):
        raise UsageError(
            f"an openpi server ({url}) does not describe its actions: add chunk and action_dim, as in "
            "chunk=50 action_dim=14 state=observation.state:14; an act_eval server needs no options"
        )
    numbers = {name: _number(name, options.pop(name), int) for name in ("chunk", "action_dim")}
    prompt = options.pop("prompt", None)
    entries = {tuple(key.split(".")): _entry(key, str(value)) for key, value in options.items()}
    if not entries:
        raise UsageError(f"no input of the server at {url} is named; add at least one, as state=observation.state:14")
    if len({entry.name for entry in entries.values()}) < len(entries):
        raise UsageError(f"one input of ours is given to the server at {url} under two names")
    return Interface(**numbers, entries=entries, prompt=None if prompt is None else str(prompt))


def _entry(key: str, value: str) -> Entry:
    found = _ENTRY.fullmatch(value)
    if found is None:
        raise UsageError(f"{key}={value}: an input is our name and its shape, as in observation.images.top:96x96x3")
    name, shape = found["name"], tuple(map(int, found["shape"].split("x")))
    image = name.startswith(IMAGE_PREFIX)
    if not image and name not in (STATE, ENVIRONMENT_STATE):
        raise UsageError(f"{key}={value}: inputs are {STATE}, {ENVIRONMENT_STATE} and {IMAGE_PREFIX}CAMERA")
    if image != (len(shape) == 3) or (found["chw"] and not image):
        raise UsageError(f"{key}={value}: images have a shape like 96x96x3, other inputs one number")
    return Entry(name, shape, found["chw"] is not None)


def _number(name: str, value: Any, kind: type[_Number]) -> _Number:
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise UsageError(f"{name}={value}: it must be a {'whole ' if kind is int else ''}number")
    return kind(value)


class OpenpiPolicy:
    """Sends each row of a request to an openpi server."""

    remembers = False

    def __init__(self, endpoint: Endpoint, interface: Interface) -> None:
        """Connect and receive the metadata frame.

        Raises:
            RemoteError: if no server answers.
            UsageError: if the token is missing or wrong, or the server is one of act_eval's.
        """
        self._interface = interface
        self._url = endpoint.url
        self._metadata: Mapping[str, Any] = {}
        self._connection = Connection(endpoint, self._on_handshake)

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
        observation = _observation_for(self._interface, {name: value[row] for name, value in inputs.items()})
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


def _observation_for(interface: Interface, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return one observation in the server's format.

    Args:
        interface: The server's inputs.
        inputs: Our name → array without a batch axis.
    """
    nested: dict[str, Any] = {} if interface.prompt is None else {"prompt": interface.prompt}
    for path, entry in interface.entries.items():
        inner = nested
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        value = inputs[entry.name]
        inner[path[-1]] = np.ascontiguousarray(value.transpose(2, 0, 1)) if entry.chw else value
    return nested
