"""A policy server's address on the command line, `ws://host:port`, and the interface of an openpi server.

The metadata of an openpi server names neither shapes nor inputs, so options do: `chunk=50 action_dim=14`, then each of
its keys with our name and shape: `state=observation.state:14 images.cam_high=observation.images.top:480x640x3:chw`.
A dot in its key nests; `prompt=…` is sent as it is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from act_eval.errors import UsageError
from act_eval.policies.serving.connection import Endpoint
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, PolicySpec

_ENTRY = re.compile(r"(?P<name>observation\.[\w.]+):(?P<shape>\d+(?:x\d+)*)(?P<chw>:chw)?")
_WAITING = ("timeout_s", "patience_s")
PROMPT = "prompt"
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


@dataclass(frozen=True)
class Address:
    """Address and interface of a policy server."""

    endpoint: Endpoint
    openpi: Interface | None
    """None for an act_eval server, whose handshake describes it."""


def parse_address(url: str, options: Mapping[str, Any], token: str | None = None) -> Address:
    """Parse an address and its options.

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
    return Address(Endpoint(url=url, token=token, **waiting), _interface(url, rest) if rest else None)


def _interface(url: str, options: dict[str, Any]) -> Interface:
    """Return the interface of an openpi server from the options beside its address."""
    if not {"chunk", "action_dim"} <= set(options):
        raise UsageError(
            f"an openpi server ({url}) does not describe its actions: add chunk and action_dim, as in "
            "chunk=50 action_dim=14 state=observation.state:14; an act_eval server needs no options"
        )
    numbers = {name: _number(name, options.pop(name), int) for name in ("chunk", "action_dim")}
    prompt = options.pop(PROMPT, None)
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
