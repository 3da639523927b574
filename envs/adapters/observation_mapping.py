"""From a foreign environment's observations to those that policies here are shown."""

import hashlib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from act_eval.envs.adapters.keys import Keys
from act_eval.envs.adapters.paths import Place
from act_eval.errors import UsageError
from act_eval.types import FloatArray, ImageArray


class Seen:
    """What policies see of one environment."""

    def __init__(self, env: gym.Env[Any, Any], keys: Keys, name: str) -> None:
        self.keys = keys
        self.skipping = False
        """Whether images that would have to be rendered are those of before."""
        self._env, self._name = env, name
        self._pixels: dict[str, ImageArray] = {}

    def space(self) -> spaces.Dict:
        """Return the space of what `of` returns; what has to be rendered is rendered once for its size."""
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
        """Return an observation as policies see it."""
        shown: dict[str, Any] = {}
        if self.keys.images:
            self._pixels = {name: self._image(name, place, observed) for name, place in self.keys.images.items()}
            shown["pixels"] = dict(self._pixels)
        shown["agent_pos"] = _joined(observed, self.keys.state)
        if self.keys.environment_state:
            shown["environment_state"] = _joined(observed, self.keys.environment_state)
        return shown

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
                f"camera {name!r} is what {self._name} renders, which is {described(image)}; it must be made with "
                'render_mode="rgb_array" and give (H, W, 3) uint8'
            )
        return np.ascontiguousarray(image)

    def _image_shape(self, name: str, place: Place | None) -> tuple[int, ...]:
        if place is not None:
            return place.box.shape
        self._env.reset(seed=0)
        return self._rendered(name).shape


def digest(shown: dict[str, Any]) -> str:
    """Return a digest of what policies see, by which episodes that begin alike are found."""
    content = hashlib.sha256()
    for value in (*shown.get("pixels", {}).values(), shown["agent_pos"], shown.get("environment_state")):
        if value is not None:
            content.update(np.ascontiguousarray(value).tobytes())
    return content.hexdigest()[:16]


def described(value: Any) -> str:
    """Return what kind of thing a value is, for messages."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {described(inner)}" for name, inner in value.items())
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _vector_space(places: Sequence[Place]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (sum(place.size for place in places),), np.float32)


def _joined(observed: Any, places: Sequence[Place]) -> FloatArray:
    return np.concatenate([np.zeros(0, np.float32), *(place.vector(observed) for place in places)])
