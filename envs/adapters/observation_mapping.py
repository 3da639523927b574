"""From an observation space and a declaration to the observations that policies receive.

The default names are LeRobot's (`pixels`, `agent_pos`, `environment_state`, and `observation.images.NAME`,
`observation.state`, `observation.environment_state`) and those of Gymnasium's goal environments (`observation`,
`desired_goal`). Every (H, W, 3) array of uint8 is a camera.

A path names a place in an observation: `pixels.top` is an entry of an entry, `observation[0:7]` a part of a vector, `.`
all of it. A key that itself holds dots, as in `observation.images.top`, is found before it is taken apart.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from act_eval.envs.adapters.config import Declaration
from act_eval.errors import UsageError
from act_eval.types import FloatArray, ImageArray

WHOLE = "."
"""The observation itself."""
_PART = re.compile(r"^(?P<keys>[^\[\]]*)(?:\[(?P<first>\d*):(?P<last>\d*)\])?$")
RENDERED = "render()"
"""Place of an image that the environment renders outside its observation."""
UNNAMED = "image"
"""Camera name of an unnamed image."""

_STATES = ("agent_pos", "observation.state", "state", "observation")
_ENVIRONMENT_STATES = ("environment_state", "observation.environment_state", "desired_goal")
_NO_NAMES = ("pixels", "image", "images", "observation.image")


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


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Places of the policies' inputs in the observation."""

    images: Mapping[str, Place | None]
    """Camera → place; None: the image that the environment renders."""
    state: tuple[Place, ...]
    environment_state: tuple[Place, ...]
    unused: tuple[str, ...]
    """Places that are no input of any policy."""

    def to_json(self) -> dict[str, Any]:
        """Return the places as JSON values."""
        return {
            "images": {name: RENDERED if place is None else place.text for name, place in self.images.items()},
            "state": [place.text for place in self.state],
            "environment_state": [place.text for place in self.environment_state],
        }


def resolve(space: spaces.Space[Any], declared: Declaration) -> Keys:
    """Return the places of the policies' inputs.

    Raises:
        UsageError: if a declared place does not exist or is no image, or no input is found.
    """
    images = _declared_images(space, declared.images) if declared.images is not None else _default_images(space)
    state = _vectors(space, declared.state, _STATES)
    environment_state = _vectors(space, declared.environment_state, _ENVIRONMENT_STATES)
    if not images and not state:
        raise UsageError(
            "no entry of the observation has a default name; declare its meaning with --state PLACE or "
            f"--images NAME=PLACE. Entries: {_listing(space)}"
        )
    used = {place.keys for place in (*images.values(), *state, *environment_state) if place is not None}
    unused = tuple(written(keys) for keys, _ in boxes(space) if keys not in used)
    return Keys(images=images, state=state, environment_state=environment_state, unused=unused)


def is_image(box: spaces.Box) -> bool:
    """Return whether an array is an RGB image."""
    return box.dtype == np.uint8 and len(box.shape) == 3 and box.shape[2] == 3


def _declared_images(space: spaces.Space[Any], declared: Mapping[str, str]) -> dict[str, Place | None]:
    images: dict[str, Place | None] = {}
    for name, text in declared.items():
        images[name] = place = None if text == RENDERED else find(space, text)
        if place is not None and not is_image(place.box):
            raise UsageError(
                f"camera {name!r}: {text!r} holds {place.box.shape} {place.box.dtype}; an image is (H, W, 3) uint8"
            )
    return images


def _default_images(space: spaces.Space[Any]) -> dict[str, Place | None]:
    images: dict[str, Place | None] = {}
    for keys, box in boxes(space):
        if is_image(box):
            name = _camera_name(keys)
            images[name if name not in images else "_".join(keys)] = find(space, written(keys))
    return images


def _camera_name(keys: tuple[str, ...]) -> str:
    last = keys[-1] if keys else ""
    return UNNAMED if not last or last in _NO_NAMES else last.rpartition(".")[2]


def _vectors(space: spaces.Space[Any], declared: tuple[str, ...] | None, names: tuple[str, ...]) -> tuple[Place, ...]:
    if declared is not None:
        return tuple(find(space, text) for text in declared)
    if isinstance(space, spaces.Box):
        alone = names is _STATES and len(space.shape) == 1
        return (find(space, "."),) if alone else ()
    present = {written(keys): box for keys, box in boxes(space)}
    return tuple(find(space, name) for name in names if name in present and not is_image(present[name]))[:1]


def _listing(space: spaces.Space[Any]) -> str:
    listed = [f"{written(keys)} {box.shape} {box.dtype}" for keys, box in boxes(space)]
    return ", ".join(listed) or f"no arrays, but {space}"


class ObservationMapping:
    """Maps an environment's observations to the policies' inputs."""

    def __init__(self, env: gym.Env[Any, Any], keys: Keys, name: str) -> None:
        self.keys = keys
        self.skipping = False
        """Whether the last rendered images are reused."""
        self._env, self._name = env, name
        self._pixels: dict[str, ImageArray] = {}

    def space(self) -> spaces.Dict:
        """Return the space of what `of` returns; rendered images are rendered once for their size."""
        entries: dict[str, spaces.Space[Any]] = {}
        if self.keys.images:
            cameras: dict[str, spaces.Space[Any]] = {
                name: spaces.Box(0, 255, self._image_shape(name, place), np.uint8)
                for name, place in self.keys.images.items()
            }
            entries["pixels"] = spaces.Dict(cameras)
        entries["agent_pos"] = _vector_space(self.keys.state)
        if self.keys.environment_state:
            entries["environment_state"] = _vector_space(self.keys.environment_state)
        return spaces.Dict(entries)

    def of(self, observed: Any) -> dict[str, Any]:
        """Return an observation as policies receive it."""
        inputs: dict[str, Any] = {}
        if self.keys.images:
            self._pixels = {name: self._image(name, place, observed) for name, place in self.keys.images.items()}
            inputs["pixels"] = dict(self._pixels)
        inputs["agent_pos"] = _joined(observed, self.keys.state)
        if self.keys.environment_state:
            inputs["environment_state"] = _joined(observed, self.keys.environment_state)
        return inputs

    def _image(self, name: str, place: Place | None, observed: Any) -> ImageArray:
        if place is not None:
            return np.asarray(place.value(observed))
        if self.skipping and name in self._pixels:
            return self._pixels[name]
        return self._rendered(name)

    def _rendered(self, name: str) -> ImageArray:
        image: Any = self._env.render()
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(
                f"camera {name!r} is rendered by {self._name}, which returned {described(image)}; create it with "
                'render_mode="rgb_array" and return (H, W, 3) uint8'
            )
        return np.ascontiguousarray(image)

    def _image_shape(self, name: str, place: Place | None) -> tuple[int, ...]:
        if place is not None:
            return place.box.shape
        self._env.reset(seed=0)
        return self._rendered(name).shape


def digest(inputs: dict[str, Any]) -> str:
    """Return a digest of the policies' inputs, which identifies episodes that start alike."""
    content = hashlib.sha256()
    for value in (*inputs.get("pixels", {}).values(), inputs["agent_pos"], inputs.get("environment_state")):
        if value is not None:
            content.update(np.ascontiguousarray(value).tobytes())
    return content.hexdigest()[:16]


def described(value: Any) -> str:
    """Return the type of a value, for messages."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {described(inner)}" for name, inner in value.items())
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _vector_space(places: Sequence[Place]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (sum(place.size for place in places),), np.float32)


def _joined(observed: Any, places: Sequence[Place]) -> FloatArray:
    return np.concatenate([np.zeros(0, np.float32), *(place.vector(observed) for place in places)])
