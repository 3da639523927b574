"""Images of a data set: PNG bytes and H.264 files.

PNG is the default. On 96×96 renders both take about 0.15 ms a frame to write. PNG needs some 3 kB a frame instead of
0.2 kB, but is lossless: a policy trains on exactly the pixels that it sees in closed loop, while H.264 with yuv420p
halves the colour resolution of a block that is only a few pixels wide.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from act_eval.errors import DatasetError, UsageError
from act_eval.media import decode_image, encode_image, write_h264
from act_eval.types import ImageArray

TOLERANCE_S = 1e-4
"""A frame belongs to a time if it is this near to it [s]: LeRobot's `tolerance_s`."""
_PNG_LEVEL = 3  # fastest level on renders: 0.15 ms and 2.6 kB a frame, against 0.36 ms and 2.3 kB at level 6

# Every second frame is a key frame, as LeRobot writes videos, so that a random frame decodes at most two. Without
# B-frames files join without decoding.
_H264 = {"crf": "16", "g": "2", "bf": "0", "preset": "veryfast"}


def encode_png(image: ImageArray) -> bytes:
    """Return an (H, W, 3) image as PNG."""
    return encode_image(image, ".png", compress_level=_PNG_LEVEL)


def decode_png(data: bytes, shape: tuple[int, ...], what: str) -> ImageArray:
    """Return a PNG as an (H, W, 3) image.

    Raises:
        DatasetError: if the bytes are no image, or one of another shape; `what` names it.
    """
    try:
        image = decode_image(data)
    except (OSError, SyntaxError, ValueError, DecompressionBombError) as error:
        raise DatasetError(f"{what} holds a damaged picture: {error}") from error
    if image.shape != shape:
        raise DatasetError(f"{what} holds a picture of shape {image.shape}; {shape} is declared")
    return image


def write_video(path: Path, frames: ImageArray, fps: int) -> None:
    """Write (L, H, W, 3) frames as an H.264 file.

    Raises:
        UsageError: if height or width is odd, which H.264 with yuv420p cannot hold.
    """
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise UsageError(f"H.264 needs even image sizes, got {height}×{width}; use --image-storage image (PNG)")
    write_h264(path, frames, fps, _H264)


def join_videos(path: Path, parts: Sequence[tuple[Path, int]], fps: int) -> None:
    """Join H.264 files of (path, frames) into one without decoding; part k begins where part k - 1 ended."""
    with av.open(str(path), "w", format="mp4") as container:
        stream, first_frame = None, 0
        for part, frames in parts:
            with av.open(str(part)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = container.add_stream_from_template(video)
                    stream.time_base = video.time_base
                for packet in source.demux(video):
                    if packet.pts is None or packet.dts is None or packet.time_base is None:  # the flush packet
                        continue
                    shift = int(Fraction(first_frame, fps) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    container.mux(packet)
            first_frame += frames


def read_video(path: Path, times: NDArray[np.float64], shape: tuple[int, ...], what: str) -> ImageArray:
    """Return the frames of a video file at some times, (L, H, W, 3), each within `TOLERANCE_S` of its time.

    Args:
        path: the file.
        times: (L,) [s].
        shape: (H, W, 3).
        what: names the episode in messages.

    Raises:
        DatasetError: if the file is unreadable, has frames of another shape, or none at a time.
    """
    frames: ImageArray | None = None
    nearest = np.full(len(times), np.nan)
    # LeRobot compares times as float32; from 1,024 s on their resolution is coarser than its tolerance.
    tolerance = np.maximum(TOLERANCE_S, np.spacing(np.abs(times).astype(np.float32)).astype(np.float64))
    for time, frame in _frames_from(path, float(np.min(times)) - TOLERANCE_S):
        distance = np.abs(times - time)
        closer = np.isnan(nearest) | (distance < np.abs(times - nearest))
        nearest[closer] = time
        closer &= distance <= tolerance
        if closer.any():
            if frame.is_corrupt:
                raise DatasetError(f"{path} is damaged: its decoder calls the frame at {time:.4f} s corrupt")
            image = frame.to_ndarray(format="rgb24")
            if image.shape != shape:
                raise DatasetError(f"{path} has frames of {image.shape}; {shape} is declared")
            frames = np.empty((len(times), *shape), np.uint8) if frames is None else frames
            frames[closer] = image
        if time >= np.max(times):
            break
    missed = ~(np.abs(times - nearest) <= tolerance)
    if frames is None or missed.any():
        t = int(np.argmax(missed))
        there = "it has no frame from there on" if np.isnan(nearest[t]) else f"its nearest is at {nearest[t]:.4f} s"
        raise DatasetError(
            f"{path} has no frame within {TOLERANCE_S:g} s of {times[t]:.4f} s, the time of {what} frame {t}; {there}"
        )
    return frames


def _frames_from(path: Path, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield time [s] and frame from the last key frame before `start` [s] on."""
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.thread_type = "SLICE"  # frame threads would delay the first frame after every seek
            if video.time_base is None:
                raise DatasetError(f"{path} has no time base")
            container.seek(max(0, int(start / video.time_base)), stream=video)
            for frame in container.decode(video):
                if frame.time is not None:
                    yield frame.time, frame
    except (OSError, FFmpegError, LookupError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path} is not a readable video: {error}") from error
