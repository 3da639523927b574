"""Decoded frames on disk: every frame of a camera at its place in one flat file.

Images are decoded once. From then on a random frame is one positioned read, served by the page cache, so
batches are gathered without worker processes, and the memory of a training does not depend on the size of the data
set: images are read, not mapped (the vectors, 56 bytes a frame, are mapped). The cache is in `.frame_cache/KEY`
inside the data set, or in a given folder; KEY hashes names, sizes and times of all files, so that a changed data
set gets a new one.

Legend: `F` frames of the data set · `R` requested frames · `H`, `W` image height and width.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from act_eval.datasets.layout import CORRECTION, CORRECTION_DELAY, CORRECTION_LENGTH
from act_eval.datasets.reader import Demonstrations
from act_eval.decoding import read_json
from act_eval.errors import DatasetError
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, LAST_ACTION, PAST_ACTIONS, STATE, IntArray

FOLDER = ".frame_cache"
_CONTENTS = "contents.json"
_LAYOUT = 2
"""Version of this file format; part of the key."""
_RESERVE = 256 * 2**20
"""Bytes that a new cache must leave free on the disk."""

_ABANDONED_S = 3600.0
"""A build that has written nothing for so long [s] is dead."""

OnEpisode = Callable[[int, int], None]
"""Receives (episodes decoded, episodes in all)."""


@dataclass(frozen=True)
class _Contents:
    """`contents.json` of a cache: feature → shape and dtype of one entry."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, Literal["uint8", "float32"]]

    def __post_init__(self) -> None:
        if odd := sorted(self.shapes.keys() ^ self.dtypes.keys()):
            raise DatasetError(f"{', '.join(odd)}: a feature needs a shape and a dtype; remove the folder and retry")


class FrameCache:
    """Random access to the frames of a data set. Safe in forked and spawned processes."""

    def __init__(self, folder: Path) -> None:
        """Open a finished cache; see `open_cache`."""
        self.folder = folder
        contents = read_json(folder / _CONTENTS, _Contents, DatasetError)
        self.shapes = contents.shapes
        """Feature → shape of one entry; (3, H, W) for cameras."""
        self._dtypes = {key: np.dtype(name) for key, name in contents.dtypes.items()}
        self._files: dict[str, int] = {}
        self._vectors: dict[str, NDArray[Any]] = {}
        try:
            self._open()
        except (OSError, ValueError, KeyError) as error:
            self.close()
            raise DatasetError(
                f"{folder / _CONTENTS} does not fit the files beside it: {error}; remove the folder and retry"
            ) from error

    def read(self, key: str, frames: IntArray) -> NDArray[Any]:
        """Return some frames of a feature, (R, *shape); pictures are uint8 (R, 3, H, W).

        Args:
            key: feature.
            frames: (R,) global frame indices.
        """
        if key in self._vectors:
            return np.asarray(self._vectors[key][frames])
        pictures = np.empty((len(frames), *self.shapes[key]), np.uint8)
        for row in np.argsort(frames, kind="stable"):  # rising offsets: kinder to a disk that must seek
            picture = pictures[row]
            got = os.preadv(self._files[key], [picture.data], int(frames[row]) * picture.nbytes)
            if got != picture.nbytes:
                raise DatasetError(f"{self.folder} ends before frame {int(frames[row])}; remove the folder and retry")
        return pictures

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            os.close(file)
        self._files, self._vectors = {}, {}

    def _open(self) -> None:
        for key, shape in self.shapes.items():
            path = self.folder / _file_name(key)
            if self._dtypes[key] == np.uint8 and hasattr(os, "preadv"):  # Windows has none: there all is mapped
                self._files[key] = os.open(path, os.O_RDONLY)
            else:
                self._vectors[key] = np.memmap(path, self._dtypes[key], mode="r").reshape(-1, *shape)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}, "_vectors": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __del__(self) -> None:
        if "_files" in self.__dict__:  # absent where the constructor failed
            self.close()


def open_cache(data: Demonstrations, folder: Path | None = None, on_episode: OnEpisode | None = None) -> FrameCache:
    """Open the frame cache of a data set, and build it first where it is missing or stale.

    Args:
        data: the data set.
        folder: where caches lie; inside the data set by default.
        on_episode: called after every decoded episode.

    Raises:
        DatasetError: if a picture is damaged, the folder cannot be written or the disk is too small.
    """
    home = data.root / FOLDER if folder is None else folder
    final = home / _key(data)
    if not (final / _CONTENTS).exists():
        _build(data, home, final, on_episode or (lambda _done, _total: None))
    return FrameCache(final)


def _key(data: Demonstrations) -> str:
    digest = hashlib.sha256(f"{_LAYOUT} {data.root.name}".encode())
    for part in ("meta", "data", "videos"):
        for file in sorted((data.root / part).rglob("*")):
            if file.is_file():
                facts = file.stat()
                name = file.relative_to(data.root).as_posix()
                digest.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _build(data: Demonstrations, home: Path, final: Path, on_episode: OnEpisode) -> None:
    for abandoned in home.glob(".partial-*"):  # of builds that were killed; a running one writes all the time
        touched = max((file.stat().st_mtime for file in abandoned.iterdir()), default=abandoned.stat().st_mtime)
        if time.time() - touched > _ABANDONED_S:
            shutil.rmtree(abandoned, ignore_errors=True)
    layout = _layout(data)
    needed = data.total_frames * sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layout.values())
    try:
        home.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home))
    except OSError as error:
        raise DatasetError(f"cannot write a frame cache into {home}: {error}; name another folder for it") from error
    try:
        free = shutil.disk_usage(home).free
        if free < needed + _RESERVE:
            raise DatasetError(f"a frame cache in {home} needs {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free")
        _decode(data, layout, partial, on_episode)
        contents = [{key: entry[i] for key, entry in layout.items()} for i in (0, 1)]
        (partial / _CONTENTS).write_text(json.dumps(dict(zip(("shapes", "dtypes"), contents, strict=True))))
        try:
            partial.rename(final)
        except OSError:
            if not (final / _CONTENTS).exists():  # otherwise another process has built the same one meanwhile
                raise
            return
        for stale in home.iterdir():
            if stale.is_dir() and stale != final and not stale.name.startswith(".partial-"):
                shutil.rmtree(stale, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _layout(data: Demonstrations) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return feature → shape and dtype of one entry; vectors come first, so that their faults show before images."""
    labels = (ACTION,)
    if data.holds_corrections:
        labels = (CORRECTION, CORRECTION_LENGTH, CORRECTION_DELAY, LAST_ACTION, PAST_ACTIONS)
    vectors = [key for key in (STATE, ENVIRONMENT_STATE, *labels) if key in data.features]
    layout = {key: (data.features[key].shape, "float32") for key in vectors}
    for key in (*data.cameras_as("image"), *data.cameras_as("video")):
        height, width, channels = data.features[key].shape
        layout[key] = ((channels, height, width), "uint8")
    return layout


def _decode(data: Demonstrations, keys: Iterable[str], folder: Path, on_episode: OnEpisode) -> None:
    with ExitStack() as stack:
        files = {key: stack.enter_context((folder / _file_name(key)).open("wb")) for key in keys}
        cameras = {key: file for key, file in files.items() if data.features[key].is_camera}
        for episode in range(len(data.episodes)):
            for key in files.keys() - cameras.keys():
                files[key].write(data.vectors(episode, [key])[key].astype(np.float32).data)
        for episode in range(len(data.episodes)):
            for key, file in cameras.items():
                frames = data.frames(episode, key.removeprefix(IMAGE_PREFIX))
                file.write(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).data)
            on_episode(episode + 1, len(data.episodes))


def _file_name(key: str) -> str:
    return f"{key.replace('/', '_')}.bin"
