"""Marks that are drawn once and then put on many frames: smooth lines, dots, text.

Drawing with Pillow on every frame would copy it twice; a mark is a few hundred pixels with their shares of ink.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from act_eval.types import FloatArray, ImageArray, IntArray

Colour = tuple[int, int, int]

PAPER: Colour = (24, 24, 28)
INK: Colour = (232, 232, 232)
FAINT: Colour = (140, 140, 148)
GOOD: Colour = (96, 222, 128)
BAD: Colour = (255, 128, 96)
CHUNK: Colour = (40, 150, 255)
CHUNK_TEXT: Colour = (120, 190, 255)
COMMITTED: Colour = (255, 150, 20)
TARGET: Colour = (60, 225, 100)
CONFUSER: Colour = (255, 90, 215)
TOLD: Colour = (255, 255, 255)
SHADE: Colour = (10, 10, 14)

_SMOOTH = 3  # marks are drawn this many times larger and shrunk


@dataclass(frozen=True)
class Mark:
    """Pixels with the ink that is mixed into them."""

    rows: IntArray
    columns: IntArray
    keep: FloatArray
    """(n, 1) share of what is there already."""
    ink: FloatArray
    """(n, 3) what is added."""

    def onto(self, image: ImageArray) -> None:
        """Draw into (H, W, 3), which must hold every pixel of the mark."""
        image[self.rows, self.columns] = image[self.rows, self.columns] * self.keep + self.ink


@dataclass(frozen=True)
class Board:
    """Height and width of the image that marks are made for; what lies outside is cut off."""

    height: int
    width: int

    def lines(
        self, points: NDArray[np.floating], ink: Colour, width: float, opacity: float = 1.0, closed: bool = False
    ) -> Mark:
        """Return a polyline through points (P, 2), x and y [px]; points far outside or NaN are left out."""
        kept = self._near(points)
        if len(kept) < 2:
            return self._nothing()
        mask, top, left = _canvas(kept, width)
        corners = _scaled(kept, top, left)
        pen = ImageDraw.Draw(mask)
        pen.line(corners + corners[:1] if closed else corners, 255, max(1, round(width * _SMOOTH)), joint="curve")
        return self._mark(mask, top, left, ink, opacity)

    def dots(self, points: NDArray[np.floating], ink: Colour, radius: float, opacity: float = 1.0) -> Mark:
        """Return discs around points (P, 2)."""
        kept = self._near(points)
        if not len(kept):
            return self._nothing()
        mask, top, left = _canvas(kept, 2 * radius)
        pen, size = ImageDraw.Draw(mask), radius * _SMOOTH
        for x, y in _scaled(kept, top, left):
            pen.ellipse((x - size, y - size, x + size, y + size), 255)
        return self._mark(mask, top, left, ink, opacity)

    def _near(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        size = np.array([self.width, self.height])
        return points[((points > -size) & (points < 2 * size)).all(axis=1)]

    def _mark(self, mask: Image.Image, top: int, left: int, ink: Colour, opacity: float) -> Mark:
        shares = np.asarray(mask.reduce(_SMOOTH), np.float32) * (opacity / 255)
        first_row, first_column = max(0, -top), max(0, -left)
        shares = shares[first_row : max(0, self.height - top), first_column : max(0, self.width - left)]
        rows, columns = np.nonzero(shares)
        share = shares[rows, columns][:, None]
        return Mark(rows + max(0, top), columns + max(0, left), 1 - share, share * np.array(ink, np.float32))

    @staticmethod
    def _nothing() -> Mark:
        none = np.zeros(0, np.int64)
        return Mark(none, none, np.zeros((0, 1), np.float32), np.zeros((0, 3), np.float32))


def _canvas(points: NDArray[np.floating], width: float) -> tuple[Image.Image, int, int]:
    """Return an empty mask that holds lines of a width through points, and where its corner lies."""
    margin = int(width) + 2
    left, top = (np.floor(points.min(axis=0)) - margin).astype(int).tolist()
    right, bottom = (np.ceil(points.max(axis=0)) + margin).astype(int).tolist()
    return Image.new("L", ((right - left) * _SMOOTH, (bottom - top) * _SMOOTH)), top, left


def _scaled(points: NDArray[np.floating], top: int, left: int) -> list[tuple[float, float]]:
    return [((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in points.tolist()]


@lru_cache(maxsize=2048)
def words(text: str, size: int, height: int, ink: Colour = INK, paper: Colour = PAPER) -> ImageArray:
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


def shortened(texts: Sequence[str], size: int, width: int) -> str:
    """Return the first of several texts that fits a width [px], the last one if none does."""
    return next((text for text in texts if _font(size).getlength(text) <= width), texts[-1])


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's other kind is for builds without FreeType
    return font
