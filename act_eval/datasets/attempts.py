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

from act_eval.datasets.columns import reading
from act_eval.datasets.episode import Episode, episode_table
from act_eval.datasets.images import write_video
from act_eval.datasets.layout import Feature
from act_eval.datasets.statistics import pixel_histogram
from act_eval.decoding import JSON, decode, read_json
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
class _Footer:
    """What the footer of an attempt's file holds beside the rows."""

    seed: int
    outcome: str
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
        plan_file, wanted = folder / "plan.json", json.loads(json.dumps(plan))
        if not plan_file.exists():
            part = plan_file.with_suffix(".part")
            part.write_text(json.dumps(plan, indent=1, sort_keys=True))
            os.replace(part, plan_file)
            return
        try:
            found = read_json(plan_file, JSON, DatasetError)
        except DatasetError as error:
            raise DatasetError(f"{error}. Remove the folder {folder} and collect again") from error
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                raise DatasetError(
                    f"{folder} holds an unfinished collection with {key} = {found.get(key)!r}; requested is "
                    f"{wanted.get(key)!r}. Continue it with the same settings, or remove the folder"
                )

    def add(
        self, number: int, seed: int, outcome: str, episode: Episode | None, features: Mapping[str, Feature], fps: int
    ) -> Attempt:
        """Keep an attempt: its episode if it succeeded, of the others only seed and outcome."""
        table, frames = pa.table({}), {}
        if episode is not None:
            table, frames = episode_table(episode, features, fps), episode.frames
        for key, images in frames.items():
            if features[key].dtype == "video":
                write_video(self.video(number, key), images, fps)
        pixels = {key: pixel_histogram(images).tolist() for key, images in frames.items()}
        footer = json.dumps({"seed": seed, "outcome": outcome, "pixels": pixels}).encode()
        part = self._path(number, "parquet.part")
        pq.write_table(table.replace_schema_metadata({_META: footer}), part, use_dictionary=False)
        os.replace(part, self._path(number, "parquet"))  # last: with this file the attempt exists
        return Attempt(number, seed, outcome, table.num_rows)

    def finished(self) -> dict[int, Attempt]:
        """Return all whole attempts; a file that was cut off is removed, to be made again."""
        attempts = {}
        for file in sorted(self.folder.glob("attempt-*.parquet")):
            try:
                metadata = pq.read_metadata(file)
            except (OSError, pa.ArrowException):
                file.unlink()
                continue
            number, footer = int(file.stem.removeprefix("attempt-")), _footer(metadata.metadata, file)
            attempts[number] = Attempt(number, footer.seed, footer.outcome, metadata.num_rows)
        return attempts

    def read_episode(self, number: int) -> tuple[pa.Table, dict[str, IntArray]]:
        """Return the rows of a recorded episode and the pixel histograms (3, 256) of its cameras."""
        path = self._path(number, "parquet")
        with reading(path):
            table = pq.read_table(path)
        counted = _footer(table.schema.metadata, path).pixels
        pixels = {key: np.asarray(counts, np.int64) for key, counts in counted.items()}
        return table.replace_schema_metadata(None), pixels

    def video(self, number: int, key: str) -> Path:
        """Return the path of a camera feature's video."""
        return self._path(number, f"{key}.mp4")

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"attempt-{number:06d}.{suffix}"


def _footer(metadata: Mapping[bytes, bytes] | None, file: Path) -> _Footer:
    return decode((metadata or {}).get(_META, b""), _Footer, f"the footer of {file}", DatasetError)
