"""Video files: the recorded episodes and the encoder."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import BoundedSemaphore

from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from act_eval.errors import RenderError
from act_eval.media import write_h264
from act_eval.results.manifest import VideoMode
from act_eval.types import SUCCESS, ImageArray

FPS = 20
"""Frames per second for environments without a rate."""
BATCH = 16
"""Frames that are rendered, marked, and encoded together: caches do better with one kind of work at a time."""
_WAITING = 2  # batches that may wait for the encoder


class _Batches:
    """A bounded queue of frame batches from renderer to encoder; its end marker never blocks."""

    def __init__(self) -> None:
        self._queue = SimpleQueue[list[ImageArray] | BaseException | None]()
        self._room = BoundedSemaphore(_WAITING)

    def put(self, batch: list[ImageArray]) -> None:
        """Add frames; blocks while the queue is full."""
        self._room.acquire()
        self._queue.put(batch)

    def end(self, error: BaseException | None) -> None:
        """Mark the end, with the error that ended the frames early if there was one; the first end counts."""
        self._queue.put(error)

    def images(self) -> Iterator[ImageArray]:
        """Yield the frames until their end; raise the error that ended them early."""
        while isinstance(batch := self._queue.get(), list):
            self._room.release()
            yield from batch
        if batch is not None:
            raise batch


def should_record(mode: VideoMode, outcome: str) -> bool:
    """Return whether an episode of this outcome is recorded."""
    return mode == "all" or (mode == "failures" and outcome != SUCCESS)


def is_complete(path: Path) -> bool:
    """Return whether a file can be read and is an MP4 with all of its boxes, from the first byte to the last.

    No frame is decoded.
    """
    kinds, begin = set[bytes](), 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            while begin < size:
                file.seek(begin)
                length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
                if length < 8:  # the length and kind themselves
                    return False
                kinds.add(kind)
                begin += length
    except OSError:
        return False
    return begin == size and {b"ftyp", b"moov", b"mdat"} <= kinds


class Encoder:
    """Encodes videos one after the other in a background thread, which releases the GIL. Use it in `with`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._last: _Batches | None = None

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if error is not None and self._last is not None:
            self._last.end(error)  # an interrupt may have replaced its end marker
        self._thread.shutdown()

    def write(self, path: Path, frames: Iterable[ImageArray], fps: int) -> Future[None]:
        """Consume the frames of a video and return while the last ones are still being encoded.

        Args:
            path: The video.
            frames: (H, W, 3) uint8 with even H and W; they are not copied and must not change afterwards.
            fps: Frames per second.

        Returns:
            Done when the complete video is at `path`; raises the encoding error if there was one.
        """
        batches = self._last = _Batches()
        done = self._thread.submit(_encode, path, batches, fps)
        left = iter(frames)
        end: BaseException | None = None
        try:
            while batch := list(islice(left, BATCH)):
                batches.put(batch)
        except BaseException as error:
            end = error
            raise
        finally:
            batches.end(end)
        return done


def _encode(path: Path, batches: _Batches, fps: int) -> None:
    images = batches.images()
    try:
        with _whole(path) as unfinished:
            _write_mp4(unfinished, images, fps)
    finally:
        for _ in images:  # unblock the renderer
            pass


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` when complete, delete it on failure.

    Raises:
        RenderError: if FFmpeg fails for another reason than the disk.
    """
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, FFmpegError | UnknownCodecError) and not isinstance(error, OSError):
            raise RenderError(f"cannot encode {path}: {error}; --video none evaluates without videos") from error
        raise


def _write_mp4(path: Path, images: Iterable[ImageArray], fps: int) -> None:
    # One key frame a second keeps scrubbing quick; ultrafast costs a third of the time of the default preset.
    options = {"preset": "ultrafast", "crf": "23", "g": str(fps)}
    write_h264(path, images, fps, options, container={"movflags": "+faststart"})
