"""Marks that are rasterized once and blended into many frames: anti-aliased lines, dots, text.

Drawing with Pillow on every frame would copy it twice; a mark is a few hundred pixels with their opacity.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from act_eval.types import FloatArray, ImageArray, IntArray

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

PAPER: Colour = (24, 24, 28)
INK: Colour = (232, 232, 232)
FAINT: Colour = (140, 140, 148)
BAD: Colour = (255, 128, 96)
CHUNK: Colour = (40, 150, 255)
CHUNK_TEXT: Colour = (120, 190, 255)
COMMITTED: Colour = (255, 150, 20)
TARGET: Colour = (60, 225, 100)
CONFUSER: Colour = (255, 90, 215)
GOAL: Colour = (255, 255, 255)
SHADE: Colour = (10, 10, 14)

_SMOOTH = 2  # supersampling factor
_LEAST = 7  # size of the smallest letters [px]


@dataclass(frozen=True)
class Line:
    """A polyline."""

    points: Points
    """(P, 2) x and y [px]; NaN and points far outside are left out."""
    ink: Colour
    width: float
    """[px]"""
    opacity: float = 1.0
    closed: bool = False


@dataclass(frozen=True)
class Dots:
    """Discs."""

    points: Points
    """(P, 2) centres; as those of a `Line`."""
    ink: Colour
    radius: float
    """[px]"""
    opacity: float = 1.0


@dataclass(frozen=True)
class Mark:
    """Pixels of a board with the colour that is blended into them."""

    rows: IntArray
    """(n,) from the top of the board; they and the columns may lie outside of it."""
    columns: IntArray
    pixels: IntArray
    """(n,) places in the frame, its pixels counted row by row."""
    box: tuple[int, int, int, int]
    """First row, first column, and the row and column behind the last."""
    keep: FloatArray
    """(n, 1) weight of the existing colour."""
    ink: FloatArray
    """(n, 3) colour to add."""


@dataclass(frozen=True)
class Board:
    """The part of a frame that marks are drawn on, clipped at its edges."""

    top: int
    left: int
    height: int
    width: int
    stride: int
    """Width of the whole frame [px]."""

    def draw(self, frame: ImageArray, mark: Mark, right: int = 0, down: int = 0) -> None:
        """Draw a mark into a frame (H, W, 3), moved by some pixels."""
        if not len(mark.pixels):
            return
        pixels, keep, ink = mark.pixels, mark.keep, mark.ink
        top, left, bottom, end = mark.box
        if top + down < 0 or left + right < 0 or bottom + down > self.height or end + right > self.width:
            rows, columns = mark.rows + down, mark.columns + right
            inside = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
            pixels, keep, ink = pixels[inside], keep[inside], ink[inside]
        flat, pixels = frame.reshape(-1, 3), pixels + (down * self.stride + right)
        flat[pixels] = flat.take(pixels, axis=0) * keep + ink

    def mark(self, *layers: Line | Dots) -> Mark:
        """Return layers, drawn in order, as one mark."""
        size = np.array([self.width, self.height])
        kept = [layer.points[((layer.points > -size) & (layer.points < 2 * size)).all(axis=1)] for layer in layers]
        everything = np.concatenate([np.zeros((0, 2)), *kept])
        if not len(everything):
            return _NOTHING
        margin = 2 + max(int(layer.width if isinstance(layer, Line) else 2 * layer.radius) for layer in layers)
        corner = np.floor(everything.min(axis=0)).astype(int) - margin
        columns, rows = (np.ceil(everything.max(axis=0)).astype(int) + margin - corner).tolist()
        # Premultiplied alpha, so that downscaling blends correctly with transparent pixels.
        image = Image.new("RGBA", (columns * _SMOOTH, rows * _SMOOTH))
        pen = ImageDraw.Draw(image)
        for layer, points in zip(layers, kept, strict=True):
            _draw(pen, layer, (points - corner) * _SMOOTH)
        shares = np.asarray(image.reduce(_SMOOTH), np.float32)
        at = np.nonzero(shares[..., 3])
        found = shares[at]
        left, top = corner.tolist()
        down, right = at[0] + top, at[1] + left
        return Mark(
            rows=down,
            columns=right,
            pixels=(down + self.top) * self.stride + (right + self.left),
            box=(top, left, top + rows, left + columns),
            keep=1 - found[:, 3:] / np.float32(255),
            ink=found[:, :3],
        )


_NONE = np.zeros(0, np.int64)
_NOTHING = Mark(_NONE, _NONE, _NONE, (0, 0, 0, 0), np.zeros((0, 1), np.float32), np.zeros((0, 3), np.float32))


def _draw(pen: ImageDraw.ImageDraw, layer: Line | Dots, points: Points) -> None:
    """Draw a layer through points (P, 2), replacing pixels below it."""
    corners = [(x, y) for x, y in points.tolist()]
    red, green, blue = (round(part * layer.opacity) for part in layer.ink)
    fill = (red, green, blue, round(255 * layer.opacity))
    match layer:
        case Line() if len(corners) > 1:
            pen.line(corners + corners[:1] if layer.closed else corners, fill, max(1, round(layer.width * _SMOOTH)))
        case Dots():
            size = layer.radius * _SMOOTH
            for x, y in corners:
                pen.ellipse((x - size, y - size, x + size, y + size), fill)
        case Line():
            pass


@lru_cache(maxsize=4096)
def render_text(text: str, size: int, height: int, ink: Colour = INK, paper: Colour = PAPER) -> ImageArray:
    """Return a line of text (height, W, 3) in letters of a size [px], read-only."""
    font = _font(size)
    image = Image.new("RGB", (max(1, round(font.getlength(text)) + 1), height), paper)
    ImageDraw.Draw(image).text((0, height / 2), text, ink, font, anchor="lm")
    return np.asarray(image)


def put(image: ImageArray, block: ImageArray, top: int, left: int) -> int:
    """Copy a block into an image, cut off at its right edge; return the column behind it."""
    kept = block[:, : max(0, image.shape[1] - left)]
    image[top : top + len(kept), left : left + kept.shape[1]] = kept
    return left + block.shape[1]


@lru_cache(maxsize=4096)
def fitted(texts: tuple[str, ...], size: int, width: int) -> tuple[str, int]:
    """Return the first of several texts that fits a width [px], with its size; smaller or cut if none does."""
    for text in texts:
        if _font(size).getlength(text) <= width:
            return text, size
    text = texts[-1]
    while size > _LEAST and _font(size).getlength(text) > width:
        size -= 1
    while len(text) > 1 and _font(size).getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text, size


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's other kind is for builds without FreeType
    return font
