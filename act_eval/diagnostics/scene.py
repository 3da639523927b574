"""What probes may ask an environment beyond Gymnasium's interface; each ability is optional.

Legend: `N` observations · `C` chunk · `A` action dim · `K` blocks · `S` state size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from act_eval.types import FloatArray, ImageArray

StateArray = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """An environment's answers to what-if questions; None where it does not answer."""

    gripper_position: Callable[[FloatArray], StateArray] | None
    """Commands (..., A) → where they put the gripper (..., 3) [m]."""
    block_positions: Callable[[StateArray], StateArray] | None
    """A state (S,) → centres of the blocks (K, 3) [m], the scene's target first."""
    render_state: Callable[[StateArray, str, int, int], ImageArray] | None
    """A state (S,), a camera, height and width → its image."""
    with_blocks_exchanged: Callable[[StateArray], StateArray] | None
    """A state (S,) → the state with target and first confuser in each other's place."""
    without_confusers: Callable[[StateArray], StateArray] | None
    """A state (S,) → the state with every confuser out of sight."""

    @classmethod
    def of(cls, env: gym.Env[Any, Any]) -> "Scene":
        """Return what an environment offers."""
        base = env.unwrapped
        return cls(
            gripper_position=getattr(base, "gripper_position", None),
            block_positions=getattr(base, "block_positions", None),
            render_state=getattr(base, "render_state", None),
            with_blocks_exchanged=getattr(base, "with_blocks_exchanged", None),
            without_confusers=getattr(base, "without_confusers", None),
        )

    def block_xy(self, states_NS: StateArray) -> StateArray:
        """Return the blocks' centres seen from above (N, K, 2) [m]; K = 0 where the environment does not tell."""
        if self.block_positions is None or states_NS.shape[1] == 0:
            return np.zeros((len(states_NS), 0, 2))
        return np.stack([self.block_positions(state)[:, :2] for state in states_NS])

    def images(
        self, states: Iterable[StateArray], cameras: Iterable[tuple[str, tuple[int, ...]]]
    ) -> dict[str, ImageArray] | None:
        """Return images (N, H, W, 3) of states for cameras given with their (H, W, 3); None without a renderer."""
        if self.render_state is None:
            return None
        shown = list(states)
        return {
            name: np.stack([self.render_state(state, name, height, width) for state in shown])
            for name, (height, width, *_) in cameras
        }
