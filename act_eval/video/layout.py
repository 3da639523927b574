"""Layout of a frame; all lengths scale with its height."""

from dataclasses import dataclass
from functools import cached_property

from act_eval.errors import UsageError

SMALL = 256
"""Height of the videos that evaluations record [px]; their small views have the size that policies see, 96²."""
LARGEST = 1280  # the renderer makes no wider image than the large view then is
_LINE, _LANES, _SIDE, _FONT = 16, 16, 96, 11  # at the height SMALL


@dataclass(frozen=True)
class Layout:
    """Title, views, two lines of numbers and a timeline of two lanes."""

    height: int = SMALL
    """Of the whole frame [px]."""
    small_views: bool = True
    """Whether there are two small views beside the large one."""

    def __post_init__(self) -> None:
        if not (SMALL <= self.height <= LARGEST and self.height % 2 == 0):
            raise UsageError(f"video height is {self.height}; even numbers from {SMALL} to {LARGEST} are allowed")

    def scaled(self, length: float) -> int:
        """Return a length [px] that is given for the height `SMALL`."""
        return max(1, round(length * self.height / SMALL))

    @cached_property
    def line(self) -> int:
        """Height of a line of text [px]."""
        return self.scaled(_LINE)

    @cached_property
    def font(self) -> int:
        """Size of the letters [px]."""
        return self.scaled(_FONT)

    @cached_property
    def lanes(self) -> int:
        """Height of the timeline [px]."""
        return self.scaled(_LANES)

    @cached_property
    def side(self) -> int:
        """Height and width of a small view [px], 0 without them."""
        return self.scaled(_SIDE) if self.small_views else 0

    @cached_property
    def view(self) -> tuple[int, int]:
        """Height and width of the large view [px]; without small views it takes their place, so that text fits."""
        return self.height - 3 * self.line - self.lanes, self.width - self.side

    @cached_property
    def width(self) -> int:
        """Of the whole frame [px]."""
        width = round((self.height - 3 * self.line - self.lanes) * 4 / 3) + self.scaled(_SIDE)
        return width + width % 2  # encoders want even sides

    @property
    def numbers_top(self) -> int:
        """First row of the lines of numbers."""
        return self.line + self.view[0]

    @property
    def lanes_top(self) -> int:
        """First row of the timeline."""
        return self.height - self.lanes

    def small_view(self, number: int) -> tuple[slice, slice]:
        """Return rows and columns of a small view."""
        top = self.line + number * self.side
        return slice(top, top + self.side), slice(self.view[1], self.width)

    @property
    def large_view(self) -> tuple[slice, slice]:
        """Rows and columns of the large view."""
        return slice(self.line, self.line + self.view[0]), slice(0, self.view[1])
