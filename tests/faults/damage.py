"""Ways to damage a file: as bytes, and as JSON that is well-formed and wrong."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 1, 2**70, 0.5, 1e999, float("nan"), "", "x", "1", "act", "../..", "\x00", [], {}, [1], {"a": 1}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)
"""What an entry may hold instead of what belongs there."""


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, flip, insert, repeat or replace bytes."""
    at = draw(st.integers(0, max(0, len(content) - 1)))
    match draw(st.sampled_from(["cut", "flip", "insert", "repeat", "zeros", "replace"])):
        case "cut":
            return content[:at]
        case "flip":
            return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        case "insert":
            return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at:]
        case "repeat":
            return content[:at] + content
        case "zeros":
            return content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]
        case _:
            return draw(st.binary(max_size=64))


@st.composite
def damaged_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Change, drop or add an entry anywhere; lines of JSON are damaged in one line."""
    lines = content.splitlines() if content.count(b"\n{") else [content]
    number = draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[number])
    places = list(_places(value, ()))
    path = draw(st.sampled_from(places))
    changed = _changed(value, path, draw(st.sampled_from(["change", "drop", "add"])), draw(VALUES))
    lines[number] = json.dumps(changed).encode()
    return b"\n".join(lines) + (b"\n" if content.endswith(b"\n") else b"")


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield from _places(item, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], how: str, new: Any) -> Any:
    if not path:
        return {**value, "unknown": new} if how == "add" and isinstance(value, dict) else new
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest or how != "drop":
        copy[key] = _changed(copy[key], tuple(rest), how, new)
    else:
        del copy[key]
    return copy
