"""One recorded episode in memory, and as a table with the columns of the data files.

Legend: `L` frames of the episode. Frame t holds the pair (o_t, a_t): the observation before step t and the command
given in it; `next.success` and `next.done` are results of step t.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from act_eval.datasets.images import encode_png
from act_eval.datasets.layout import Feature, data_schema
from act_eval.errors import FeatureMismatch
from act_eval.types import ImageArray


@dataclass(frozen=True)
class Episode:
    """An episode that is kept."""

    seed: int
    """Its episode seed, from which the environment replays it."""
    vectors: Mapping[str, NDArray[Any]]
    """Vector and flag features, (L, n) or (L,)."""
    frames: Mapping[str, ImageArray]
    """Camera features, (L, H, W, 3)."""

    @property
    def length(self) -> int:
        """L."""
        return len(next(iter(self.vectors.values())))


def episode_table(episode: Episode, features: Mapping[str, Feature], fps: int) -> pa.Table:
    """Return an episode as rows of a data file, numbered as the first episode of a data set.

    Raises:
        FeatureMismatch: if the episode lacks a declared feature or has one of another shape.
    """
    frame = np.arange(episode.length, dtype=np.int64)
    zeros = np.zeros(episode.length, np.int64)
    columns: dict[str, NDArray[Any]] = {
        **episode.vectors,
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": zeros,
        "index": frame,
        "task_index": zeros,
    }
    schema = data_schema(features)
    arrays = [_column(key, features[key], columns, episode) for key in schema.names]
    for key, feature in features.items():
        if feature.dtype == "video":
            _check_frames(key, feature, episode)
    return pa.Table.from_arrays(arrays, schema=schema)


def _column(key: str, feature: Feature, columns: Mapping[str, NDArray[Any]], episode: Episode) -> pa.Array:
    if feature.dtype == "image":
        pictures = [{"bytes": encode_png(image), "path": None} for image in _check_frames(key, feature, episode)]
        return pa.array(pictures, type=feature.arrow_type)
    if key not in columns:
        raise FeatureMismatch(f"the recorded episode has no {key!r}; it has: {', '.join(sorted(columns))}")
    values = np.ascontiguousarray(columns[key], dtype=np.dtype(feature.dtype))
    if values.size != episode.length * feature.width or len(values) != episode.length:
        declared = (episode.length, *feature.shape)
        raise FeatureMismatch(f"the recorded {key!r} has shape {values.shape}; {declared} is declared")
    flat = pa.array(values.reshape(-1))
    return flat if feature.width == 1 else pa.FixedSizeListArray.from_arrays(flat, feature.width)


def _check_frames(key: str, feature: Feature, episode: Episode) -> ImageArray:
    declared = (episode.length, *feature.shape)
    frames = episode.frames.get(key)
    if frames is None or frames.shape != declared:
        got = None if frames is None else frames.shape
        raise FeatureMismatch(f"the recorded {key!r} has shape {got}; {declared} is declared")
    return frames
