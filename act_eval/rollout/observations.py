"""Converts the observation dictionaries of environments to the batched observation of policies.

An environment returns `{"pixels": {camera: (H, W, 3) uint8}, "agent_pos": (J,), "environment_state": (K,)}`; `pixels`
and `environment_state` are optional.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

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
        batch = self._observation
        if batch is None:
            like = {"pixels": pixels, "agent_pos": agent_pos}
            like |= {} if environment_state is None else {"environment_state": environment_state}
            batch = self._observation = _laid_out(self._slots, _space_of(like))
            assert batch is not None
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


def _laid_out(slots: int, space: Any) -> Observation | None:
    """Return the batch of a space with an `agent_pos`, all zero; None for any other space."""
    entries = space.spaces if isinstance(space, spaces.Dict) else {}
    known = {name: entries[name] for name in ("pixels", "agent_pos", "environment_state") if name in entries}
    zero: Any = create_empty_array(spaces.Dict(known), slots)
    if "agent_pos" not in zero or not isinstance(zero.get("pixels", {}), Mapping):
        return None
    return Observation(
        pixels={name: images.astype(np.uint8) for name, images in zero.get("pixels", {}).items()},
        agent_pos=zero["agent_pos"].astype(np.float32),
        environment_state=zero["environment_state"].astype(np.float32) if "environment_state" in zero else None,
    )


def _space_of(observed: Mapping[str, Any]) -> spaces.Dict:
    """Return a space with the shapes of an observation."""
    return spaces.Dict(
        {
            name: _space_of(value) if isinstance(value, Mapping) else spaces.Box(-np.inf, np.inf, value.shape)
            for name, value in observed.items()
        }
    )


def _same(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise SimulationError(f"{what} of an observation: got {got}, expected {expected}")
