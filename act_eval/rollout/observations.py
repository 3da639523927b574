"""Converts the observation dictionaries of environments to the batched observation of policies.

An environment returns `{"pixels": {camera: (H, W, 3) uint8}, "agent_pos": (J,), "environment_state": (K,)}`; `pixels`
and `environment_state` are optional.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from act_eval.errors import FeatureMismatch, SimulationError, UsageError
from act_eval.types import FloatArray, ImageArray, Observation


class ObservationBatch:
    """One row per slot, written in place, so that unused rows cost nothing.

    Args:
        slots: Number of rows.
        space: Of the observations; it determines their shapes if it has an `agent_pos`, otherwise the first one does.
    """

    def __init__(self, slots: int, space: Any = None) -> None:
        self._slots = slots
        self._begun = False
        self._observation = _laid_out(slots, space)

    @property
    def observation(self) -> Observation:
        """The batch, zero in unwritten rows. `put` changes its arrays."""
        if self._observation is None:
            raise UsageError("no environment has given an observation yet")
        return self._observation

    def put(self, slot: int, observed: Mapping[str, Any]) -> None:
        """Write a slot's row.

        Raises:
            FeatureMismatch: if the first observation has no `agent_pos`, or has pixels without camera names or other
                than uint8.
            SimulationError: if a value is not finite, or a later observation has other entries or shapes.
        """
        try:
            pixels, agent_pos, environment_state = _entries(observed)
        except FeatureMismatch as error:
            if self._begun:
                raise SimulationError(str(error)) from error
            raise
        self._begun = True
        batch = self._observation = self._observation or _zeros(self._slots, pixels, agent_pos, environment_state)
        _same("cameras", sorted(pixels), sorted(batch.pixels))
        for name, image in pixels.items():
            _same(f"image {name!r}", image.shape, batch.pixels[name].shape[1:])
            batch.pixels[name][slot] = image
        _same("agent_pos", agent_pos.shape, batch.agent_pos.shape[1:])
        batch.agent_pos[slot] = agent_pos
        if batch.environment_state is not None and environment_state is not None:
            _same("environment_state", environment_state.shape, batch.environment_state.shape[1:])
            batch.environment_state[slot] = environment_state
        else:
            _same("environment_state", environment_state is None, batch.environment_state is None)


def batch_observations(observed: Sequence[Mapping[str, Any]]) -> Observation:
    """Return the observations of several environments as one batch, in the order given.

    Raises:
        UsageError: if the sequence is empty.
        FeatureMismatch: if one has no `agent_pos`, or other entries or shapes than the first.
        SimulationError: if a value is not finite.
    """
    batch = ObservationBatch(len(observed))
    for slot, one in enumerate(observed):
        batch.put(slot, one)
    return batch.observation


def _entries(observed: Mapping[str, Any]) -> tuple[Mapping[str, ImageArray], FloatArray, FloatArray | None]:
    if not isinstance(observed, Mapping) or "agent_pos" not in observed:
        found = sorted(observed) if isinstance(observed, Mapping) else type(observed).__name__
        raise FeatureMismatch(f'an observation needs an entry "agent_pos"; the environment gives {found}')
    pixels = observed.get("pixels", {})
    if not isinstance(pixels, Mapping):
        raise FeatureMismatch('observation["pixels"] is one image without a name; make it {camera name: image}')
    state = observed.get("environment_state")
    return (
        {name: _image(name, image) for name, image in pixels.items()},
        _numbers("agent_pos", observed["agent_pos"]),
        None if state is None else _numbers("environment_state", state),
    )


def _image(name: str, image: Any) -> ImageArray:
    array = np.asarray(image)
    if array.dtype != np.uint8:  # converted, brightness from 0 to 1 would be black
        raise FeatureMismatch(f"image {name!r} of an observation is {array.dtype}; images are uint8 from 0 to 255")
    return array


def _numbers(name: str, values: Any) -> FloatArray:
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise SimulationError(f"{name} of an observation is not finite: {array.tolist()}")
    return array


def _zeros(
    slots: int, pixels: Mapping[str, ImageArray], agent_pos: FloatArray, environment_state: FloatArray | None
) -> Observation:
    return Observation(
        pixels={name: np.zeros((slots, *image.shape), np.uint8) for name, image in pixels.items()},
        agent_pos=np.zeros((slots, *agent_pos.shape), np.float32),
        environment_state=None
        if environment_state is None
        else np.zeros((slots, *environment_state.shape), np.float32),
    )


def _laid_out(slots: int, space: Any) -> Observation | None:
    """Return the batch of a space with an `agent_pos`, all zero; None for any other space."""
    entries = space.spaces if isinstance(space, spaces.Dict) else {}
    pixels, state = entries.get("pixels", spaces.Dict()), entries.get("environment_state")
    boxes = [*(pixels.spaces.values() if isinstance(pixels, spaces.Dict) else [None]), entries.get("agent_pos")]
    if not all(isinstance(box, spaces.Box) for box in (*boxes, *([] if state is None else [state]))):
        return None
    images = {name: np.zeros(box.shape or (), np.uint8) for name, box in pixels.spaces.items()}
    vectors = [None if box is None else np.zeros(box.shape or (), np.float32) for box in (boxes[-1], state)]
    assert vectors[0] is not None
    return _zeros(slots, images, vectors[0], vectors[1])


def _same(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise SimulationError(f"{what} of an observation: got {got}, expected {expected}")
