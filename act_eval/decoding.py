"""The decoder from JSON to dataclasses: every defect of a file becomes an error that names file and field.

A file may be damaged, written by another version or edited by hand. `decode` returns an instance of the annotated type
or raises the caller's error, as in
`run/manifest.json is damaged: conditions.rtc_d0_s10.delay is 'four'; it must be a whole number`.

Annotations: dataclasses, `Mapping[str, X]`, `Mapping[int, X]` (seeds as keys), `dict`, `tuple[X, ...]`, `list[X]`,
`X | Y`, `Literal`, enums, `Any` for open sections, and int, float, str, bool, None. Numbers are finite, true and false
are not numbers, whole numbers of typed fields have 64 bits. A number keeps its kind, whole or floating-point.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from act_eval.defects import Defect, Unusable, describe_value, key_text, wrong
from act_eval.encoding import OMIT_EMPTY
from act_eval.errors import ActEvalError, RunFolderError

JSON = dict[str, Any]
"""An object whose entries may be any JSON."""

_Kind = TypeVar("_Kind")

_Decoder = Callable[[Any], Any]
_DEEPEST = 64
"""Maximum nesting depth of an open section."""
_HUGE = 2**1023
"""Bound of whole numbers in open sections; larger ones do not fit a float."""


def read_json(
    path: Path, kind: type[_Kind], error: type[ActEvalError] = RunFolderError, *, missing: str = "", **how: bool
) -> _Kind:
    """Return the decoded content of a JSON file.

    Args:
        path: The file.
        kind: Its annotated type.
        error: Raised for every defect.
        missing: The message if the file does not exist; "PATH is missing" by default.
        how: `ignore_unknown` and `use_defaults` of `build`.

    Raises:
        ActEvalError: `error`, naming the file and the field.
    """
    return decode(read_bytes(path, error, missing), kind, str(path), error, **how)


def read_lines(path: Path, kind: type[_Kind], error: type[ActEvalError] = RunFolderError) -> list[_Kind]:
    """Return the decoded lines of a finished file of JSON lines.

    Raises:
        ActEvalError: `error`, if the last line is truncated, or naming the line and the field.
    """
    content = read_bytes(path, error)
    if not content.endswith(b"\n"):
        raise error(f"{path} is truncated; delete it and repeat the run's command")
    lines = content[:-1].split(b"\n")
    return [decode(line, kind, f"{path}, line {number}", error) for number, line in enumerate(lines, start=1)]


def read_bytes(path: Path, error: type[ActEvalError], missing: str = "") -> bytes:
    """Return the content of a file.

    Raises:
        ActEvalError: `error`, if it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as failure:
        raise error(missing or f"{path} is missing") from failure
    except (OSError, ValueError) as failure:  # ValueError: a name with a zero byte
        raise error(f"{path} cannot be read: {getattr(failure, 'strerror', None) or failure}") from failure


def read_text(path: Path, error: type[ActEvalError] = RunFolderError, missing: str = "") -> str:
    """Return the text of a file; see `read_bytes`."""
    try:
        return read_bytes(path, error, missing).decode()
    except UnicodeDecodeError as failure:
        raise error(f"{path} is damaged: no text ({failure})") from failure


def decode(
    text: bytes | str, kind: type[_Kind], place: str, error: type[ActEvalError] = RunFolderError, **how: bool
) -> _Kind:
    """Return the decoded content of a JSON text; see `read_json`. Errors begin with `place`."""
    try:
        values = _parse(text.decode() if isinstance(text, bytes) else text)
    except RecursionError as failure:
        raise error(f"{place} is damaged: its JSON is nested too deeply") from failure
    except ValueError as failure:  # of Unicode and JSON
        raise error(f"{place} is damaged: not JSON ({failure})") from failure
    return build(kind, values, place, error, **how)


def build(
    kind: type[_Kind],
    values: Any,
    place: str,
    error: type[ActEvalError] = RunFolderError,
    *,
    ignore_unknown: bool = False,
    use_defaults: bool = False,
) -> _Kind:
    """Return an instance of `kind` from parsed JSON values; see `read_json`. Errors begin with `place`.

    Args:
        kind: The annotated type.
        values: Parsed JSON.
        place: Name of the file, or of a part of it.
        error: Raised for every defect.
        ignore_unknown: Whether to skip unknown fields; for formats of other programs only.
        use_defaults: Whether missing fields take their defaults.
    """
    try:
        return _decoder(kind, ignore_unknown, use_defaults)(values)
    except Defect as defect:
        raise error(defect.describe(place)) from defect.__cause__


def _parse(text: str) -> Any:
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a whole number of more digits than Python converts
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole_number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        values[name] = Unusable("given twice") if name in values else value
    return values


def _whole_number(digits: str) -> Any:
    return int(digits) if len(digits) < 310 else Unusable(f"a whole number of {len(digits)} digits")


@cache
def _decoder(hint: Any, ignore_unknown: bool, use_defaults: bool) -> _Decoder:
    """Return the function that converts a parsed value to an annotated type, or raises `Defect`."""
    origin, parts = get_origin(hint) or hint, get_args(hint)

    def inner(part: Any) -> _Decoder:
        return _decoder(part, ignore_unknown, use_defaults)

    if hint is Any or hint is object:
        return _open
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin in (Union, UnionType):
        return _union({part: inner(part) for part in parts})
    if origin is Literal:
        return _choice({(type(value), value): value for value in parts})
    if origin in (dict, Mapping):
        return _mapping(inner(parts[1]), parts[0] is int)
    if origin is tuple and parts[-1] is not Ellipsis:
        return _sequence([inner(part) for part in parts], tuple, len(parts))
    if origin in (tuple, list, Sequence):
        return _sequence(repeat(inner(parts[0])), list if origin is list else tuple)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _choice({(type(member.value), member.value): member for member in origin})
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        decoders = {f.name: inner(hints[f.name]) for f in fields(hint) if f.init}
        return _dataclass(hint, decoders, ignore_unknown, use_defaults)
    raise TypeError(f"no decoder for the annotation {hint}")


def _dataclass(kind: Any, decoders: dict[str, _Decoder], ignore_unknown: bool, use_defaults: bool) -> _Decoder:
    optional = {f.name for f in fields(kind) if not (f.default is MISSING and f.default_factory is MISSING)}
    omitted = {f.name for f in fields(kind) if f.metadata == OMIT_EMPTY}
    required = decoders.keys() - (optional if use_defaults else omitted)
    needed = f"the fields are {', '.join(decoders)}"

    def decode_fields(value: Any) -> Any:
        if type(value) is not dict:
            raise wrong(value, f"an object ({needed})")
        values: dict[str, Any] = {}
        for name, item in value.items():
            if (decoder := decoders.get(name)) is None:
                if ignore_unknown:
                    continue
                raise Defect("is unknown", needed).inside(key_text(name))
            try:
                values[name] = decoder(item)
            except Defect as defect:
                raise defect.inside(f".{name}")  # noqa: B904 (the same error)
        if not required <= values.keys():
            lacking = next(name for name in decoders if name in required and name not in values)
            raise Defect("is missing", needed).inside(f".{lacking}")
        try:
            return kind(**values)
        except ActEvalError as failure:  # raised by __post_init__
            raise Defect(str(failure), refused=True) from failure

    return decode_fields


def _union(decoders: dict[Any, _Decoder]) -> _Decoder:
    nullable = NoneType in decoders
    others = [decoder for part, decoder in decoders.items() if part is not NoneType]

    def decode_any_of(value: Any) -> Any:
        if value is None and nullable:
            return None
        defects: list[Defect] = []
        for decoder in others:
            try:
                return decoder(value)
            except Defect as defect:
                defects.append(defect)
        if nested := [defect for defect in defects if defect.path]:  # right type, defect inside
            raise nested[0]
        needed = [defect.needed.removeprefix("it must be ") for defect in defects]
        raise wrong(value, " or ".join([*dict.fromkeys(needed), *(["null"] if nullable else [])]))

    return decode_any_of


def _choice(members: dict[tuple[type, Any], Any]) -> _Decoder:
    needed = f"one of {', '.join(describe_value(value) for _, value in members)}"

    def decode_choice(value: Any) -> Any:
        if type(value) not in (str, int, bool, NoneType) or (type(value), value) not in members:
            raise wrong(value, needed)
        return members[type(value), value]

    return decode_choice


def _mapping(decoder: _Decoder, whole: bool) -> _Decoder:
    def decode_entries(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise wrong(value, "an object")
        if not whole and decoder is _open:
            return _open(value)
        entries: dict[Any, Any] = {}
        for name, item in value.items():
            _check_name(name)
            if whole and not _is_whole(name):
                raise Defect("has a name that is not a whole number").inside(key_text(name))
            try:
                entries[int(name) if whole else name] = decoder(item)
            except Defect as defect:
                raise defect.inside(key_text(name))  # noqa: B904
        return entries

    return decode_entries


def _sequence(decoders: Iterable[_Decoder], kind: type, count: int | None = None) -> _Decoder:
    """Return the decoder of a list with one decoder per entry; `repeat` of one without a fixed `count`."""

    def decode_items(value: Any) -> Any:
        if type(value) not in (list, tuple) or count not in (None, len(value)):
            raise wrong(value, "a list" if count is None else f"a list of {count} entries")
        items: list[Any] = []
        try:
            for decoder, item in zip(decoders, value, strict=False):
                items.append(decoder(item))
        except Defect as defect:
            raise defect.inside(f"[{len(items)}]")  # noqa: B904
        return items if kind is list else tuple(items)

    return decode_items


def _open(value: Any, depth: int = 0) -> Any:
    """Return a value of an open section unchanged, after checking that it is JSON."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int and -_HUGE < value < _HUGE:
        return value
    if kind is float:
        return _number(value)
    if kind not in (dict, list, tuple):
        raise wrong(value, "JSON")
    if depth >= _DEEPEST:
        raise Defect("is nested too deeply", f"at most {_DEEPEST} levels are allowed")
    for key, item in value.items() if kind is dict else enumerate(value):
        try:
            if kind is dict:
                _check_name(key)
            _open(item, depth + 1)
        except Defect as defect:
            raise defect.inside(key_text(key) if kind is dict else f"[{key}]")  # noqa: B904
    return value


def _check_name(name: Any) -> None:
    if type(name) is not str or not (name.isascii() or _is_unicode(name)):
        raise Defect("has a name that is not text")


def _is_whole(name: str) -> bool:
    """Return whether a name is a canonical whole number of at most 64 bits."""
    return name.isascii() and name.isdecimal() and len(name) <= 20 and int(name) < 2**64 and str(int(name)) == name


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _text(value: Any) -> str:
    if type(value) is not str or not (value.isascii() or _is_unicode(value)):
        raise wrong(value, "text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**64:
        raise wrong(value, "a whole number")
    return value


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and -_HUGE < value < _HUGE:
        return value
    raise wrong(value, "a finite number")


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong(value, "true or false")
    return value


def _null(value: Any) -> None:
    if value is not None:
        raise wrong(value, "null")


_SCALARS: Mapping[Any, _Decoder] = {str: _text, int: _whole, float: _number, bool: _flag, None: _null, NoneType: _null}
