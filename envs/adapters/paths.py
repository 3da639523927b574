"""Places in an observation: `pixels.top` is an entry of an entry, `observation[0:7]` a part of a vector, `.` all of it.

A key that itself holds dots, as in `observation.images.top`, is found before it is taken apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from act_eval.errors import UsageError

WHOLE = "."
"""The observation itself."""
_PART = re.compile(r"^(?P<keys>[^\[\]]*)(?:\[(?P<first>\d*):(?P<last>\d*)\])?$")


@dataclass(frozen=True)
class Place:
    """Position of an entry in an observation."""

    text: str
    """As declared."""
    keys: tuple[str, ...]
    part: slice | None
    """Of a flattened vector; None: all of it."""
    box: spaces.Box
    """Of the entry, before a part is taken."""

    @property
    def size(self) -> int:
        """Size of the vector."""
        count = int(np.prod(self.box.shape))
        return count if self.part is None else len(range(*self.part.indices(count)))

    def value(self, observed: Any) -> Any:
        """Return the entry of an observation."""
        for key in self.keys:
            observed = observed[key]
        return observed

    def vector(self, observed: Any) -> np.ndarray:
        """Return the entry as numbers (K,) float32."""
        numbers = np.asarray(self.value(observed), np.float32).reshape(-1)
        return numbers if self.part is None else numbers[self.part]


def find(space: spaces.Space[Any], text: str) -> Place:
    """Return the place of a text.

    Raises:
        UsageError: if it is no array, listing the places that exist.
    """
    match = _PART.match(text.strip())
    keys, found = _descend(space, (match["keys"] or WHOLE) if match else "")
    if match is None or not isinstance(found, spaces.Box):
        raise UsageError(f"there is no array at {text!r} in the observation; there are: {_listing(space)}")
    part = None
    if match["first"] is not None:
        part = slice(int(match["first"] or 0), int(match["last"]) if match["last"] else None)
    place = Place(text, keys, part, found)
    if part is not None and (place.size == 0 or (part.stop or 0) > int(np.prod(found.shape))):
        raise UsageError(f"{text!r} exceeds the {int(np.prod(found.shape))} numbers of the entry")
    return place


def boxes(space: spaces.Space[Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], spaces.Box]]:
    """Yield every array of an observation space with the keys that lead to it."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from boxes(inner, (*keys, key))
    elif isinstance(space, spaces.Box):
        yield keys, space


def written(keys: tuple[str, ...]) -> str:
    """Return the text of a place."""
    return ".".join(keys) or WHOLE


def _descend(space: spaces.Space[Any], text: str) -> tuple[tuple[str, ...], spaces.Space[Any] | None]:
    if text in (WHOLE, ""):
        return (), space
    if not isinstance(space, spaces.Dict):
        return (), None
    if text in space.spaces:
        return (text,), space[text]
    for key in space.spaces:
        if text.startswith(f"{key}."):
            keys, found = _descend(space[key], text.removeprefix(f"{key}."))
            return (key, *keys), found
    return (), None


def _listing(space: spaces.Space[Any]) -> str:
    listed = [f"{written(keys)} {box.shape} {box.dtype}" for keys, box in boxes(space)]
    return ", ".join(listed) or f"no arrays, but {space}"
