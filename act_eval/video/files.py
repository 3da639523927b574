"""The files of videos: which episodes are recorded, what they are called, how they are encoded."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal

import av

from act_eval.records import SUCCESS
from act_eval.types import EpisodeRecord, ImageArray

VideoMode = Literal["all", "failures", "none"]
"""Which episodes are recorded."""

FPS = 20
"""Frames per second where an environment does not say its rate."""
_BATCH = 16  # frames that are encoded while the next ones are drawn


def wanted(mode: VideoMode, outcome: str) -> bool:
    """Return whether an episode of this outcome is recorded."""
    return mode == "all" or (mode == "failures" and outcome != SUCCESS)


def file_name(record: EpisodeRecord) -> str:
    """Return the name of an episode's video, as in `0003_seed4348884358902_wrong_block.mp4`."""
    return f"{record.episode:04d}_seed{record.seed}_{record.outcome}.mp4"


def write_video(path: Path, frames: Iterable[ImageArray], fps: int) -> None:
    """Encode frames, (H, W, 3) uint8 with even H and W, as H.264 in yuv420p, which every browser plays.

    Encoding runs in a thread of its own beside whatever makes the frames; it leaves the interpreter's lock alone. A
    frame may be overwritten as soon as the next one is asked for. The file appears at `path` when it is complete.
    """
    unfinished = path.with_name(path.name + ".part")
    with av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # One key frame a second keeps scrubbing quick; ultrafast costs a third of the time of the default preset.
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "23", "g": str(fps)})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1

        def encode(image: ImageArray) -> None:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

        _in_a_thread(encode, (image.copy() for image in frames))
        container.mux(stream.encode())
    unfinished.replace(path)


def _in_a_thread(work: Callable[[ImageArray], None], images: Iterable[ImageArray]) -> None:
    """Do something with each image in order, in a thread that may lag a batch of images behind.

    Batches keep the processor's caches with one kind of work at a time.
    """
    left = iter(images)
    behind: Future[None] | None = None
    with ThreadPoolExecutor(1) as thread:
        while batch := list(islice(left, _BATCH)):
            if behind is not None:
                behind.result()
            behind = thread.submit(_each, work, batch)
        if behind is not None:
            behind.result()


def _each(work: Callable[[ImageArray], None], images: Sequence[ImageArray]) -> None:
    for image in images:
        work(image)
