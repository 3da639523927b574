"""Exact confidence limits of a difference of success rates, which decide every answer against a margin.

An approximate interval, such as Newcombe's, excludes a true drop of exactly the margin too often. An exact limit is
below the true drop with at most the given probability, for any rates, correlation and number of episodes (Buehler 1957;
Lloyd and Kabaila 2003): it is the least drop under which tables at least as good as the observed one are that
improbable, for every value of the second (nuisance) parameter. "At least as good" is the order of an approximate limit:
Tango's (1998) for pairs, Newcombe's (1998) for independent episodes.

Both approximate limits fall with fewer losses and with more gains. So the tables form a staircase whose probability
rises with the new rate and falls with the old one: of all drops of a margin or more, the margin itself makes it most
probable.

Legend: `losses` speak for a drop, `gains` against it. Of pairs: those that only the old, only the new condition solved.
Of independent episodes: successes of the old and of the new condition.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt

import numpy as np
import scipy  # its parts load lazily
from numpy.typing import ArrayLike, NDArray

_ORDER_Z = 1.959963984540054
"""Normal quantile of the approximate limits; any order of tables is exact, this one is close to the best at 2.5 %."""
_POINTS = 4
"""Values of the second parameter per standard error of a rate."""
_SLACK = 0.005
"""The probability between two such values exceeds that at them by less than this share."""
_NEGLIGIBLE = 1e-9
"""Probability of a count of losses below which its tables are left out."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of a comparison on the same episodes."""

    pairs: int

    @property
    def most_losses(self) -> int:
        """Largest possible count of losses."""
        return self.pairs

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.pairs

    def most_gains(self, losses: Array) -> Array:
        """Return the largest possible counts of gains beside these losses."""
        return self.pairs - losses

    def gain_range(self, drop: float) -> tuple[float, float]:
        """Return the smallest and the largest probability of a gain if that of a loss is higher by `drop`."""
        return max(0.0, -drop), (1 - drop) / 2

    def gain_given_no_loss(self, loss: Array, gain: Array) -> Array:
        """Return the probability of a gain in one of the `most_gains` trials."""
        return np.divide(gain, 1 - loss, out=np.zeros_like(gain), where=loss < 1).clip(0, 1)

    def approximate_limit(self, losses: ArrayLike, gains: ArrayLike) -> Array:
        """Return Tango's upper limit of the drop."""
        losses, gains = np.broadcast_arrays(np.asarray(losses, float), np.asarray(gains, float))
        low, high = np.full(losses.shape, -1.0), np.ones(losses.shape)
        for _ in range(40):
            middle = (low + high) / 2
            beyond = self._score(losses, gains, middle) >= _ORDER_Z
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return high

    def _score(self, losses: Array, gains: Array, drop: Array) -> Array:
        """Return Tango's score statistic of `drop`, with the constrained estimate of the probability of a gain."""
        n = self.pairs
        a, b, c = 2 * n, (2 * n - losses + gains) * drop - losses - gains, -gains * drop * (1 - drop)
        gain = (np.sqrt(np.maximum(b * b - 4 * a * c, 0)) - b) / (2 * a)
        variance = n * np.maximum(2 * gain + drop * (1 - drop), 1e-300)
        return (n * drop - losses + gains) / np.sqrt(variance)


@dataclass(frozen=True)
class Independent:
    """Independent episodes of two conditions."""

    old: int
    """Episodes of the old condition."""
    new: int
    """Episodes of the new condition."""

    @property
    def most_losses(self) -> int:
        """Largest possible count of successes of the old condition."""
        return self.old

    @property
    def size(self) -> int:
        """Episodes of the condition that has more."""
        return max(self.old, self.new)

    def most_gains(self, losses: Array) -> Array:
        """Return the largest possible counts of successes of the new condition."""
        return np.full(losses.shape, float(self.new))

    def gain_range(self, drop: float) -> tuple[float, float]:
        """Return the smallest and the largest new rate if the old one is higher by `drop`."""
        return max(0.0, -drop), min(1.0, 1 - drop)

    def gain_given_no_loss(self, loss: Array, gain: Array) -> Array:
        """Return the new rate."""
        return gain

    def approximate_limit(self, losses: ArrayLike, gains: ArrayLike) -> Array:
        """Return Newcombe's upper limit of the drop, from the Wilson intervals of both rates."""
        old, new = np.asarray(losses, float) / self.old, np.asarray(gains, float) / self.new
        above, below = wilson_ends(old, self.old, _ORDER_Z)[1] - old, new - wilson_ends(new, self.new, _ORDER_Z)[0]
        return old - new + np.sqrt(above**2 + below**2)


Design = Pairs | Independent


def wilson_ends(rate: ArrayLike, trials: int, z: float) -> tuple[Array, Array]:
    """Return both ends of the Wilson score intervals of rates, for the normal quantile `z`."""
    rate = np.asarray(rate, float)
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return centre - half, centre + half


@dataclass(frozen=True)
class Staircase:
    """The tables whose approximate limit is at most some value."""

    design: Design
    losses: Array
    """(K,) counts of losses that occur."""
    gains: Array
    """(K,) least count of gains beside each, rising."""

    @classmethod
    def at_least_as_good(cls, design: Design, limit: float) -> "Staircase":
        """Return the tables with an approximate limit of at most `limit`."""
        losses = np.arange(design.most_losses + 1.0)
        most = design.most_gains(losses)
        low, high = np.zeros(losses.shape), most + 1  # the least count is in [low, high]; most + 1 for none
        while (low < high).any():
            middle = np.floor((low + high) / 2)
            inside = design.approximate_limit(losses, np.minimum(middle, most)) <= limit + 1e-9
            inside |= middle > most
            low, high = np.where(inside, low, np.minimum(middle + 1, high)), np.where(inside, middle, high)
        occurs = low <= most
        return cls(design, losses[occurs], low[occurs])

    def probability(self, loss: ArrayLike, gain: ArrayLike) -> Array:
        """Return the probability of these tables, per probability of a loss and of a gain in one trial."""
        loss, gain = np.asarray(loss, float)[..., None], np.asarray(gain, float)[..., None]
        n, losses = self.design.most_losses, self.losses
        special = scipy.special
        ways = special.gammaln(n + 1) - special.gammaln(losses + 1) - special.gammaln(n - losses + 1)
        per_loss = np.exp(ways + special.xlogy(losses, loss) + special.xlogy(n - losses, 1 - loss))
        rate, most = self.design.gain_given_no_loss(loss, gain), self.design.most_gains(losses)
        occurs = per_loss > _NEGLIGIBLE
        least, most, rate = (values[occurs] for values in np.broadcast_arrays(self.gains, most, rate, per_loss)[:3])
        per_loss[occurs] *= np.where(least > 0, special.betainc(np.maximum(least, 1), most - least + 1, rate), 1.0)
        return per_loss.sum(axis=-1, where=occurs)

    def largest_probability(self, drop: float) -> float:
        """Return the largest probability of these tables under every drop of `drop` or more, or slightly more."""
        low, high = np.arcsin(np.sqrt(self.design.gain_range(drop)))
        # On this scale the probability changes over about 1 / (2 sqrt(n)).
        grid = np.linspace(low, high, 3 + int(_POINTS * (high - low) * 2 * sqrt(self.design.size)))
        best = int(np.argmax(self._at(grid, drop)))
        around = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 33)
        return float(self._at(around, drop).max()) * (1 + _SLACK)

    def _at(self, angle: Array, drop: float) -> Array:
        gain = np.sin(angle) ** 2
        return self.probability(gain + drop, gain)


@lru_cache(maxsize=4096)
def largest_drop(design: Design, losses: int, gains: int, level: float) -> float:
    """Return the exact upper limit of the drop, old rate minus new rate: this drop and larger ones are excluded.

    Args:
        design: pairs, or independent episodes.
        losses: observed losses.
        gains: observed gains.
        level: largest probability of a limit at or below the true drop.

    Returns:
        A value in [-1, 1]; 1 also if nothing is excluded.
    """
    limit = float(design.approximate_limit(losses, gains))
    tables = Staircase.at_least_as_good(design, limit)

    def excess(drop: float) -> float:
        return log(max(tables.largest_probability(drop), 1e-300) / level)

    step = 1 / design.size  # the exact limit is about this near to the approximate one
    low, high = max(limit - step, -1.0), min(limit + step, 1.0)
    while high < 1 and excess(high) > 0:
        low, high = high, min(high + step, 1.0)
    while low > -1 and excess(low) <= 0:
        low, high = max(low - step, -1.0), low
    return 1.0 if excess(high) > 0 else float(scipy.optimize.brentq(excess, low, high, xtol=1e-6))


def excluding(design: Design, margin: float, level: float) -> Staircase:
    """Return the tables that exclude a drop of `margin` or more at this level."""
    low, high = -1.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        improbable = Staircase.at_least_as_good(design, middle).largest_probability(margin) <= level
        low, high = (middle, high) if improbable else (low, middle)
    return Staircase.at_least_as_good(design, low)
