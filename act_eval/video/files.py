"""The files of videos: which episodes are recorded, what they are called, how they are encoded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import av

from act_eval.records import SUCCESS
from act_eval.types import EpisodeRecord, ImageArray

VideoMode = Literal["all", "failures", "none"]
"""Which episodes are recorded."""

FPS = 20


def wanted(mode: VideoMode, outcome: str) -> bool:
    """Return whether an episode of this outcome is recorded."""
    return mode == "all" or (mode == "failures" and outcome != SUCCESS)


def file_name(record: EpisodeRecord) -> str:
    """Return the name of an episode's video, as in `0003_seed4348884358902_wrong_block.mp4`."""
    return f"{record.episode:04d}_seed{record.seed}_{record.outcome}.mp4"


def write_video(path: Path, frames: Iterable[ImageArray], fps: int = FPS) -> None:
    """Encode frames, (H, W, 3) uint8 with even H and W, as H.264 in yuv420p, which every browser plays.

    The file appears at `path` when it is complete.
    """
    unfinished = path.with_name(path.name + ".part")
    with av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # One key frame a second keeps scrubbing quick; ultrafast costs a third of the time of the default preset.
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "23", "g": str(fps)})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)
