"""Writes a LeRobotDataset v3.0 folder, episode by episode, in constant memory but for the small vectors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from act_eval.datasets.columns import column_values
from act_eval.datasets.images import join_videos
from act_eval.datasets.layout import (
    CHUNK_FILES,
    DATA_FILE_MB,
    DATA_PATH,
    EPISODES_PATH,
    INFO,
    STATS,
    TASKS,
    VIDEO_FILE_MB,
    VIDEO_PATH,
    Feature,
    data_schema,
    info_json,
)
from act_eval.datasets.statistics import image_statistics, vector_statistics
from act_eval.errors import DatasetError
from act_eval.types import IntArray

_MB = 2**20


@dataclass
class _VideoFile:
    """The mp4 file of one camera that is being gathered."""

    number: int = 0
    parts: list[tuple[Path, int]] = field(default_factory=list)
    size: int = 0
    frames: int = 0


class DatasetWriter:
    """Appends episodes; `finish` writes the metadata, without which the folder is no data set."""

    def __init__(self, root: Path, features: Mapping[str, Feature], *, fps: int, task: str, robot: str) -> None:
        if root.exists() and any(root.iterdir()):
            raise DatasetError(f"{root} is not empty; a data set is written into a new folder")
        self._root = root
        self._features = dict(features)
        self._schema = data_schema(features)
        self._fps, self._task, self._robot = fps, task, robot
        self._data: pq.ParquetWriter | None = None
        self._data_number, self._data_size = 0, 0
        self._videos = {key: _VideoFile() for key, f in features.items() if f.dtype == "video"}
        self._pixels: dict[str, IntArray] = {}
        self._vectors: dict[str, list[np.ndarray]] = {}
        self._episodes: list[dict[str, Any]] = []
        self._frames = 0

    def add(self, table: pa.Table, *, seed: int, pixels: Mapping[str, IntArray], videos: Mapping[str, Path]) -> None:
        """Append one episode.

        Args:
            table: its rows, with the schema of the data files; the numbers of episode and index are set here.
            seed: its episode seed.
            pixels: camera feature → pixel histogram (3, 256).
            videos: camera feature → H.264 file, for cameras stored as video. Kept until `finish` returns.
        """
        length, episode = table.num_rows, len(self._episodes)
        index = np.arange(self._frames, self._frames + length, dtype=np.int64)
        table = _set(_set(table, "index", index), "episode_index", np.full(length, episode, np.int64))
        row: dict[str, Any] = {
            "episode_index": episode,
            "tasks": [self._task],
            "length": length,
            "seed": seed,
            **_numbers("data", self._append_rows(table)),
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }
        for key, path in videos.items():
            row |= self._append_video(key, path, length)
        self._episodes.append(row | _numbers("meta/episodes", 0))
        self._frames += length
        for key, histogram in pixels.items():
            self._pixels[key] = self._pixels.get(key, 0) + histogram
        for key in self._schema.names:
            if not self._features[key].is_camera:
                self._vectors.setdefault(key, []).append(column_values(table[key], self._features[key].width, key))

    def finish(self, extra: Mapping[str, Mapping[str, Any]]) -> None:
        """Close the files and write the metadata.

        Args:
            extra: further JSON files, path inside the folder → contents.

        Raises:
            DatasetError: if there is no episode.
        """
        if self._data is None:
            raise DatasetError(f"{self._root} would have no episode")
        self._data.close()
        for key in self._videos:
            self._close_video(key)
        vectors = {key: np.concatenate(parts) for key, parts in self._vectors.items()}
        info = info_json(
            self._features,
            fps=self._fps,
            episodes=len(self._episodes),
            frames=self._frames,
            tasks=1,
            robot=self._robot,
        )
        self._write_table(pa.Table.from_pylist(self._episodes), EPISODES_PATH.format(chunk_index=0, file_index=0))
        self._write_table(_tasks_table([self._task]), TASKS)
        stats = {key: vector_statistics(values) for key, values in vectors.items()}
        stats |= {key: image_statistics(histogram, self._frames) for key, histogram in self._pixels.items()}
        self._write_json(stats, STATS)
        for name, contents in extra.items():
            self._write_json(contents, name)
        self._write_json(info, INFO)

    def _append_rows(self, table: pa.Table) -> int:
        if self._data is not None and self._data_size + table.nbytes > DATA_FILE_MB * _MB:
            self._data.close()
            self._data, self._data_size, self._data_number = None, 0, self._data_number + 1
        if self._data is None:
            path = self._path(DATA_PATH.format(**_location(self._data_number)))
            self._data = pq.ParquetWriter(path, self._schema, use_dictionary=False)
        self._data.write_table(table, row_group_size=table.num_rows)
        self._data_size += table.nbytes
        return self._data_number

    def _append_video(self, key: str, path: Path, length: int) -> dict[str, Any]:
        video = self._videos[key]
        size = path.stat().st_size
        if video.parts and video.size + size > VIDEO_FILE_MB * _MB:
            self._close_video(key)
            video = self._videos[key] = _VideoFile(video.number + 1)
        start = video.frames / self._fps
        video.parts.append((path, length))
        video.size, video.frames = video.size + size, video.frames + length
        return _numbers(f"videos/{key}", video.number) | {
            f"videos/{key}/from_timestamp": start,
            f"videos/{key}/to_timestamp": video.frames / self._fps,
        }

    def _close_video(self, key: str) -> None:
        video = self._videos[key]
        path = self._path(VIDEO_PATH.format(video_key=key, **_location(video.number)))
        join_videos(path, video.parts, self._fps)

    def _write_table(self, table: pa.Table, name: str) -> None:
        pq.write_table(table, self._path(name))

    def _write_json(self, contents: Mapping[str, Any], name: str) -> None:
        self._path(name).write_text(json.dumps(contents, indent=2) + "\n")

    def _path(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _set(table: pa.Table, key: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(key), key, pa.array(values))


def _location(number: int) -> dict[str, int]:
    return {"chunk_index": number // CHUNK_FILES, "file_index": number % CHUNK_FILES}


def _numbers(prefix: str, number: int) -> dict[str, int]:
    return {f"{prefix}/{name}": value for name, value in _location(number).items()}


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Return the table of tasks; without the pandas entry LeRobot reads the task as a number."""
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = index | {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    pandas = {"index_columns": ["task"], "column_indexes": [names], "columns": [column, index], "pandas_version": "2.2"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
