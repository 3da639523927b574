"""Frames recorded while an episode runs, for environments that cannot render a logged state.

They are kept as JPEG, about 15 kB each, so that a batch of long episodes fits into memory. The rest of a video comes
from the log, with the frame number in place of the simulator state.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from act_eval.errors import RenderError
from act_eval.media import decode_image, encode_image
from act_eval.types import EpisodeRecord, ImageArray, StepRecord
from act_eval.types.steps import EpisodeSteps

_HEIGHT = 480  # larger frames are downscaled first [px]
_QUALITY = 92


class RecordedFrames:
    """The frames of one episode, behind the hook `render_state`."""

    video_cameras = ("rendered",)

    def __init__(self, frames: Mapping[int, bytes]) -> None:
        """Store JPEG frames by step."""
        self._frames = frames

    def render_state(self, state: NDArray[np.float64], camera: str, height: int, width: int) -> ImageArray:
        """Return the frame of the step that `state` (1,) numbers, as large as fits, on black."""
        image = Image.fromarray(decode_image(self._frames[int(state[0])]))
        return np.array(ImageOps.pad(image, (width, height), color=(0, 0, 0)))

    def numbered(self, steps: EpisodeSteps) -> EpisodeSteps:
        """Return an episode's steps with frame numbers as states."""
        present = [number for number in range(steps.steps + 1) if number in self._frames]
        return replace(steps, state=np.array(present, np.float64)[:, None])


class FrameLog:
    """An observer that records rendered frames until `take` removes them."""

    def __init__(self) -> None:
        self._frames: dict[int, dict[int, bytes]] = {}

    def on_step(self, record: StepRecord) -> None:
        """Do nothing: `on_frame` receives the frames."""

    def on_frame(self, episode: int, step: int, image: ImageArray) -> None:
        """Keep the frame before `step`.

        Raises:
            RenderError: if it is not an RGB image.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
            raise RenderError(f"render() returned {got}; a video needs (H, W, 3) uint8, or choose --video none")
        height, width = image.shape[:2]
        if height > _HEIGHT:
            image = np.asarray(Image.fromarray(image).resize((max(1, round(width * _HEIGHT / height)), _HEIGHT)))
        self._frames.setdefault(episode, {})[step] = encode_image(image, ".jpg", quality=_QUALITY)

    def on_episode_end(self, record: EpisodeRecord) -> None:
        """Do nothing: the frames wait for `take`."""

    def take(self, episode: int) -> RecordedFrames:
        """Remove and return the frames of a finished episode."""
        return RecordedFrames(self._frames.pop(episode, {}))
