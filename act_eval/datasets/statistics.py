"""Statistics of a data set, in the form of LeRobot's meta/stats.json.

Pixels are counted in histograms of whole numbers, so their statistics are exact, cost no second pass, and do not
depend on the order or the grouping in which frames were seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import DatasetError
from act_eval.types import ImageArray, IntArray

Stats = dict[str, dict[str, Any]]
"""Feature → {min, max, mean, std, count, q01 … q99} → nested lists."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def check_statistics(found: Mapping[str, Any], shape: tuple[int, ...], what: str) -> None:
    """Check the statistics that policies are normalised by.

    Args:
        found: of one feature; min, max, mean, std and count are needed.
        shape: of each but the count.
        what: file and feature, for messages.

    Raises:
        DatasetError: naming the first that is missing, no array of this shape, or impossible.
    """
    for name in ("min", "max", "mean", "std", "count"):
        if name not in found:
            raise DatasetError(f"{what} has no statistics {name!r}; there are: {', '.join(map(str, found)) or 'none'}")
        try:
            numbers = np.asarray(found[name])
        except ValueError as error:  # a list of lists of different lengths
            raise DatasetError(f"{what}: statistics {name!r} are no array of numbers: {error}") from error
        if numbers.dtype.kind not in "iuf":
            raise DatasetError(f"{what}: statistics {name!r} are not numbers: {found[name]!r:.80}")
        if numbers.shape != ((1,) if name == "count" else shape):
            raise DatasetError(f"{what}: statistics {name!r} have shape {numbers.shape}; the feature has {shape}")
        if name in ("std", "count") and (numbers < (0 if name == "std" else 1)).any():
            raise DatasetError(f"{what}: statistics {name!r} are {found[name]}, which is impossible")


def vector_statistics(values: NDArray[Any]) -> dict[str, Any]:
    """Return the statistics of a feature over all frames.

    Args:
        values: (F, n), or (F,) for a scalar feature.
    """
    table = values.reshape(len(values), -1).astype(np.float64)
    summary: dict[str, Any] = {
        "min": table.min(axis=0).tolist(),
        "max": table.max(axis=0).tolist(),
        "mean": table.mean(axis=0).tolist(),
        "std": table.std(axis=0).tolist(),
        "count": [len(table)],
    }
    levels = np.quantile(table, list(QUANTILES.values()), axis=0)
    return summary | {name: level.tolist() for name, level in zip(QUANTILES, levels, strict=True)}


def pixel_histogram(frames: ImageArray) -> IntArray:
    """Count the pixel values of (L, H, W, 3) frames: (3, 256)."""
    return np.stack([np.bincount(frames[..., channel].ravel(), minlength=256) for channel in range(3)])


def image_statistics(histogram: IntArray, frames: int) -> dict[str, Any]:
    """Return the statistics of a camera, per channel in [0, 1], shaped (3, 1, 1) as LeRobot has them.

    Args:
        histogram: (3, 256) counts of pixel values.
        frames: number of frames that were counted.
    """
    levels = np.arange(256) / 255.0
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ levels
    variance = (share * (levels - mean[:, None]) ** 2).sum(axis=1)
    cumulative = np.cumsum(histogram, axis=1)
    seen = histogram > 0
    values = {
        "min": levels[seen.argmax(axis=1)],
        "max": levels[255 - seen[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
    }
    for name, q in QUANTILES.items():
        values[name] = levels[(cumulative >= q * cumulative[:, -1:]).argmax(axis=1)]
    summary: dict[str, Any] = {name: value.reshape(3, 1, 1).tolist() for name, value in values.items()}
    return summary | {"count": [frames]}


def merged_statistics(parts: Sequence[Stats]) -> Stats:
    """Return the statistics of several data sets together: min, max, mean, std and count, each frame weighing the same.

    Quantiles cannot be had from those of the parts and are left out.

    Args:
        parts: of data sets with the same features; at least one.
    """
    return {key: _merged([part[key] for part in parts]) for key in parts[0]}


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = np.array([part["count"][0] for part in parts], np.float64)
    mean, std, low, high = (np.array([part[name] for part in parts]) for name in ("mean", "std", "min", "max"))
    weights = (counts / counts.sum()).reshape(-1, *(1,) * (mean.ndim - 1))
    together = (weights * mean).sum(axis=0)
    variance = (weights * (std**2 + (mean - together) ** 2)).sum(axis=0)
    return {
        "min": low.min(axis=0).tolist(),
        "max": high.max(axis=0).tolist(),
        "mean": together.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(counts.sum())],
    }
