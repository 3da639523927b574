"""Digests of Python objects: equal code and equal state give equal digests, in another process too.

A class or function of an importable module counts by its name and its module's file; any other by its bytecode and by
the values that it reads. An instance counts by its class and by the state that it would be pickled with.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from act_eval.sources.factories import import_name

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_CLASS_NOISE = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__",
        "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl",
        "__parameters__", "__slotnames__",
    }
)  # fmt: skip


class UndigestibleError(Exception):
    """Part of an object's state cannot be read; the text says which."""


def digest_of(*things: Any) -> str:
    """Return a digest of objects.

    Raises:
        UndigestibleError: if part of their state cannot be read.
    """
    return _Digester().of(list(things)).hex()[:16]


def try_digest(unknown: str, digest: Callable[[], str]) -> tuple[str, str | None]:
    """Return a digest and None; or `unknown` and why there is no digest."""
    try:
        return digest(), None
    except UndigestibleError as error:
        return unknown, str(error)


class _Digester:
    """Digests objects; one that refers to itself ends the recursion by how far up it was met."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}
        """Address → the object, which keeps the address in use, and its digest."""
        self._path: list[int] = []

    def of(self, value: Any) -> bytes:
        if isinstance(value, _PLAIN):
            return _hashed([type(value).__name__.encode(), repr(value).encode()])
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._path:
            return _hashed([b"again", str(len(self._path) - self._path.index(id(value))).encode()])
        self._path.append(id(value))
        try:
            found = _hashed([type(value).__qualname__.encode(), *self._content(value)])
        except RecursionError as error:
            raise UndigestibleError(f"{type(value).__name__} is nested too deeply") from error
        finally:
            self._path.pop()
        self._known[id(value)] = (value, found)
        return found

    def _content(self, value: Any) -> Iterable[bytes]:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.nn.Module):
            return self._module(value, torch)
        if torch is not None and isinstance(value, torch.Tensor):
            return _array(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), value)
        match value:
            case np.ndarray() if value.dtype != object:
                return _array(np.ascontiguousarray(value), value)
            case list() | tuple() if type(value) in (list, tuple):
                return [self.of(one) for one in value]
            case dict() if type(value) is dict:
                return [self.of(one) for item in value.items() for one in item]
            case set() | frozenset():
                return sorted(self.of(one) for one in value)
            case CodeType():
                constants = [self.of(one) for one in value.co_consts]
                return [value.co_code, repr(value.co_names).encode(), *constants]
            case ModuleType():
                return [value.__name__.encode()]
            case MethodType():
                return [self.of(value.__func__), self.of(value.__self__)]
            case BuiltinFunctionType():
                return [value.__qualname__.encode(), self.of(getattr(value, "__self__", None))]
            case property() | staticmethod() | classmethod():
                return [self.of(getattr(value, name, None)) for name in ("__func__", "fget", "fset")]
            case type() | FunctionType():
                return self._definition(value)
            case _:
                return self._instance(value)

    def _definition(self, value: Any) -> Iterable[bytes]:
        name = import_name(value)
        if name is not None:
            return [name.encode(), _file_digest(value.__module__)]
        if isinstance(value, type):
            own = {
                key: one
                for key, one in vars(value).items()
                if key not in _CLASS_NOISE and type(one).__name__ not in ("member_descriptor", "getset_descriptor")
            }
            return [self.of([*value.__bases__]), self.of(own)]
        read = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
        cells = [_cell_value(cell) for cell in value.__closure__ or ()]
        return [self.of([value.__code__, value.__defaults__, value.__kwdefaults__, cells, read])]

    def _module(self, value: Any, torch: Any) -> Iterable[bytes]:
        """Return the digests of a network: its parameters and buffers, and of every part the class and attributes."""
        internal = vars(torch.nn.Module())
        parts = [
            [name, type(one), {key: state for key, state in vars(one).items() if key not in internal}]
            for name, one in value.named_modules()
        ]
        return [self.of(parts), self.of(dict(value.named_parameters())), self.of(dict(value.named_buffers()))]

    def _instance(self, value: Any) -> Iterable[bytes]:
        try:
            reduced = value.__reduce_ex__(4)
            items = [list(one) if hasattr(one, "__next__") else None for one in reduced[3:]]
            parts = [reduced] if isinstance(reduced, str) else [*reduced[:3], *items]
        except Exception as error:  # runs the object's own code, which may raise anything
            raise UndigestibleError(f"{type(value).__name__}: {error}") from error
        return [self.of(part) for part in parts]


def _hashed(parts: Iterable[bytes]) -> bytes:
    content = hashlib.sha256()
    for part in parts:
        content.update(len(part).to_bytes(8, "little") + part)
    return content.digest()


def _array(numbers: np.ndarray, described: Any) -> list[bytes]:
    return [f"{described.dtype} {tuple(described.shape)}".encode(), numbers.tobytes()]


def _cell_value(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code: CodeType) -> list[str]:
    """Return the names that code reads, that of nested functions included."""
    nested = [name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)]
    return sorted({*code.co_names, *nested})


@lru_cache(maxsize=256)
def _file_digest(module: str) -> bytes:
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).digest() if file and Path(file).is_file() else b"builtin"


def unknown_digest() -> str:
    """Return a digest for an object that cannot be digested; no other object has it."""
    return f"unknown_{token_hex(8)}"


def settled_digest(env: Any) -> str:
    """Return a digest of a made environment: of every attribute that episodes leave as it is.

    It is reset with one seed three times and steps once; attributes that differ afterwards are counters and the like.

    Args:
        env: The environment with its wrappers.

    Raises:
        UndigestibleError: if an attribute cannot be read.
    """
    env.reset(seed=0)
    first = _snapshot(env)
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    env.reset(seed=0)
    second = _snapshot(env)
    return digest_of({key: found for key, found in first.items() if second.get(key) == found})


def _snapshot(env: Any) -> dict[str, str]:
    """Return the digests of every attribute of an environment and of its wrappers."""
    found: dict[str, str] = {}
    level = 0
    while True:
        found[f"{level}"] = digest_of(type(env))
        inner = vars(env).get("env")
        for name, value in vars(env).items():
            if name not in ("env", "action_space"):
                try:
                    found[f"{level}.{name}"] = digest_of(value)
                except UndigestibleError as error:
                    raise UndigestibleError(f"attribute {name!r} holds a {error}") from error
        if inner is None:
            return found
        env, level = inner, level + 1
