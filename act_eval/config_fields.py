"""Build a config from keyword arguments, for the Python API."""

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from act_eval.errors import UnknownName, UsageError

_Config = TypeVar("_Config")


def from_fields(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """Return a config from keyword arguments; fields of nested configs, such as `image_size`, are given beside its own.

    A list becomes a tuple, a mapping NAME=VALUE texts, and the text of a path field a path.

    Raises:
        UsageError: naming an unknown field and the known ones, or a value that a field does not take.
    """
    known = dict(_fields(kind))
    for name in values:
        if name not in known:
            raise UnknownName(f"field of {kind.__name__}", name, known)
    return _built(kind, values)


def _built(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for one in fields(kind):  # pyright: ignore[reportArgumentType]  # always a dataclass
        if _is_nested(one):
            given[one.name] = _built(hints[one.name], values)
        elif one.name in values:
            given[one.name] = _value(kind, one.name, values[one.name], hints[one.name])
    return kind(**given)


def _fields(kind: type) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        if _is_nested(one):
            yield from _fields(hints[one.name])
        else:
            yield one.name, hints[one.name]


def _is_nested(one: Any) -> bool:
    return one.default_factory is not MISSING and is_dataclass(one.default_factory)


def _value(kind: type, name: str, value: Any, hint: Any) -> Any:
    allowed = [hint, *typing.get_args(hint)]
    if isinstance(value, Mapping):
        value = [f"{key}={json.dumps(content)}" for key, content in value.items()]
    if isinstance(value, str) and Path in allowed:
        return Path(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    choices = [choice for one in allowed if typing.get_origin(one) is Literal for choice in typing.get_args(one)]
    if choices and value is not None and value not in choices:
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; allowed: {', '.join(map(str, choices))}")
    numbers = tuple(one for one in allowed if one in (int, float))
    if numbers and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; it must be a number")
    if bool in allowed and not isinstance(value, bool):
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; it must be True or False")
    return value
