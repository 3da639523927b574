"""Spaces, hooks' values and errors of environments as messages: maps of numbers, text, lists and arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import spaces

from act_eval import errors
from act_eval.errors import ActEvalError, RemoteError
from act_eval.types import Verdict
from act_eval.types.scene import Motion, SceneTrack, Stage, Variation
from act_eval.user_code import Fault, text_of

PROTOCOL = 1
"""Version of the frames."""
SERVED = "act_eval_env"
"""Entry of a server's handshake that describes its environments."""
RESULTS: Mapping[str, type] = MappingProxyType(
    {"verdict": Verdict, "motion": Motion, "scene_track": SceneTrack, "stage": Stage}
)
"""Hooks that return an object of ours."""
TUPLES = ("remarks", "overhead_projection")
"""Hooks that return a tuple."""
_LONGEST, _LONGEST_TEXT = 4096, 2**24
_WHOLE = 2**63


def plain(value: Any) -> Any:
    """Return a value as it can travel; `<Type>` stands for what cannot, such as an object in an `info`."""
    match value:
        case None | bool() | float() | str() | bytes():
            return value
        case int() if -_WHOLE <= value < _WHOLE:
            return value
        case np.ndarray() | np.generic() if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            return value
        case Mapping() if len(value) <= _LONGEST:
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple() if len(value) <= _LONGEST:
            return [plain(inner) for inner in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case _:
            return f"<{type(value).__name__}>"


def without_images(observed: Any) -> Any:
    """Return a plain observation with None for its images, which nobody reads."""
    if isinstance(observed, dict):
        return {key: without_images(inner) for key, inner in observed.items()}
    return None if isinstance(observed, np.ndarray) and observed.dtype == np.uint8 and observed.ndim == 3 else observed


def with_images(observed: Any, last: Any) -> Any:
    """Return an observation with the images of the last one where it has None."""
    if isinstance(observed, dict) and isinstance(last, dict):
        return {key: with_images(inner, last.get(key)) for key, inner in observed.items()}
    return last if observed is None else observed


def hook_result(name: str, message: Any) -> Any:
    """Return what a hook returned, from its message.

    Raises:
        RemoteError: if the message does not have the fields of the hook's result.
    """
    if name in TUPLES and isinstance(message, list):
        return tuple(message)
    kind = RESULTS.get(name)
    if kind is None or not isinstance(message, Mapping):
        return message
    try:
        return kind(**message)
    except TypeError as error:
        raise RemoteError(f"the environment's {name}() sent {sorted(message)}: {error}") from error


def variation_of(message: Any) -> Variation:
    """Return the variation of a built-in scene that a message describes.

    Raises:
        RemoteError: if it does not have its fields.
    """
    try:
        return Variation(**{name: _tupled(value) for name, value in message.items()})
    except (AttributeError, TypeError) as error:
        raise RemoteError(f"{str(message)[:80]} is no variation of a scene: {error}") from error


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def space_message(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a space as a message; what is no array and no map of arrays only by its name."""
    match space:
        case spaces.Box():
            bounds = {"low": _bound(space.low), "high": _bound(space.high)}
            return {"box": list(space.shape), "dtype": space.dtype.str, **bounds}
        case spaces.Dict():
            return {"dict": [[key, space_message(inner)] for key, inner in space.spaces.items()]}
        case spaces.Discrete():
            return {"discrete": [int(space.n), int(space.start)]}
        case _:
            return {"other": str(space)[:200]}


def space_of(message: Any) -> spaces.Space[Any]:
    """Return the space of a message.

    Raises:
        RemoteError: if it is malformed.
    """
    try:
        match message:
            case {"box": shape, "dtype": str(dtype), "low": low, "high": high}:
                kind = np.dtype(dtype)
                return spaces.Box(_full(low, shape, kind), _full(high, shape, kind), dtype=kind.type)
            case {"dict": list(entries)}:
                return spaces.Dict({str(key): space_of(inner) for key, inner in entries})
            case {"discrete": [int(count), int(start)]}:
                return spaces.Discrete(count, start=start)
            case {"other": str(name)}:
                return OtherSpace(name)
    except (TypeError, ValueError, AssertionError) as error:
        raise RemoteError(f"a space cannot be read: {error}") from error
    raise RemoteError(f"a space must be an array, a map or discrete, got {str(message)[:80]}")


class OtherSpace(spaces.Space[Any]):
    """A space of which only the name is known: no policy receives what is in it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def contains(self, x: Any) -> bool:
        """Return true: nothing is known."""
        return True


def error_message(error: BaseException) -> dict[str, str]:
    """Return what another process needs to raise the same error."""
    ours = isinstance(error, ActEvalError) and getattr(errors, type(error).__name__, None) is type(error)
    return {
        "ours": type(error).__name__ if ours else "",
        "type": type(error).__name__,
        "text": text_of(error, _LONGEST_TEXT),
        "traceback": Fault.of(error).traceback,
    }


def error_of(message: Any, where: str) -> Exception:
    """Return the error of a message: of the same name and text, with the traceback of the other process as its cause.

    Args:
        message: From `error_message`.
        where: The other process, for the traceback.
    """
    about = message if isinstance(message, Mapping) else {}
    text, name = str(about.get("text", message)), str(about.get("type", "Exception"))
    kind = getattr(errors, str(about.get("ours")), None)
    if isinstance(kind, type) and issubclass(kind, ActEvalError):
        error: Exception = errors.restored(kind, text)
    else:
        error = type(name if name.isidentifier() else "Exception", (EnvironmentRaised,), {})(text)
    error.__cause__ = _Elsewhere(f"in {where}:\n{about.get('traceback', '')}")
    return error


class EnvironmentRaised(Exception):
    """The environment raised; the class that is raised has the name of the environment's error."""


class _Elsewhere(Exception):
    """The traceback of another process."""

    def __str__(self) -> str:
        return self.args[0]


def _bound(values: np.ndarray) -> Any:
    """Return a bound, one number if all are equal."""
    flat = values.reshape(-1)
    return flat[0] if flat.size and (flat == flat[0]).all() else values


def _full(bound: Any, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    if isinstance(bound, np.ndarray):
        return bound.astype(dtype).reshape(tuple(shape))
    return np.full(tuple(shape), bound, dtype)
