"""Control: a policy without camera images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, ImageArray, Observation, PolicySpec

GREY = 127
"""Value of every masked pixel."""


def blanked(pixels: Mapping[str, ImageArray], cameras: Sequence[str]) -> dict[str, ImageArray]:
    """Return the images, those of some cameras masked with grey."""
    return {name: np.full_like(image, GREY) if name in cameras else image for name, image in pixels.items()}


class MaskedImages:
    """A policy with grey camera images; implements `act_eval.types.ChunkPolicy`."""

    def __init__(self, policy: ChunkPolicy) -> None:
        self._policy = policy

    @property
    def spec(self) -> PolicySpec:
        return self._policy.spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._policy.reset(rows, seeds)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        seen: Observation = request.observation
        dark = replace(seen, pixels=blanked(seen.pixels, tuple(seen.pixels)))
        return self._policy.predict(replace(request, observation=dark))

    def close(self) -> None:
        """Close the connection of a remote policy."""
        if hasattr(self._policy, "close"):
            self._policy.close()  # pyright: ignore[reportAttributeAccessIssue]  # an ability that some have
