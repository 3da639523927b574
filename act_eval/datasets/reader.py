"""Reads a LeRobotDataset v3.0 folder, written by act_eval or by LeRobot, episode by episode.

Opening reads metadata and Parquet footers only. Nothing of the data stays in memory between two calls.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from act_eval.datasets.columns import column_values
from act_eval.datasets.images import decode_png, read_video
from act_eval.datasets.layout import COLLECTION, DATA_PATH, INFO, STATS, TASKS, VIDEO_PATH, Feature, Info
from act_eval.datasets.statistics import Stats
from act_eval.decoding import JSON, describe_value, read_json
from act_eval.errors import DatasetError, FeatureMismatch
from act_eval.types import IMAGE_PREFIX, ImageArray, IntArray

_Kind = TypeVar("_Kind")
_NUMBERS = ("episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")


@dataclass(frozen=True)
class Episodes:
    """The table of episodes, one entry each."""

    lengths: IntArray
    """Frames."""
    starts: IntArray
    """Global index of the first frame."""
    seeds: IntArray | None
    """Episode seeds; None in data sets that act_eval did not collect."""
    columns: Mapping[str, IntArray | NDArray[np.float64]]
    """Files and offsets of an episode's data and videos."""

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
        self.features = {key: stored.feature for key, stored in self._info.features.items()}
        self.episodes = _read_episodes(self.root, self.cameras_as("video"))
        self.total_frames = int(self.episodes.lengths.sum())
        if self._info.total_frames != self.total_frames:
            raise DatasetError(
                f"{self.root / INFO} says {self._info.total_frames} frames; its episodes have {self.total_frames}"
            )
        self._open: tuple[Path, pq.ParquetFile, IntArray] | None = None
        self._check_files()

    def cameras_as(self, dtype: str) -> list[str]:
        """Return the camera features stored as `image` or as `video`."""
        return [key for key, feature in self.features.items() if feature.dtype == dtype]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, without the prefix `observation.images.`."""
        return tuple(key.removeprefix(IMAGE_PREFIX) for key, f in self.features.items() if f.is_camera)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Feature → shape of one frame; (H, W, 3) for cameras."""
        return {key: feature.shape for key, feature in self.features.items()}

    def stats(self) -> Stats:
        """Read meta/stats.json.

        Raises:
            DatasetError: if the file is missing or lacks a feature.
        """
        stats = _read_json(self.root / STATS, dict[str, JSON])
        lacking = sorted(self.features.keys() - stats.keys())
        if lacking:
            raise DatasetError(f"{self.root / STATS} has no statistics of {', '.join(lacking)}")
        for key in self.features:
            for name, value in stats[key].items():
                _check_numbers(value, f"{self.root / STATS} is damaged: {key}.{name}")
        return stats

    def collection(self) -> dict[str, Any] | None:
        """Read how the data were collected (environment, seed, discarded attempts); None if act_eval did not."""
        path = self.root / COLLECTION
        return _read_json(path, JSON) if path.exists() else None

    def tasks(self) -> list[str]:
        """Return the task strings, by task_index."""
        table = _read_table(self.root / TASKS)
        texts = next((n for n in table.column_names if pa.types.is_string(table[n].type)), None)
        texts = texts or next((n for n in table.column_names if pa.types.is_large_string(table[n].type)), None)
        if texts is None or "task_index" not in table.column_names:
            raise DatasetError(f"{self.root / TASKS} needs a task_index and a task string, has {table.column_names}")
        return table.sort_by("task_index")[texts].to_pylist()

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
        """Return vector features of an episode: key → (L, n), or (L,) for n = 1."""
        table = self._rows(episode, keys)
        return {key: column_values(table[key], self.features[key].width) for key in keys}

    def frames(self, episode: int, camera: str) -> ImageArray:
        """Return the pictures of a camera (named without prefix), (L, H, W, 3) uint8."""
        key = IMAGE_PREFIX + camera
        feature = self.features.get(key)
        if feature is None or not feature.is_camera:
            raise FeatureMismatch(f"{self.root} has no camera {camera!r}; it has: {', '.join(self.cameras) or 'none'}")
        if feature.dtype == "image":
            pictures = self._rows(episode, [key])[key].to_pylist()
            return np.stack([self._picture(p, feature, episode, f"{key} frame {t}") for t, p in enumerate(pictures)])
        columns = self.episodes.columns
        start, length = float(columns[f"videos/{key}/from_timestamp"][episode]), int(self.episodes.lengths[episode])
        path = self._file(self._info.video_path or VIDEO_PATH, f"videos/{key}", episode, key)
        return read_video(path, start, length, feature.shape, self.fps)

    def iter_vectors(self, keys: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the vector features of one episode after the other, for statistics over windows."""
        for episode in range(len(self.episodes)):
            yield self.vectors(episode, keys)

    def _picture(self, entry: Mapping[str, Any] | None, feature: Feature, episode: int, what: str) -> ImageArray:
        data = None if entry is None else entry.get("bytes")
        if data is None:
            raise DatasetError(f"{self.root} episode {episode} has no picture inside its data file for {what}")
        return decode_png(data, feature.shape, f"{self.root} episode {episode} {what}")

    def _rows(self, episode: int, keys: Sequence[str]) -> pa.Table:
        path = self._file(self._info.data_path or DATA_PATH, "data", episode)
        if self._open is None or self._open[0] != path:
            file = _parquet_file(path)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            self._open = (path, file, np.cumsum([0, *sizes]))
        _, file, offsets = self._open
        start = int(self.episodes.starts[episode] - self._first_index(episode))
        length = int(self.episodes.lengths[episode])
        first, last = np.searchsorted(offsets, [start, start + length - 1], side="right") - 1
        try:
            table = file.read_row_groups(list(range(first, last + 1)), columns=list(keys))
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path} is damaged: {error}") from error
        return table.slice(start - int(offsets[first]), length)

    def _first_index(self, episode: int) -> int:
        """Return the global index of the first frame in the data file of an episode."""
        columns = self.episodes.columns
        chunk, file = columns["data/chunk_index"], columns["data/file_index"]
        same = (chunk == chunk[episode]) & (file == file[episode])
        return int(self.episodes.starts[same].min())

    def _file(self, template: str, prefix: str, episode: int, video_key: str = "") -> Path:
        columns = self.episodes.columns
        chunk, file = int(columns[f"{prefix}/chunk_index"][episode]), int(columns[f"{prefix}/file_index"][episode])
        return self.root / template.format(video_key=video_key, chunk_index=chunk, file_index=file)

    def _check_files(self) -> None:
        """Compare the footers of all data files, and the presence of all videos, with the table of episodes."""
        rows: dict[Path, int] = {}
        for episode, length in enumerate(self.episodes.lengths):
            path = self._file(self._info.data_path or DATA_PATH, "data", episode)
            rows[path] = rows.get(path, 0) + int(length)
            for key in self.cameras_as("video"):
                video = self._file(self._info.video_path or VIDEO_PATH, f"videos/{key}", episode, key)
                if not video.is_file():
                    raise DatasetError(f"{video} is missing; {self.root} is incomplete")
        wanted = {key for key, feature in self.features.items() if feature.dtype != "video"}
        for path, count in rows.items():
            file = _parquet_file(path)
            if file.metadata.num_rows != count:
                raise DatasetError(f"{path} has {file.metadata.num_rows} frames; its episodes have {count}")
            lacking = sorted(wanted - set(file.schema_arrow.names))
            if lacking:
                raise DatasetError(f"{path} has no column {', '.join(lacking)}, which {INFO} declares")


def _read_json(path: Path, kind: type[_Kind]) -> _Kind:
    missing = f"{path} is missing; a LeRobotDataset v3 folder has one"
    return read_json(path, kind, DatasetError, missing=missing, ignore_unknown=True, use_defaults=True)


def _check_numbers(value: Any, subject: str) -> None:
    try:
        numbers = np.asarray(value)
    except ValueError as error:  # a list of lists of different lengths
        raise DatasetError(f"{subject} is no array of numbers: {error}") from error
    if numbers.dtype.kind not in "iuf" or not isinstance(value, list):
        raise DatasetError(f"{subject} is {describe_value(value)}; it must be a list of numbers")


def _parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing; the data set is incomplete") from error
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return _parquet_file(path).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _read_episodes(root: Path, videos: Sequence[str]) -> Episodes:
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise DatasetError(f"{root}/meta/episodes has no Parquet file; {root} is incomplete")
    times = [f"videos/{key}/from_timestamp" for key in videos]
    names = [*_NUMBERS, *(f"videos/{key}/{n}" for key in videos for n in ("chunk_index", "file_index")), *times]
    tables = []
    for file in files:
        present = set(_parquet_file(file).schema_arrow.names)
        lacking = [name for name in names if name not in present]
        if lacking:
            raise DatasetError(f"{file} has no column {', '.join(lacking)}")
        tables.append(_read_table(file, [*names, *(["seed"] if "seed" in present else [])]))
    table = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
    columns = {name: np.asarray(column_values(table[name], 1)) for name in names}
    starts, lengths = columns["dataset_from_index"], columns["length"]
    contiguous = np.array_equal(np.cumsum([0, *lengths[:-1]]), starts) and bool(np.all(lengths > 0))
    if not len(lengths) or not contiguous or not np.array_equal(starts + lengths, columns["dataset_to_index"]):
        raise DatasetError(f"{root}/meta/episodes: episodes must follow each other without a gap, none of them empty")
    seeds = np.asarray(column_values(table["seed"], 1)) if "seed" in table.column_names else None
    return Episodes(lengths.astype(np.int64), starts.astype(np.int64), seeds, columns)
