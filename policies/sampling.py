"""Which frames a training step sees, and how their images are shifted: pure functions of (seed, step, rank).

Nothing here has a state, so a run that was interrupted continues with exactly the batches it would have had.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from act_eval.errors import DatasetError
from act_eval.types import IMAGE_PREFIX, IntArray

_ORDER, _SHIFT, _TORCH = range(3)  # independent random streams of a training run


def _entropy(seed: int, stream: int, *place: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(stream, *place))


class FrameOrder:
    """The frames of every step: the data set in a new random order for each pass, without end."""

    def __init__(
        self, frames: int, batch_size: int, seed: int, rank: int = 0, ranks: int = 1, *, first: int = 0, group: int = 0
    ) -> None:
        """Make the order of `frames` frames, numbered from `first` on; groups have orders of their own."""
        if frames < 1:
            raise DatasetError("no frame is left to train on; a data set needs at least one training episode")
        self._frames, self._batch, self._seed = frames, batch_size, seed
        self._rank, self._ranks, self._first, self._group = rank, ranks, first, group
        self._pass: tuple[int, IntArray] | None = None

    def at(self, step: int) -> IntArray:
        """Return the (B,) frames of this rank at `step`; a batch may reach from one pass into the next."""
        first = (step * self._ranks + self._rank) * self._batch
        places = np.arange(first, first + self._batch)
        passes, offsets = np.divmod(places, self._frames)
        return self._first + np.array([self._order(int(p))[o] for p, o in zip(passes, offsets, strict=True)], np.int64)

    def _order(self, number: int) -> IntArray:
        if self._pass is None or self._pass[0] != number:
            place = (number, self._group) if self._group else (number,)
            generator = np.random.default_rng(_entropy(self._seed, _ORDER, *place))
            self._pass = number, generator.permutation(self._frames)
        return self._pass[1]


def frame_orders(
    groups: Sequence[tuple[int, float]], batch_size: int, seed: int, rank: int = 0, ranks: int = 1
) -> list[FrameOrder]:
    """Return the order of each group of frames, with its share of every batch.

    Args:
        groups: (frames, share) of each, numbered one after the other; shares sum to 1.
        batch_size: B.
        seed: of the run.
        rank: of this process.
        ranks: of all.
    """
    orders, first, taken, wanted = [], 0, 0, 0.0
    for number, (frames, share) in enumerate(groups):
        wanted += share * batch_size
        count = round(wanted) - taken
        if count:
            orders.append(FrameOrder(frames, count, seed, rank, ranks, first=first, group=number))
        first, taken = first + frames, taken + count
    return orders


def seed_torch(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's generators for one step, so that dropout depends on (seed, step, rank) alone."""
    torch.manual_seed(int(_entropy(seed, _TORCH, step, rank).generate_state(1, np.uint64)[0]))


def shift_images(batch: dict[str, Tensor], pixels: int, seed: int, step: int, rank: int = 0) -> dict[str, Tensor]:
    """Return the batch with every image moved by up to `pixels` in x and y; edge pixels are repeated.

    Each image (B, 3, H, W) of each camera is moved on its own. Shifts: Kostrikov et al., DrQ, 2020.
    """
    cameras = sorted(key for key in batch if key.startswith(IMAGE_PREFIX))
    if pixels == 0 or not cameras:
        return batch
    generator = np.random.default_rng(_entropy(seed, _SHIFT, step, rank))
    shifted = dict(batch)
    for key in cameras:
        moves = generator.integers(-pixels, pixels + 1, size=(len(batch[key]), 2))
        shifted[key] = _shifted(batch[key], torch.from_numpy(moves).to(batch[key].device))
    return shifted


def _shifted(images_BCHW: Tensor, moves_B2: Tensor) -> Tensor:
    count, channels, height, width = images_BCHW.shape
    device = images_BCHW.device
    rows_BH = (torch.arange(height, device=device) + moves_B2[:, :1]).clamp(0, height - 1)
    columns_BW = (torch.arange(width, device=device) + moves_B2[:, 1:]).clamp(0, width - 1)
    sample = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return images_BCHW[sample, channel, rows_BH[:, None, :, None], columns_BW[:, None, None, :]]
