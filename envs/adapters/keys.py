"""From an observation space and a declaration to what policies are shown.

The usual names are LeRobot's (`pixels`, `agent_pos`, `environment_state`, and `observation.images.NAME`,
`observation.state`, `observation.environment_state`) and those of Gymnasium's goal environments (`observation`,
`desired_goal`). Every (H, W, 3) array of uint8 is a camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from act_eval.envs.adapters.config import Declaration
from act_eval.envs.adapters.paths import Place, boxes, find, written
from act_eval.errors import UsageError

RENDERED = "render()"
"""Place of an image that the environment renders instead of putting it into its observation."""
UNNAMED = "image"
"""Camera of an image that has no name of its own."""

_STATES = ("agent_pos", "observation.state", "state", "observation")
_ENVIRONMENT_STATES = ("environment_state", "observation.environment_state", "desired_goal")
_NO_NAMES = ("pixels", "image", "images", "observation.image")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What policies are shown, and where it stands."""

    images: Mapping[str, Place | None]
    """Camera → place; None: what the environment renders."""
    state: tuple[Place, ...]
    environment_state: tuple[Place, ...]
    unused: tuple[str, ...]
    """Places that no policy is shown."""

    def to_json(self) -> dict[str, Any]:
        """Return the places as JSON values."""
        return {
            "images": {name: RENDERED if place is None else place.text for name, place in self.images.items()},
            "state": [place.text for place in self.state],
            "environment_state": [place.text for place in self.environment_state],
        }


def resolve(space: spaces.Space[Any], declared: Declaration) -> Keys:
    """Return what policies are shown of an observation.

    Raises:
        UsageError: if a declared place is not there or no image, or nothing is found that could be shown.
    """
    images = _declared_images(space, declared.images) if declared.images is not None else _usual_images(space)
    state = _vectors(space, declared.state, _STATES)
    environment_state = _vectors(space, declared.environment_state, _ENVIRONMENT_STATES)
    if not images and not state:
        raise UsageError(
            "nothing in the observation has a name that says what it is; declare it with --state PLACE or "
            f"--images NAME=PLACE. There are: {', '.join(_listed(space)) or space}"
        )
    shown = {place.keys for place in (*images.values(), *state, *environment_state) if place is not None}
    unused = tuple(written(keys) for keys, _ in boxes(space) if keys not in shown)
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


def _usual_images(space: spaces.Space[Any]) -> dict[str, Place | None]:
    images: dict[str, Place | None] = {}
    for keys, box in boxes(space):
        if is_image(box):
            name = _camera_name(keys)
            images[name if name not in images else "_".join(keys)] = find(space, written(keys))
    return images


def _camera_name(keys: tuple[str, ...]) -> str:
    last = keys[-1] if keys else ""
    return UNNAMED if not last or last in _NO_NAMES else last.rpartition(".")[2]


def _vectors(space: spaces.Space[Any], declared: tuple[str, ...] | None, usual: tuple[str, ...]) -> tuple[Place, ...]:
    if declared is not None:
        return tuple(find(space, text) for text in declared)
    if isinstance(space, spaces.Box):
        alone = usual is _STATES and len(space.shape) == 1
        return (find(space, "."),) if alone else ()
    present = {written(keys): box for keys, box in boxes(space)}
    return tuple(find(space, name) for name in usual if name in present and not is_image(present[name]))[:1]


def _listed(space: spaces.Space[Any]) -> list[str]:
    return [f"{written(keys)} {box.shape} {box.dtype}" for keys, box in boxes(space)]
