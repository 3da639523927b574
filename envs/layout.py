"""Initial poses of the blocks."""

import numpy as np
from numpy.typing import NDArray

from act_eval.envs.options import Positions
from act_eval.errors import SimulationError
from act_eval.scenes.workspace import (
    BLOCK_SIDE,
    BLOCKS,
    CLICK_ERROR,
    CLICK_LIMIT,
    MIN_SEPARATION,
    PLACE_SPREAD,
    PLACES,
)

_ATTEMPTS = 1000


def sample_blocks(
    rng: np.random.Generator, count: int, max_yaw: float, positions: Positions = "continuous"
) -> NDArray[np.float64]:
    """Return poses (count, 7) of blocks on the table: position [m] and quaternion (w, x, y, z), the target first.

    Centres are uniform over `BLOCKS` given that all are at least `MIN_SEPARATION` apart; with `positions`
    other than `continuous`, target and first confuser are near their places.

    Args:
        rng: The episode's generator of the layout.
        count: Number of blocks.
        max_yaw: Largest turn to either side [rad].
        positions: See `PickOptions`.

    Raises:
        SimulationError: if no such places are found in 1,000 attempts.
    """
    for _ in range(_ATTEMPTS):
        centres = np.array([BLOCKS.sample(rng) for _ in range(count)])
        if positions != "continuous":
            exchanged = positions == "two" and rng.random() < 0.5
            places = np.array(PLACES[::-1] if exchanged else PLACES)
            centres[:2] = (places + rng.uniform(-PLACE_SPREAD, PLACE_SPREAD, places.shape))[:count]
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(count, 1)]
        if (gaps >= MIN_SEPARATION).all():
            yaw, poses = rng.uniform(-max_yaw, max_yaw, count), np.zeros((count, 7))
            poses[:, :2], poses[:, 2] = centres, BLOCK_SIDE / 2
            poses[:, 3], poses[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
            return poses
    raise SimulationError(f"no room for {count} blocks at least {MIN_SEPARATION} m apart after {_ATTEMPTS} attempts")


def click_errors(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return how far (count, 2) clicks on as many blocks miss their centres: normal, cut off at `CLICK_LIMIT` [m]."""
    errors = rng.normal(0, CLICK_ERROR, (count, 2))
    while (far := np.linalg.norm(errors, axis=1) > CLICK_LIMIT).any():
        errors[far] = rng.normal(0, CLICK_ERROR, (int(far.sum()), 2))
    return errors
