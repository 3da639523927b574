"""Controls: a policy that is denied something, to see what it did with it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, ImageArray, Observation, PolicySpec

GREY = 127
"""Value of every pixel that a policy does not get to see."""


def blanked(pixels: Mapping[str, ImageArray], cameras: Sequence[str]) -> dict[str, ImageArray]:
    """Return the images with those of some cameras grey throughout."""
    return {name: np.full_like(image, GREY) if name in cameras else image for name, image in pixels.items()}


class MaskedImages:
    """A policy whose cameras show nothing but grey; implements `act_eval.types.ChunkPolicy`."""

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
        """Hang up where the policy is elsewhere."""
        if hasattr(self._policy, "close"):
            self._policy.close()  # pyright: ignore[reportAttributeAccessIssue]  # an ability that some have
