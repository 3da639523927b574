"""Dataclasses as JSON lines, and what JSON cannot represent."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from act_eval.errors import ActEvalError, RunFolderError

OMIT_EMPTY = {"omit_empty": True}
"""Metadata of a field that is omitted from a file if it is empty."""


def encode_line(values: Any, error: type[ActEvalError] = RunFolderError) -> str:
    """Return a dataclass instance as one JSON line: fields in declaration order, mappings sorted by key.

    Raises:
        ActEvalError: `error`, naming the entry that JSON cannot represent.
    """
    try:
        return json.dumps(_to_json(values), separators=(",", ":"), allow_nan=False) + "\n"
    except (TypeError, ValueError, OverflowError) as failure:
        raise error(find_unserializable(values, type(values).__name__) or str(failure)) from failure


def find_unserializable(values: Any, name: str) -> str | None:
    """Return the first entry of a mapping or dataclass instance that JSON cannot represent; None if all are fine."""
    found = next(_unserializable(_to_json(values), name), None)
    return found and f"{found[0]} is {found[1]}; a record holds finite numbers, text, lists and mappings"


def _to_json(value: Any) -> Any:
    """Return JSON values: dataclasses in the order of their fields, other mappings sorted by key."""
    if is_dataclass(value):
        found = [(f, getattr(value, f.name)) for f in fields(value)]
        return {f.name: _to_json(item) for f, item in found if item or f.metadata != OMIT_EMPTY}
    if isinstance(value, Mapping):
        return {str(key): _to_json(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _unserializable(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each entry that JSON cannot represent."""
    match value:
        case dict():
            for key, item in value.items():
                yield from _unserializable(item, f"{place}.{key}")
        case list():
            for number, item in enumerate(value):
                yield from _unserializable(item, f"{place}[{number}]")
        case float() if not math.isfinite(value):
            yield place, value
        case None | str() | int() | float():
            pass
        case _:
            yield place, f"a {type(value).__name__}"
