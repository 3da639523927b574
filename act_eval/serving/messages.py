"""MessagePack with NumPy arrays, as openpi's client writes them; untrusted input cannot run code or exhaust memory.

An array is the map `{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}`, a NumPy scalar
`{b"__npgeneric__": True, b"data": value, b"dtype": "<f4"}`. Numbers and bools only: no objects, no strings, no
records. Numbers of many entries travel as arrays, so lists and maps may be short. Between two processes that share
memory (`act_eval.serving.shared_arrays`), a large array's `b"data"` is its offset there.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import msgpack
import numpy as np

from act_eval.errors import RemoteError
from act_eval.serving.shared_arrays import SharedArrays

MOST_ENTRIES = 4096
"""Most entries of a list or map. A header of a few bytes can announce billions, for which memory would be reserved."""
_MOST_AXES = 8
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")


def pack(message: Mapping[str, Any], shared: SharedArrays | None = None) -> bytes:
    """Return a message as bytes; equal messages give equal bytes. Large arrays are written into `shared`.

    Raises:
        RemoteError: if a value is of a type that cannot travel.
    """
    if shared is not None:
        shared.begin()
    try:
        data = msgpack.packb(message, default=partial(_plain, shared=shared))
    except (TypeError, ValueError, OverflowError) as error:
        raise RemoteError(f"a message cannot be packed: {error}") from error
    assert data is not None
    return data


def unpack(data: bytes, shared: SharedArrays | None = None) -> dict[str, Any]:
    """Return the message in `data`, its arrays writable and in native byte order; large ones may be in `shared`.

    Raises:
        RemoteError: if it is no MessagePack map, or holds anything that is not allowed.
    """
    try:
        message = msgpack.unpackb(
            data,
            object_hook=partial(_restored, shared=shared),
            ext_hook=_no_extension,
            max_array_len=MOST_ENTRIES,
            max_map_len=MOST_ENTRIES,
        )
    except RemoteError:
        raise
    # ValueError covers msgpack's own errors; the others come from keys that Python cannot hash or compare.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise RemoteError(f"{len(data)} bytes are no message: {type(error).__name__}: {error}") from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise RemoteError(f"a message must be a map with text as keys, got {type(message).__name__}")
    return message


def _plain(value: Any, shared: SharedArrays | None) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{type(value).__name__} cannot travel; numbers, text, lists, maps and NumPy arrays can")
    if not _travels(value.dtype):
        raise TypeError(f"arrays of {value.dtype} cannot travel; those of bool, integers and floats can")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    offset = None if shared is None else shared.put(value)
    data = value.tobytes() if offset is None else offset
    return {b"__ndarray__": True, b"data": data, b"dtype": value.dtype.str, b"shape": value.shape}


def _restored(entry: dict[Any, Any], shared: SharedArrays | None) -> Any:
    if b"__ndarray__" in entry:
        return _array(entry.get(b"data"), _dtype(entry.get(b"dtype")), entry.get(b"shape"), shared)
    if b"__npgeneric__" in entry:
        value = entry.get(b"data")
        if not isinstance(value, int | float):
            raise RemoteError(f"a scalar's data must be a number, got {type(value).__name__}")
        return _dtype(entry.get(b"dtype")).type(value)
    return entry


def _array(data: Any, dtype: np.dtype[Any], shape: Any, shared: SharedArrays | None) -> np.ndarray:
    fits = isinstance(shape, list | tuple) and len(shape) <= _MOST_AXES
    if not fits or not all(type(length) is int and length >= 0 for length in shape):
        raise RemoteError(f"an array's shape must be up to {_MOST_AXES} whole numbers, got {str(shape)[:80]}")
    count = math.prod(shape) * dtype.itemsize
    if shared is not None and not isinstance(data, bytes):
        return _native(shared.read(data, count).view(dtype).reshape(shape))
    if not isinstance(data, bytes):
        raise RemoteError(f"an array's data must be bytes, got {type(data).__name__}")
    if count != len(data):
        raise RemoteError(f"an array of {dtype} and shape {tuple(shape)} has {len(data)} bytes of data")
    return _native(np.frombuffer(data, dtype).reshape(shape).copy())


def _native(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@lru_cache(maxsize=64)
def _travels(dtype: np.dtype[Any]) -> bool:
    return _DTYPE.fullmatch(dtype.str) is not None


def _dtype(name: Any) -> np.dtype[Any]:
    if isinstance(name, str | bytes) and (dtype := _named_dtype(name[:40])) is not None:
        return dtype
    raise RemoteError(f"an array's dtype must be bool, integer or float, as in '<f4', got {_shown(name)}")


@lru_cache(maxsize=64)
def _named_dtype(name: str | bytes) -> np.dtype[Any] | None:
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    return np.dtype(text) if _DTYPE.fullmatch(text) else None


def _shown(name: Any) -> str:
    return repr(str(name.decode("ascii", "replace") if isinstance(name, bytes) else name)[:40])


def _no_extension(code: int, data: bytes) -> Any:
    raise RemoteError(f"MessagePack extension {code} is not part of the protocol")
