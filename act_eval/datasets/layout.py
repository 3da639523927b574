"""The LeRobotDataset v3.0 folder: its paths, its features and its Arrow schema.

```
meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
data/chunk-000/file-000.parquet  videos/VIDEO_KEY/chunk-000/file-000.mp4
```
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from act_eval.errors import DatasetError
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, LAST_ACTION, PAST_ACTIONS, STATE

VERSION = "v3.0"
CHUNK_FILES = 1000
"""Files in one `chunk-NNN` folder."""
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO, STATS, TASKS, COLLECTION = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/collection.json"

SUCCESS, DONE = "next.success", "next.done"

CORRECTION, CORRECTION_LENGTH, CORRECTION_DELAY = "correction", "correction_length", "correction_delay"
"""Features of a data set of corrections: the commands (T, A) from an observation on, flattened, how many of them count,
and how many of these are committed ones of the policy, before the expert's begin."""
EPISODE_STEP, ROLLOUT_SUCCESS = "episode_step", "rollout_success"
PAST_KEPT = 10
"""Commands before each observation that a data set of corrections holds, flattened."""

ImageStorage = Literal["image", "video"]
"""`image`: one lossless PNG per frame inside the data files. `video`: H.264, lossy."""

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Feature:
    """One column of a data set, as info.json declares it."""

    dtype: str
    """A NumPy dtype name, or `image` or `video`."""
    shape: tuple[int, ...]
    """Shape per frame; (H, W, 3) for a camera."""
    names: Any = None
    """Names of the entries: joints, or height, width, channels; `{"motors": [...]}` in sets converted from v2."""

    def __post_init__(self) -> None:
        if any(n < 0 for n in self.shape) or (self.is_camera and len(self.shape) != 3):
            raise DatasetError(f"its shape is {self.shape}; a camera needs (height, width, channels)")

    @property
    def is_camera(self) -> bool:
        """Whether the feature is an image."""
        return self.dtype in ("image", "video")

    @property
    def width(self) -> int:
        """Entries of one frame of a vector feature."""
        return self.shape[0] if self.shape else 1

    @property
    def arrow_type(self) -> pa.DataType:
        """Type in the data files; vectors of length one are plain scalars, as LeRobot writes them."""
        if self.dtype == "image":
            return _IMAGE_TYPE
        scalar = pa.bool_() if self.dtype == "bool" else pa.from_numpy_dtype(self.dtype)
        return scalar if self.width == 1 else pa.list_(scalar, self.width)


DEFAULT_FEATURES: Mapping[str, Feature] = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""The five columns that every LeRobot data set has."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What an environment shows and takes: names of the numbers of its vectors, and its cameras."""

    state: tuple[str, ...]
    """Of `agent_pos`."""
    environment_state: tuple[str, ...] = ()
    """Of `environment_state`; empty without one."""
    action: tuple[str, ...]
    """Of the action."""
    cameras: Mapping[str, tuple[int, int]]
    """Name → (height, width) [pixels]."""


def demonstration_features(shown: Shown, storage: ImageStorage) -> dict[str, Feature]:
    """Return the features of demonstrations recorded in an environment.

    Args:
        shown: of the environment.
        storage: how images are kept.
    """
    vectors = {STATE: shown.state, ENVIRONMENT_STATE: shown.environment_state}
    features = {key: Feature("float32", (len(names),), names) for key, names in vectors.items() if names}
    for name, (height, width) in shown.cameras.items():
        features[IMAGE_PREFIX + name] = Feature(storage, (height, width, 3), ("height", "width", "channels"))
    features[ACTION] = Feature("float32", (len(shown.action),), shown.action)
    features |= {SUCCESS: Feature("bool", (1,)), DONE: Feature("bool", (1,))}
    return features | dict(DEFAULT_FEATURES)


def correction_features(shown: Shown, storage: ImageStorage, window: int) -> dict[str, Feature]:
    """Return the features of corrections: those of demonstrations, with a window of commands in place of the action.

    There is no `action`: rows are labelled moments of a rollout, and the next row is not the next control step.

    Args:
        shown: as for `demonstration_features`.
        storage: as there.
        window: T, commands in a window.
    """
    observed = demonstration_features(shown, storage)
    features = {key: one for key, one in observed.items() if key not in (ACTION, SUCCESS, DONE, *DEFAULT_FEATURES)}
    features[CORRECTION] = Feature("float32", (window * len(shown.action),))
    features[LAST_ACTION] = Feature("float32", (len(shown.action),), shown.action)
    features[PAST_ACTIONS] = Feature("float32", (PAST_KEPT * len(shown.action),))
    features |= {key: Feature("int64", (1,)) for key in (CORRECTION_LENGTH, CORRECTION_DELAY, EPISODE_STEP)}
    return features | {ROLLOUT_SUCCESS: Feature("bool", (1,))} | dict(DEFAULT_FEATURES)


def data_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """Return the schema of the data files: every feature but the videos."""
    return pa.schema([(key, f.arrow_type) for key, f in features.items() if f.dtype != "video"])


def as_read(stored: Feature) -> Feature:
    """Return a feature of info.json with flat names; a camera stored channel first becomes (H, W, C)."""
    names: Any = stored.names
    if isinstance(names, Mapping):
        names = [n for group in names.values() for n in (group if isinstance(group, list) else [group])]
    names = None if names is None else tuple(str(n) for n in (names if isinstance(names, list) else [names]))
    if stored.is_camera and names and names[0] in ("channel", "channels"):
        channels, *sides = stored.shape
        return Feature(stored.dtype, (*sides, channels), (*names[1:], names[0]))
    return replace(stored, names=names)


@dataclass(frozen=True)
class Info:
    """The fields of info.json that act_eval reads."""

    codebase_version: str
    fps: float
    total_frames: int
    features: Mapping[str, Feature]
    data_path: str | None = None
    """Template of the data files; `DATA_PATH` by default."""
    video_path: str | None = None
    """Template of the video files; `VIDEO_PATH` by default."""

    def __post_init__(self) -> None:
        if not self.codebase_version.startswith("v3."):
            raise DatasetError(f"codebase_version {self.codebase_version!r}; LeRobotDataset v3 is needed")
        if self.fps <= 0:
            raise DatasetError(f"fps is {self.fps}; it must be above 0")


def info_json(
    features: Mapping[str, Feature], *, fps: int, episodes: int, frames: int, tasks: int, robot: str
) -> dict[str, Any]:
    """Return the contents of info.json."""
    stored: dict[str, dict[str, Any]] = {}
    for key, feature in features.items():
        names = None if feature.names is None else list(feature.names)
        stored[key] = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
        if feature.dtype == "video":
            height, width, channels = feature.shape
            stored[key]["info"] = {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": channels,
                "has_audio": False,
            }
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if any(f.dtype == "video" for f in features.values()) else None,
        "features": stored,
    }
