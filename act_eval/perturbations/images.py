"""Perturbations of camera images, in any environment; strengths at severities 1 to 5 stand beside each.

A look-up table of 256 values, a table of noise or Pillow's compiled filters keep each cheap beside a rendered image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from act_eval.errors import UsageError
from act_eval.perturbations.base import Offered, Perturbation
from act_eval.types import ImageArray

_VALUES = np.arange(256, dtype=np.float64)
_TABLE = 1 << 17  # entries of the noise table; an image of 96² × 3 has 27,648
_STEPS = 4096  # steps with draws of their own
_FRAMES = 32  # frames that a shuffle chooses from
_REFERENCE = 96  # side of the images that the blur's factors are given for [px]
_JPEG_BLOCK = 8  # rows that JPEG compresses together [px]
BLACK = 0


@dataclass
class ImagePerturbation(Perturbation):
    """Changes every camera image by its own `image`, or those of `cameras`."""

    cameras: tuple[str, ...] = ()
    """Cameras that change; empty: all."""

    writes = ("pixels",)

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        unknown = [name for name in self.cameras if name not in offered.cameras]
        if unknown and offered.cameras:
            return f"{offered.label} has no camera {unknown[0]!r}; it shows {', '.join(offered.cameras)}"
        return super().refusal(offered)

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with changed images."""
        if "pixels" not in observed:
            return observed
        pixels = observed["pixels"]
        chosen = self.cameras or tuple(pixels)
        return {
            **observed,
            "pixels": {n: self.image(image, n, step) if n in chosen else image for n, image in pixels.items()},
        }

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return a changed image (H, W, 3) uint8; what is random in it depends on episode, camera and step alone."""
        raise NotImplementedError


@dataclass
class _LookUp(ImagePerturbation):
    """Maps each of the 256 values to another, per colour channel."""

    def begin(self) -> None:
        """Make the table of the episode."""
        curve = np.clip(np.rint(self.curve()), 0, 255).astype(np.uint8)
        self._table = curve.ravel()
        self._rows = 256 * np.arange(3, dtype=np.uint16) if curve.ndim == 2 else None

    def curve(self) -> Any:
        """Return the new values, (256,) or, for each channel, (3, 256)."""
        raise NotImplementedError

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return the mapped image."""
        return self._table.take(image if self._rows is None else image + self._rows)


@dataclass
class Brightness(_LookUp):
    """Brighter or darker by 15, 30, 45, 60 or 75 %, drawn per episode."""

    def curve(self) -> Any:
        """Return the new values."""
        return _VALUES * (1 + self.sign() * self.level((0.15, 0.30, 0.45, 0.60, 0.75)))


@dataclass
class Contrast(_LookUp):
    """Contrast about mid-grey reduced to 80, 65, 50, 35 or 20 %."""

    def curve(self) -> Any:
        """Return the new values."""
        return 127.5 + (_VALUES - 127.5) * self.level((0.80, 0.65, 0.50, 0.35, 0.20))


@dataclass
class Colour(_LookUp):
    """Each colour channel stronger or weaker by up to 10, 20, 35, 50 or 70 %, drawn per episode."""

    def curve(self) -> Any:
        """Return the new values of each channel."""
        return _VALUES * (1 + self.level((0.10, 0.20, 0.35, 0.50, 0.70)) * _balanced(self.rng))[:, None]


@dataclass
class ImageNoise(ImagePerturbation):
    """Gaussian noise on every value, standard deviation 5, 10, 20, 35 or 55 of 255."""

    def begin(self) -> None:
        """Draw the table of noise and each step's place in it."""
        sigma = self.level((5, 10, 20, 35, 55))
        self._noise = np.rint(sigma * self.rng.standard_normal(_TABLE, np.float32)).astype(np.int16)
        self._places = self.rng.random(_STEPS)

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return the image with noise."""
        whole = self._noise if image.size <= _TABLE else np.resize(self._noise, image.size)
        place = self._places[(step + 1009 * self.offered.cameras.index(camera)) % _STEPS]
        first = int(place * (len(whole) - image.size + 1))
        noisy = image + whole[first : first + image.size].reshape(image.shape)
        return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


@dataclass
class Blur(ImagePerturbation):
    """Seen at 1/2, 1/3, 1/4, 1/6 or 1/8 of the resolution of an image of 96 px, and interpolated."""

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return the blurred image."""
        factor = max(2, round(self.level((2, 3, 4, 6, 8)) * min(image.shape[:2]) / _REFERENCE))
        given = Image.fromarray(image)
        return np.asarray(given.reduce(factor).resize(given.size, Image.Resampling.BILINEAR))


@dataclass
class Jpeg(ImagePerturbation):
    """JPEG compression with quality 60, 35, 20, 10 or 5 of 100; colours at half the width (4:2:2), as in webcams."""

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with compressed images: those of one size in one piece, at half the cost."""
        pixels = observed.get("pixels", {})
        chosen = [name for name in self.cameras or pixels if name in pixels]
        shapes = {pixels[name].shape for name in chosen}
        if len(chosen) < 2 or len(shapes) > 1 or shapes.pop()[0] % _JPEG_BLOCK:
            return super().observation(observed, step)
        whole = self.image(np.concatenate([pixels[name] for name in chosen]), "", step)
        return {**observed, "pixels": {**pixels, **dict(zip(chosen, np.split(whole, len(chosen)), strict=True))}}

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return the image, compressed and decompressed."""
        file = BytesIO()
        given = Image.fromarray(image)
        given.save(file, "JPEG", quality=int(self.level((60, 35, 20, 10, 5))), subsampling="4:2:2")
        return np.asarray(Image.frombytes("RGB", given.size, file.getvalue(), "jpeg", "RGB", ""))


@dataclass
class Occlusion(ImagePerturbation):
    """A black rectangle over 2, 5, 10, 20 or 35 % of each image, its place drawn per episode and camera."""

    def begin(self) -> None:
        """Draw the rectangles: aspect ratio, and place in the remaining room."""
        self._drawn = {camera: self.rng.uniform(size=3) for camera in self.offered.cameras}

    def image(self, image: ImageArray, camera: str, step: int) -> ImageArray:
        """Return the image with the rectangle."""
        height, width = image.shape[:2]
        aspect, down, right = self._drawn[camera]
        area = self.level((0.02, 0.05, 0.10, 0.20, 0.35))
        stretch = 2 ** (aspect - 0.5)
        rows = max(1, round(height * min(1.0, np.sqrt(area) * stretch)))
        columns = max(1, round(width * min(1.0, np.sqrt(area) / stretch)))
        top, left = round(down * (height - rows)), round(right * (width - columns))
        covered = image.copy()
        covered[top : top + rows, left : left + columns] = BLACK
        return covered


@dataclass
class _OneCamera(Perturbation):
    """Changes the images of one camera."""

    camera: str = ""
    """The camera; empty: one drawn per episode."""

    writes = ("pixels",)

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer it; None if it can."""
        if self.camera and offered.cameras and self.camera not in offered.cameras:
            return f"{offered.label} has no camera {self.camera!r}; it shows {', '.join(offered.cameras)}"
        return super().refusal(offered)

    def begin(self) -> None:
        """Draw the camera."""
        cameras = self.offered.cameras
        drawn = cameras[int(self.rng.integers(len(cameras)))]
        self._chosen = self.camera or drawn

    def _seen(self, observed: dict[str, Any], image: ImageArray) -> Mapping[str, Any]:
        """Return the observation with another image of the camera."""
        return {**observed, "pixels": {**observed["pixels"], self._chosen: image}}


@dataclass
class CameraOff(_OneCamera):
    """One camera black in 20, 40, 60, 80 or 100 % of the windows of 20 steps."""

    def begin(self) -> None:
        """Draw the camera and its windows."""
        super().begin()
        self._dark = self.rng.random(_STEPS // 20) < self.level((0.2, 0.4, 0.6, 0.8, 1.0))

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation, with the camera's image black while it is off."""
        if "pixels" not in observed or not self._dark[step // 20 % len(self._dark)]:
            return observed
        return self._seen(observed, np.zeros_like(observed["pixels"][self._chosen]))


@dataclass
class ShuffledFrames(_OneCamera):
    """One camera's frames out of order in 20, 40, 60, 80 or 100 % of the steps: one of those so far is seen instead."""

    every_frame = True

    def begin(self) -> None:
        """Draw the camera, the steps, which frames are kept and which of them is seen."""
        super().begin()
        self._wrong = self.rng.random(_STEPS) < self.level((0.2, 0.4, 0.6, 0.8, 1.0))
        self._place, self._pick = self.rng.random((2, _STEPS))
        self._kept: list[ImageArray] = []

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with a frame of an earlier step; the frames kept are a random sample of all so far."""
        now = observed["pixels"][self._chosen]
        place = int(self._place[step % _STEPS] * (step + 1))
        if len(self._kept) < _FRAMES:
            self._kept.append(now.copy())
        elif place < _FRAMES:
            self._kept[place] = now.copy()
        if not self._wrong[step % _STEPS]:
            return observed
        return self._seen(observed, self._kept[int(self._pick[step % _STEPS] * len(self._kept))])


@dataclass
class DroppedFrames(Perturbation):
    """Each frame is lost with probability 0.1, 0.25, 0.5, 0.7 or 0.9: the last one received is seen again."""

    writes = ("pixels",)
    every_frame = True

    def begin(self) -> None:
        """Draw which frames are lost; the first is not."""
        self._lost = self.rng.random(_STEPS) < self.level((0.1, 0.25, 0.5, 0.7, 0.9))
        self._last: dict[str, ImageArray] = {}

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with the frames that were received last."""
        if step == 0 or not self._lost[step % _STEPS]:
            self._last = {name: image.copy() for name, image in observed["pixels"].items()}
        return {**observed, "pixels": dict(self._last)}


@dataclass
class LateFrames(Perturbation):
    """Images 1, 2, 3, 5 or 8 steps late; the other entries are not."""

    writes = ("pixels",)
    every_frame = True

    def begin(self) -> None:
        """Forget the last episode's frames."""
        self._waiting: list[dict[str, ImageArray]] = []

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the observation with late frames; the first frame until later ones arrive."""
        self._waiting.append({name: image.copy() for name, image in observed["pixels"].items()})
        if len(self._waiting) > self.level((1, 2, 3, 5, 8)) + 1:
            self._waiting.pop(0)
        return {**observed, "pixels": dict(self._waiting[0])}


def _balanced(rng: np.random.Generator) -> np.ndarray:
    """Return three factors within ±1, the largest of size 1 and their mean 0: colour without brightness."""
    draws = rng.normal(size=3)
    draws -= draws.mean()
    largest = np.abs(draws).max()
    if largest < 1e-9:
        raise UsageError("the stream of `colour` drew three equal numbers")
    return draws / largest
