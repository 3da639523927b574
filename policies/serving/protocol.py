"""Frames between client and server, and their decoding into typed objects.

Three frames: the server's handshake, a predict request, a response. A request of our client is a batch, marked by the
entry `act_eval`; one without it is a single observation as openpi's client sends it.

Legend: `N` rows · `P` prefix slots · `A` action dim · `C` chunk.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from act_eval.decoding import build
from act_eval.errors import FeatureMismatch, RemoteError
from act_eval.policies.simple import declared
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkRequest, Observation, PolicySpec

PROTOCOL = 2
"""Version of the frames; 1 (act_eval 0.1.0) named the delay estimate `told_delay`."""
OURS = "act_eval"
"""Entry that marks a frame as ours; openpi's have none."""
MOST_ROWS = 1024
MOST_PREFIX = 4096
_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """The first frame of a server."""

    spec: PolicySpec
    identity: Mapping[str, Any]
    """Identity of the served policy, for a run's manifest (JSON values)."""
    run: Mapping[str, Any]
    """Settings of its network (device, precision …)."""
    numeric: Mapping[str, str]
    """Facts that its numbers may depend on (versions, CPU …)."""
    instance: str
    """Changes with every start of the server."""
    max_bytes: int
    """Largest message that the server accepts."""

    def to_message(self) -> dict[str, Any]:
        """Return the frame."""
        about = {**asdict(self), "protocol": PROTOCOL, "spec": {**asdict(self.spec), "inputs": dict(self.spec.inputs)}}
        return {OURS: about}

    @staticmethod
    def from_message(message: Mapping[str, Any]) -> "Handshake":
        """Return the handshake in a frame.

        Raises:
            RemoteError: if the server speaks another protocol or the frame is malformed.
        """
        about = message.get(OURS)
        if not isinstance(about, Mapping):
            raise RemoteError(
                f"the server's handshake has no entry {OURS!r} but {sorted(message)[:20]}: not an act_eval server. "
                "For an openpi server, add --policy-options chunk=… action_dim=…, see docs/own-policy.md"
            )
        if type(about.get("protocol")) is not int or about["protocol"] != PROTOCOL:
            raise RemoteError(
                f"the server speaks protocol {about.get('protocol')!r}, this client {PROTOCOL}: "
                "install the same version of act_eval on both sides"
            )
        known = {k: v for k, v in about.items() if k != "protocol"}
        handshake = build(Handshake, known, "the server's handshake", RemoteError)
        _text(about, "instance")
        _whole(about, "max_bytes")
        return handshake


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """A chunk request that can be repeated after a broken connection."""

    session: str
    """Identifies a client across its connections."""
    number: int
    """Counts the client's requests: a repeated number receives the stored answer."""
    resets: Mapping[int, int] = field(default_factory=dict)
    """Row → seed of the episodes that began since the last request."""
    request: ChunkRequest

    def to_message(self, spec: PolicySpec) -> dict[str, Any]:
        """Return the frame, with those inputs that the policy declares and the joints.

        Raises:
            FeatureMismatch: if the observation lacks a declared input.
        """
        request = self.request
        optional = ("prefix_known", "past_actions", "planned_actions")
        known = {name: value for name in optional if (value := getattr(request, name)) is not None}
        resets = [list(self.resets), list(self.resets.values())]
        about = {"session": self.session, "number": self.number, "resets": resets}
        return {
            OURS: about,
            "rows": request.rows,
            "steps": request.steps,
            "estimated_delay": request.estimated_delay,
            "prefix": request.prefix,
            "last_action": request.last_action,
            **known,
            STATE: request.observation.agent_pos,
            **{name: declared(request.observation, name) for name in spec.inputs},
        }

    @staticmethod
    def from_message(message: Mapping[str, Any], spec: PolicySpec) -> "PredictRequest":
        """Return the request in a frame.

        Raises:
            RemoteError: if it is malformed.
            FeatureMismatch: if an entry does not have the shape or type that the policy was made for.
        """
        about = message[OURS]
        if not isinstance(about, Mapping):
            raise RemoteError(f"the entry {OURS!r} must be a map, got {type(about).__name__}")
        _refuse_protocol_1(message)
        rows = _array(message, "rows", (None,), np.int64)
        count = len(rows)
        if not 1 <= count <= MOST_ROWS or (rows < 0).any():
            raise RemoteError(f"a request must have 1 to {MOST_ROWS} rows, none negative, got {count}")
        prefix = _array(message, "prefix", (count, None, spec.action_dim), np.float32)
        if prefix.shape[1] > MOST_PREFIX:
            raise RemoteError(f"a prefix may have {MOST_PREFIX} commands, got {prefix.shape[1]}")
        known = _array(message, "prefix_known", (count,), np.int64) if "prefix_known" in message else None
        estimated = _array(message, "estimated_delay", (count,), np.int64)
        for name, steps in (("estimated_delay", estimated), ("prefix_known", known)):
            if steps is not None and not ((steps >= 0) & (steps <= MOST_PREFIX)).all():
                raise RemoteError(f"{name!r} must be 0 to {MOST_PREFIX} in every row, got {steps.tolist()}")
        return PredictRequest(
            session=_text(about, "session"),
            number=_whole(about, "number"),
            resets=_resets(about.get("resets")),
            request=ChunkRequest(
                rows=rows,
                steps=_array(message, "steps", (count,), np.int64),
                observation=_observation(message, spec, count),
                estimated_delay=estimated,
                prefix=prefix,
                prefix_known=known,
                last_action=_array(message, "last_action", (count, spec.action_dim), np.float32),
                **{
                    name: _array(message, name, (count, length, spec.action_dim), np.float32) if length else None
                    for name, length in _further(spec).items()
                },
            ),
        )


def _further(spec: PolicySpec) -> dict[str, int]:
    """Return the commands that a request contains beside its prefix: entry → number."""
    return {"past_actions": spec.past_actions, "planned_actions": spec.planned_actions}


def openpi_message(message: Mapping[str, Any], spec: PolicySpec, session: str, number: int) -> dict[str, Any]:
    """Return the frame of our client for one observation without a batch axis, as openpi's client sends it.

    For a policy with a history, each input has a time axis in front, oldest first.

    Beside the policy's inputs it may hold `prefix` (d, A), `estimated_delay` (as long as the prefix if absent),
    `last_action` (A,) (the joints if absent), `past_actions` (K, A) and `planned_actions` (L, A) (unknown if absent),
    `step`, and `seed`, which begins a new episode.

    Raises:
        RemoteError: if it is malformed.
        FeatureMismatch: if an entry does not have the shape or type that the policy was made for.
    """
    _refuse_protocol_1(message)
    seed, prefix = message.get("seed"), message.get("prefix", np.zeros((0, spec.action_dim), np.float32))
    estimated = message.get("estimated_delay", len(prefix) if isinstance(prefix, np.ndarray) and prefix.ndim else 0)
    state = message.get(STATE)
    if spec.history > 1 and isinstance(state, np.ndarray) and state.ndim == 2:
        state = state[-1]
    fits = isinstance(state, np.ndarray) and state.shape == (spec.action_dim,)
    last = message.get("last_action", state if fits else np.full(spec.action_dim, np.nan, np.float32))
    names = {name for name in (*spec.inputs, STATE) if name in message}
    commands = {
        name: message.get(name, np.full((length, spec.action_dim), np.nan, np.float32))
        for name, length in _further(spec).items()
        if length
    }
    return {
        OURS: {"session": session, "number": number, "resets": [[], []] if seed is None else [[0], [seed]]},
        "rows": np.zeros(1, np.int64),
        "steps": np.array([_whole(message, "step", 0)], np.int64),
        "estimated_delay": np.array([_whole({"estimated_delay": estimated}, "estimated_delay")], np.int64),
        "prefix": prefix[None] if isinstance(prefix, np.ndarray) else prefix,
        "last_action": last[None] if isinstance(last, np.ndarray) else last,
        **{
            name: value[None] if isinstance(value, np.ndarray) else value
            for name, value in {**{name: message[name] for name in names}, **commands}.items()
        },
    }


def actions_in(message: Mapping[str, Any]) -> np.ndarray:
    """Return the actions of a response, unchecked: the rollout classifies a policy's errors.

    Raises:
        RemoteError: if the frame has none.
    """
    actions = message.get("actions")
    if not isinstance(actions, np.ndarray):
        found = sorted(message)[:20]
        raise RemoteError(f"a response must have the entry 'actions', an array of numbers; it has {found}")
    return actions


def _observation(message: Mapping[str, Any], spec: PolicySpec, count: int) -> Observation:
    time = () if spec.history == 1 else (spec.history,)
    values = {
        name: _array(message, name, (count, *time, *shape), np.uint8 if name.startswith(IMAGE_PREFIX) else np.float32)
        for name, shape in spec.inputs.items()
    }
    joints = values.get(STATE)
    if joints is None and STATE in message:
        joints = _array(message, STATE, (count, *time, None), np.float32)
    return Observation(
        pixels={name.removeprefix(IMAGE_PREFIX): v for name, v in values.items() if name.startswith(IMAGE_PREFIX)},
        agent_pos=np.zeros((count, *time, 0), np.float32) if joints is None else joints,
        environment_state=values.get(ENVIRONMENT_STATE),
    )


def _array(message: Mapping[str, Any], name: str, shape: tuple[int | None, ...], dtype: type[np.generic]) -> np.ndarray:
    """Return an entry, floats of another precision converted; None in `shape` accepts any length."""
    value = message.get(name, _ABSENT)
    if not isinstance(value, np.ndarray):
        got = "nothing" if value is _ABSENT else type(value).__name__
        raise FeatureMismatch(f"{name!r} must be an array, the request has {got}")
    wanted = tuple("any" if n is None else n for n in shape)
    fits = value.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, value.shape, strict=True))
    if not fits or (value.dtype != dtype and not (value.dtype.kind == np.dtype(dtype).kind == "f")):
        raise FeatureMismatch(
            f"{name!r} has shape {value.shape}, {value.dtype}; the policy was made for {wanted}, {np.dtype(dtype)}"
        )
    return value.astype(dtype, copy=False)


def _refuse_protocol_1(message: Mapping[str, Any]) -> None:
    if "told_delay" in message:
        raise RemoteError(
            f"'told_delay' belongs to protocol 1, this server speaks protocol {PROTOCOL}: send 'estimated_delay', "
            "or install the same version of act_eval on both sides"
        )


def _resets(value: Any) -> dict[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(part, list) for part in value)):
        raise RemoteError("'resets' must be two lists, rows and seeds")
    rows, seeds = value
    if len(rows) != len(seeds) or len(rows) > MOST_ROWS or not all(type(n) is int and n >= 0 for n in (*rows, *seeds)):
        raise RemoteError("'resets' must be as many rows as seeds, whole numbers from 0 on")
    return dict(zip(rows, seeds, strict=True))


def _text(about: Mapping[str, Any], name: str) -> str:
    value = about.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise RemoteError(f"{name!r} must be a text of 1 to 64 characters, got {str(value)[:80]!r}")
    return value


def _whole(about: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = about.get(name, default)
    if isinstance(value, np.integer):
        value = int(value)
    if type(value) is not int or not 0 <= value < 2**63:
        raise RemoteError(f"{name!r} must be a whole number from 0 on, got {str(value)[:40]!r}")
    return value
