"""Reads a LeRobotDataset v3.0 folder, written by act_eval or by LeRobot, episode by episode.

Opening reads metadata, and of the data files the numbers of rows and episodes. Rows are found by their global index
over all data files, video frames by their timestamp, both as LeRobot finds them.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from act_eval.datasets.columns import column_values, open_parquet, reading, whole_numbers
from act_eval.datasets.images import decode_png, read_video
from act_eval.datasets.layout import (
    COLLECTION,
    CORRECTION,
    DATA_PATH,
    INFO,
    STATS,
    TASKS,
    VIDEO_PATH,
    Feature,
    Info,
    as_read,
)
from act_eval.datasets.rows import Rows
from act_eval.datasets.statistics import Stats, check_statistics
from act_eval.decoding import JSON, read_json
from act_eval.errors import DatasetError, FeatureMismatch
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, LAST_ACTION, STATE, ImageArray, IntArray

_Kind = TypeVar("_Kind")
_VECTORS = (STATE, ENVIRONMENT_STATE, ACTION)
_PLACE = ("chunk_index", "file_index")


@dataclass(frozen=True)
class Episodes:
    """The table of episodes, one entry each."""

    lengths: IntArray
    """Frames."""
    starts: IntArray
    """Global index of the first frame."""
    seeds: IntArray | None
    """Episode seeds; None in data sets that act_eval did not collect."""
    files: Mapping[str, NDArray[np.int64]]
    """`data` or `videos/KEY` → numbers (E, 2) of the chunk and the file."""
    from_timestamps: Mapping[str, NDArray[np.float64]]
    """`videos/KEY` → where an episode begins in its video [s]."""

    def __len__(self) -> int:
        return len(self.lengths)


class Demonstrations:
    """A data set on disk."""

    def __init__(self, root: str | Path) -> None:
        """Open a folder.

        Raises:
            DatasetError: if the folder is missing, incomplete or contradicts itself.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"there is no data set folder {self.root}; `act-eval collect` makes one")
        self._info = _read_json(self.root / INFO, Info)
        self.fps = float(self._info.fps)
        self._stored = _keys(self._info.features)
        self.features = {key: as_read(self._info.features[stored]) for key, stored in self._stored.items()}
        for key in _VECTORS:
            if key in self.features and len(self.features[key].shape) != 1:
                shape = self.features[key].shape
                raise DatasetError(f"{self.root / INFO}: {key} has shape {shape}; a vector (n,) is needed")
        self.episodes = _read_episodes(self.root, [self._stored[key] for key in self.cameras_as("video")])
        self.total_frames = int(self.episodes.lengths.sum())
        if self._info.total_frames != self.total_frames:
            raise DatasetError(
                f"{self.root / INFO} says {self._info.total_frames} frames; its episodes have {self.total_frames}"
            )
        self._rows = self._find_rows()
        for key in self.cameras_as("video"):
            for episode in range(len(self.episodes)):
                self._video(key, episode)

    def cameras_as(self, dtype: str) -> list[str]:
        """Return the camera features stored as `image` or as `video`."""
        return [key for key, feature in self.features.items() if feature.dtype == dtype]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, without the prefix `observation.images.`; that of `observation.image` is `image`."""
        return tuple(key.removeprefix(IMAGE_PREFIX) for key, f in self.features.items() if f.is_camera)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Feature → shape of one frame; (H, W, 3) for cameras."""
        return {key: feature.shape for key, feature in self.features.items()}

    @property
    def holds_corrections(self) -> bool:
        """Whether each row is a labelled moment of a rollout, with its own window of commands, and no `action`."""
        return CORRECTION in self.features

    @property
    def action_shape(self) -> tuple[int, ...] | None:
        """(A,) of a command; None in a data set without commands."""
        feature = self.features.get(LAST_ACTION if self.holds_corrections else ACTION)
        return None if feature is None else feature.shape

    def stats(self) -> Stats:
        """Read meta/stats.json; statistics of the cameras, the states and the actions are checked.

        Raises:
            DatasetError: if the file is missing, or those of a feature are missing or no numbers.
        """
        found = _read_json(self.root / STATS, dict[str, JSON])
        stats = {key: found[stored] for key, stored in self._stored.items() if stored in found}
        for key, feature in self.features.items():
            if feature.is_camera or key in _VECTORS:
                shape = (feature.shape[2], 1, 1) if feature.is_camera else feature.shape
                check_statistics(stats.get(key, {}), shape, f"{self.root / STATS}: {self._stored[key]}")
        return stats

    def collection(self) -> dict[str, Any] | None:
        """Read how the data were collected (environment, seed, discarded attempts); None if act_eval did not."""
        path = self.root / COLLECTION
        return _read_json(path, JSON) if path.exists() else None

    def tasks(self) -> list[str]:
        """Return the task strings, by task_index."""
        path = self.root / TASKS
        file = open_parquet(path, ["task_index"])
        with reading(path):
            table = file.read()
            texts = [n for n in table.column_names if pa.types.is_string(table[n].type)]
            texts += [n for n in table.column_names if pa.types.is_large_string(table[n].type)]
            if not texts:
                raise DatasetError(f"{path} needs a task_index and a task string, has {table.column_names}")
            return table.sort_by("task_index")[texts[0]].to_pylist()

    def require(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Check that features exist with these shapes (cameras as (H, W, 3)).

        Raises:
            FeatureMismatch: naming every feature that does not fit.
        """
        wrong = [
            f"{key}: {tuple(shape)} is needed, {self.shapes.get(key, 'nothing')} is there"
            for key, shape in shapes.items()
            if self.shapes.get(key) != tuple(shape)
        ]
        if wrong:
            raise FeatureMismatch(f"the data set {self.root} does not fit. " + "; ".join(wrong))

    def vectors(self, episode: int, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return vector features of an episode: key → (L, n), or (L,) for n = 1.

        Raises:
            DatasetError: naming episode and frame of a value that is not finite.
        """
        if lacking := [key for key in keys if key not in self.features]:
            raise DatasetError(f"{self.root} has no {' and no '.join(lacking)}; it has: {', '.join(self.features)}")
        table = self._columns(episode, keys)
        found = {}
        for key in keys:
            values = column_values(table[key], self.features[key].width, f"{self.root} episode {episode}, {key}")
            with np.errstate(over="ignore"):
                finite = np.isfinite(values.astype(np.float32).reshape(len(values), -1)).all(axis=1)
            if not finite.all():
                frame = int(np.argmin(finite))
                raise DatasetError(
                    f"{self.root} episode {episode} frame {frame}: {key} is {values[frame].tolist()}; "
                    "finite float32 numbers are needed"
                )
            found[key] = values
        return found

    def frames(self, episode: int, camera: str) -> ImageArray:
        """Return the pictures of a camera (named without prefix), (L, H, W, 3) uint8.

        Raises:
            FeatureMismatch: if there is no such camera.
            DatasetError: naming the frame of a picture that is missing, damaged or of another shape.
        """
        key = IMAGE_PREFIX + camera
        feature = self.features.get(key)
        if feature is None or not feature.is_camera:
            raise FeatureMismatch(f"{self.root} has no camera {camera!r}; it has: {', '.join(self.cameras) or 'none'}")
        if feature.dtype == "image":
            pictures = self._columns(episode, [key])[key].to_pylist()
            return np.stack([self._picture(p, feature, episode, f"{key} frame {t}") for t, p in enumerate(pictures)])
        start = self.episodes.from_timestamps[f"videos/{self._stored[key]}"][episode]
        times = start + self.vectors(episode, ["timestamp"])["timestamp"].astype(np.float64)
        return read_video(self._video(key, episode), times, feature.shape, f"{self.root} episode {episode}")

    def _picture(self, entry: Any, feature: Feature, episode: int, what: str) -> ImageArray:
        data = entry.get("bytes") if isinstance(entry, Mapping) else None
        if not isinstance(data, bytes):
            raise DatasetError(f"{self.root} episode {episode} has no picture inside its data file for {what}")
        return decode_png(data, feature.shape, f"{self.root} episode {episode} {what}")

    def _columns(self, episode: int, keys: Sequence[str]) -> pa.Table:
        """Return columns of an episode under their names in `features`."""
        start, length = int(self.episodes.starts[episode]), int(self.episodes.lengths[episode])
        return self._rows.read(start, length, [self._stored[key] for key in keys]).rename_columns(list(keys))

    def _path(self, template: str, prefix: str, episode: int) -> Path:
        """Return the file of an episode that a template of info.json names."""
        chunk, file = self.episodes.files[prefix][episode].tolist()
        try:
            name = template.format(video_key=prefix.removeprefix("videos/"), chunk_index=chunk, file_index=file)
        except (LookupError, ValueError, AttributeError, TypeError, OverflowError, MemoryError) as error:
            fields = f"video_key, {', '.join(_PLACE)}"
            text = f"{self.root / INFO}: the template {template!r} fails; its fields are {fields}"
            raise DatasetError(text) from error
        path = Path(name)
        if path.is_absolute() or path.drive or ".." in path.parts or not path.parts or not name.isprintable():
            raise DatasetError(f"{self.root / INFO}: {template!r} leads to {name!r}, which is no path in the data set")
        return self.root / path

    def _video(self, key: str, episode: int) -> Path:
        path = self._path(self._info.video_path or VIDEO_PATH, f"videos/{self._stored[key]}", episode)
        if not _is_file(path):
            raise DatasetError(f"{path} is missing; {self.root} is incomplete")
        return path

    def _find_rows(self) -> Rows:
        """Find the rows in every file that the template may name, whichever the episodes do name."""
        template = self._info.data_path or DATA_PATH
        named = {self._path(template, "data", episode) for episode in range(len(self.episodes))}
        parts = [glob.escape(text) + ("" if field is None else "*") for text, field, *_ in Formatter().parse(template)]
        with reading(self.root):
            paths = {path for path in self.root.glob("".join(parts)) if path.is_file()}
        columns = [stored for key, stored in self._stored.items() if self.features[key].dtype != "video"]
        rows = Rows(paths, columns, self.episodes.starts, self.total_frames)
        if rows.count != self.total_frames:
            for path in sorted(named - paths):
                raise DatasetError(f"{path} is missing; the data set is incomplete")
            raise DatasetError(
                f"the data files of {self.root} have {rows.count} frames; its episodes have {self.total_frames}"
            )
        return rows


def _keys(features: Mapping[str, Feature]) -> dict[str, str]:
    """Return feature → its key in the files; a camera gets LeRobot's prefix, as in `observation.images.image`."""
    keys: dict[str, str] = {}
    for stored, feature in features.items():
        named = stored.startswith(IMAGE_PREFIX) or not feature.is_camera
        key = stored if named else IMAGE_PREFIX + stored.removeprefix("observation.")
        if key in keys:
            raise DatasetError(
                f"{INFO}: {keys[key]} and {stored} are both the camera {key.removeprefix(IMAGE_PREFIX)!r}"
            )
        keys[key] = stored
    return keys


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long
        return False


def _read_json(path: Path, kind: type[_Kind]) -> _Kind:
    missing = f"{path} is missing; a LeRobotDataset v3 folder has one"
    return read_json(path, kind, DatasetError, missing=missing, ignore_unknown=True, use_defaults=True)


def _read_episodes(root: Path, videos: Sequence[str]) -> Episodes:
    folder = root / "meta/episodes"
    paths = sorted(folder.glob("*/*.parquet"))
    if not paths:
        raise DatasetError(f"{folder} has no Parquet file; {root} is incomplete")
    prefixes = ["data", *(f"videos/{key}" for key in videos)]
    times = [f"{prefix}/from_timestamp" for prefix in prefixes[1:]]
    names = ["episode_index", "length", "dataset_from_index", "dataset_to_index", *times]
    names += [f"{prefix}/{place}" for prefix in prefixes for place in _PLACE]
    tables = []
    for path in paths:
        file = open_parquet(path, names)
        seed = ["seed"] if "seed" in file.schema_arrow.names else []
        with reading(path):
            tables.append(file.read(columns=[*names, *seed]))
    with reading(folder):
        table = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
        whole = {name: whole_numbers(table[name], f"{folder}: {name}") for name in names if name not in times}
        begins = {name.removesuffix("/from_timestamp"): column_values(table[name], 1, name) for name in times}
        seeds = whole_numbers(table["seed"], f"{folder}: seed") if "seed" in table.column_names else None
    starts, lengths = whole["dataset_from_index"], whole["length"]
    contiguous = np.array_equal(np.cumsum([0, *lengths[:-1]]), starts) and bool(np.all(lengths > 0))
    contiguous &= np.array_equal(whole["episode_index"], np.arange(len(starts)))
    if not len(lengths) or not contiguous or not np.array_equal(starts + lengths, whole["dataset_to_index"]):
        raise DatasetError(f"{folder}: episodes must follow each other without a gap, none of them empty")
    for prefix, values in begins.items():
        if not np.isfinite(values).all():
            raise DatasetError(f"{folder}: {prefix}/from_timestamp is not finite")
    files = {prefix: np.stack([whole[f"{prefix}/{place}"] for place in _PLACE], axis=1) for prefix in prefixes}
    return Episodes(lengths, starts, seeds, files, begins)
