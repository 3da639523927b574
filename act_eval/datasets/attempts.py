"""A folder of finished attempts: what is left of a collection that was interrupted.

Every attempt is one file that appears whole or not at all, so collecting may stop at any moment and be continued,
by any number of workers. `plan.json` holds the plan; another plan in the same folder is refused.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from act_eval.datasets.episode import Episode, episode_table
from act_eval.datasets.images import write_video
from act_eval.datasets.layout import Feature
from act_eval.datasets.statistics import pixel_histogram
from act_eval.decoding import JSON, decode, read_bytes, read_json
from act_eval.errors import DatasetError
from act_eval.types import IntArray

_META = b"act_eval"


@dataclass(frozen=True)
class Attempt:
    """One attempt of the expert."""

    number: int
    seed: int
    outcome: str
    """`success` for a recorded episode; of the others only this line is kept."""
    length: int = 0
    """Frames of a recorded episode."""


@dataclass(frozen=True)
class _Discarded:
    """File of an attempt that did not succeed."""

    seed: int
    outcome: str


@dataclass(frozen=True)
class _Recorded:
    """Footer of a recorded attempt."""

    seed: int
    pixels: Mapping[str, tuple[tuple[int, ...], ...]]
    """Camera → histograms of its pixels."""


class AttemptFolder:
    """Attempts on disk, by number."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """Open or create a folder for a plan.

        Raises:
            DatasetError: if the folder holds attempts at something else.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        plan_file = folder / "plan.json"
        if plan_file.exists():
            remedy = f". Remove the folder {folder} and collect again"
            try:
                found = read_json(plan_file, JSON, DatasetError)
            except DatasetError as error:
                raise DatasetError(f"{error}{remedy}") from error
            _check_plan(folder, found, json.loads(json.dumps(plan)))
        else:
            _write_whole(plan_file, json.dumps(plan, indent=1, sort_keys=True).encode())

    def add_episode(self, number: int, episode: Episode, features: Mapping[str, Feature], fps: int) -> Attempt:
        """Keep a successful attempt."""
        table = episode_table(episode, features, fps)
        for key, frames in episode.frames.items():
            if features[key].dtype == "video":
                write_video(self.video(number, key), frames, fps)
        meta = {
            "seed": episode.seed,
            "pixels": {key: pixel_histogram(frames).tolist() for key, frames in episode.frames.items()},
        }
        part = self._path(number, "parquet.part")
        pq.write_table(table.replace_schema_metadata({_META: json.dumps(meta).encode()}), part, use_dictionary=False)
        os.replace(part, self._path(number, "parquet"))  # last: with this file the attempt exists
        return Attempt(number, episode.seed, "success", episode.length)

    def add_discarded(self, number: int, seed: int, outcome: str) -> Attempt:
        """Note an attempt that did not succeed."""
        _write_whole(self._path(number, "json"), json.dumps({"seed": seed, "outcome": outcome}).encode())
        return Attempt(number, seed, outcome)

    def finished(self) -> dict[int, Attempt]:
        """Return all whole attempts; a file that was cut off is removed, to be made again."""
        attempts = {}
        for file in sorted(self.folder.glob("attempt-*.json")):
            content = read_bytes(file, DatasetError)
            try:
                entry = decode(content, _Discarded, str(file), DatasetError)
            except DatasetError:
                file.unlink()
                continue
            attempts[_number(file)] = Attempt(_number(file), entry.seed, entry.outcome)
        for file in sorted(self.folder.glob("attempt-*.parquet")):
            try:
                footer = pq.read_metadata(file)
            except (OSError, pa.ArrowException):
                file.unlink()
                continue
            seed = _recorded(footer.metadata, file).seed
            attempts[_number(file)] = Attempt(_number(file), seed, "success", footer.num_rows)
        return attempts

    def read_episode(self, number: int) -> tuple[pa.Table, dict[str, IntArray]]:
        """Return the rows of a recorded episode and the pixel histograms (3, 256) of its cameras."""
        path = self._path(number, "parquet")
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path} is damaged: {error}") from error
        counted = _recorded(table.schema.metadata, path).pixels
        pixels = {key: np.asarray(counts, np.int64) for key, counts in counted.items()}
        return table.replace_schema_metadata(None), pixels

    def video(self, number: int, key: str) -> Path:
        """Return the path of a camera feature's video."""
        return self._path(number, f"{key}.mp4")

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"attempt-{number:06d}.{suffix}"


def _number(file: Path) -> int:
    return int(file.name.split(".")[0].removeprefix("attempt-"))


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _recorded(metadata: Mapping[bytes, bytes] | None, file: Path) -> _Recorded:
    return decode((metadata or {}).get(_META, b""), _Recorded, f"the footer of {file}", DatasetError)


def _check_plan(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise DatasetError(
                f"{folder} holds an unfinished collection with {key} = {found.get(key)!r}; requested is "
                f"{wanted.get(key)!r}. Continue it with the same settings, or remove the folder"
            )
