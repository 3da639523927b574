"""Videos of episodes, made by replaying logged simulator states.

The large view is the review camera; beside it stand the two cameras that the policy sees; a strip of text says what
is shown. Rendering happens after the episode, so recording cannot change it. The terminal state is the last frame,
held for half a second.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from act_eval.records import SUCCESS
from act_eval.types import EpisodeRecord, ImageArray

VideoMode = Literal["all", "failures", "none"]
"""Which episodes are recorded."""

RenderState = Callable[[NDArray[np.float64], str, int, int], ImageArray]
"""(simulator state, camera, height, width) → (height, width, 3) uint8."""

FPS = 20
HOLD_FRAMES = FPS // 2

_VIEW_HEIGHT, _VIEW_WIDTH = 240, 320
_SIDE = _VIEW_HEIGHT // 2
_WIDTH = _VIEW_WIDTH + _SIDE
_LINE = 16
_STRIP = 2 * _LINE
_SIDE_CAMERAS = ("overhead", "wrist")
_INK, _PAPER = (235, 235, 235), (24, 24, 28)
_GOOD, _BAD = (120, 220, 130), (255, 140, 110)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words of one video."""

    title: str
    """What runs: environment, policy, arm."""
    steps: Sequence[str]
    """One text per frame."""
    record: EpisodeRecord
    """How the episode ended."""


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


def episode_frames(states: NDArray[np.float64], render: RenderState, caption: Caption) -> Iterator[ImageArray]:
    """Yield the frames of an episode.

    Args:
        states: (T + 1, S) simulator states, the terminal one included.
        render: renders a state with a camera.
        caption: its words; one text per state.
    """
    canvas = np.empty((_VIEW_HEIGHT + _STRIP, _WIDTH, 3), np.uint8)
    canvas[:_LINE] = _text_line(caption.title, _INK)
    outcome = _outcome_label(caption.record)
    for state, text in zip(states, caption.steps, strict=True):
        canvas[_LINE:_STRIP] = _text_line(text, _INK)
        canvas[_LINE:_STRIP, _WIDTH - outcome.shape[1] :] = outcome
        canvas[_STRIP:, :_VIEW_WIDTH] = render(state, "review", _VIEW_HEIGHT, _VIEW_WIDTH)
        for i, camera in enumerate(_SIDE_CAMERAS):
            top = _STRIP + i * _SIDE
            canvas[top : top + _SIDE, _VIEW_WIDTH:] = render(state, camera, _SIDE, _SIDE)
        yield canvas
    for _ in range(HOLD_FRAMES):
        yield canvas


def _outcome_label(record: EpisodeRecord) -> ImageArray:
    text = record.outcome.replace("_", " ")
    width = int(_font().getlength(text)) + 8
    return _text_line(text, _GOOD if record.outcome == SUCCESS else _BAD, width)


def _text_line(text: str, ink: tuple[int, int, int], width: int = _WIDTH) -> ImageArray:
    image = Image.new("RGB", (width, _LINE), _PAPER)
    ImageDraw.Draw(image).text((4, 1), text, ink, _font())
    return np.asarray(image)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(11)
