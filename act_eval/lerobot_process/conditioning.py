"""How a policy of LeRobot is told the commands that run during its inference, if at all.

Legend: `N` rows of a request · `R` rows of one call · `C` chunk length · `A` action dim.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from act_eval.lerobot_process.loading import Loaded, Settings
from act_eval.types import ChunkRequest


class Unconditioned:
    """A policy that reads observations alone."""

    def spec(self, chunk: int) -> dict[str, Any]:
        """Return the fields of the policy's spec that depend on the conditioning."""
        return {"window": "same", "takes_prefix": False, "max_delay": 0}

    def groups(self, request: ChunkRequest) -> Iterator[np.ndarray]:
        """Yield rows of a request (n,) that one call may contain."""
        yield np.arange(len(request.rows))

    def arguments(self, request: ChunkRequest, rows: np.ndarray, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Return further arguments of `predict_action_chunk`; entries of the batch may be added.

        Args:
            request: The request.
            rows: (R,) its rows in this call.
            batch: The preprocessed observations.
        """
        return {}

    def commands(self, request: ChunkRequest, rows: np.ndarray, chunk_RCA: np.ndarray) -> np.ndarray:
        """Return the commands (R, C, A) of the policy's window, given its postprocessed output."""
        return chunk_RCA


def conditioning_of(loaded: Loaded, settings: Settings) -> Unconditioned:
    """Return how a policy is conditioned."""
    return Unconditioned()
