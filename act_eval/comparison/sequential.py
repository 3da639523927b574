"""Anytime-valid early stopping: the evidence may be inspected after every pair.

An e-process is the wealth of a gambler who bets against a hypothesis at fair or worse odds. Under the hypothesis its
expectation never exceeds 1, so by Ville's inequality it reaches 1/level with a probability of at most `level`, however
often it is inspected. There are two hypotheses, on the paired difference D = new - base in {-1, 0, 1} of each episode
seed:

- "NEW is not worse", E[D] >= 0. Given that a pair disagrees, NEW lost it with a chance of at most 1/2; the bet is
  a Beta(1/2, 1/2) prior on that chance, restricted to the half above 1/2 (Jeffreys mixture, closed form).
- "NEW is worse by the margin or more", E[D] <= -margin. The bet is a mixture of stakes on D + margin (betting
  martingale, Waudby-Smith and Ramdas 2024, Journal of the Royal Statistical Society B 86:1).

Legend: arrays of counts broadcast against one another; `lost` pairs only BASE solved, `won` only NEW, `tied` neither
or both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, logsumexp
from scipy.stats import beta

from act_eval.comparison.verdicts import Rules
from act_eval.types import INVALID, SUCCESS

Answer = Literal["drop detected", "no drop beyond the margin", "continue", "no pairs left"]

_PRIOR = 0.5
"""Both parameters of the Jeffreys prior."""
_STAKES = 24
"""Stakes in the mixture; more change the evidence by less than a percent."""


def drop_evidence(lost: ArrayLike, won: ArrayLike) -> NDArray[np.float64]:
    """Return the natural logarithm of the e-value against "NEW is not worse"."""
    lost, won = np.asarray(lost, float), np.asarray(won, float)
    a, b = _PRIOR + lost, _PRIOR + won
    both_sides = betaln(a, b) - betaln(_PRIOR, _PRIOR) + (lost + won) * np.log(2)
    return np.asarray(both_sides + np.log(2) + beta.logsf(0.5, a, b))


def margin_evidence(lost: ArrayLike, tied: ArrayLike, won: ArrayLike, margin: float) -> NDArray[np.float64]:
    """Return the natural logarithm of the e-value against "NEW is worse by `margin` or more"."""
    counts = (np.asarray(count, float)[..., None] for count in (lost, tied, won))
    # A stake below 1 / (1 - margin) never loses everything.
    stakes = (np.arange(_STAKES) + 0.5) / _STAKES / (1 - margin)
    gains = (margin - 1, margin, margin + 1)
    log_wealth = sum(count * np.log1p(stakes * gain) for count, gain in zip(counts, gains, strict=True))
    return np.asarray(logsumexp(log_wealth, axis=-1) - np.log(_STAKES))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pairs so far."""

    lost: int
    """Only the baseline succeeded."""
    won: int
    """Only the new run succeeded."""
    tied: int
    """Both or neither."""
    invalid_after_success: int = 0
    """Invalid in the new run where the baseline succeeded."""
    invalid_after_failure: int = 0

    @property
    def invalid(self) -> int:
        """Invalid episodes of the new run."""
        return self.invalid_after_success + self.invalid_after_failure

    @property
    def pairs(self) -> int:
        """Pairs so far, invalid ones included."""
        return self.lost + self.won + self.tied + self.invalid


def count(before: Sequence[str], now: Sequence[str]) -> Counts:
    """Count the pairs of the episodes that have run; `before` may be longer than `now`."""
    pairs = [(base == SUCCESS, new == SUCCESS, new == INVALID) for base, new in zip(before, now, strict=False)]
    valid = [(base, new) for base, new, invalid in pairs if not invalid]
    return Counts(
        lost=valid.count((True, False)),
        won=valid.count((False, True)),
        tied=sum(base == new for base, new in valid),
        invalid_after_success=pairs.count((True, False, True)),
        invalid_after_failure=pairs.count((False, False, True)),
    )


@dataclass(frozen=True, kw_only=True)
class StoppingRule(Rules):
    """When a paired comparison with a stored baseline may end before its last pair.

    Each claim is wrong with a chance of at most `alpha` / 2, as in the two-sided test with all pairs.
    """

    @property
    def threshold(self) -> float:
        """Natural logarithm of the e-value that decides a claim."""
        return float(np.log(2 / self.alpha))

    def unseen_drop(self, counts: Counts) -> float:
        """Return the largest drop that the pairs do not exclude, to 0.001; valid at any time."""
        low, high = 0.0, 1.0
        while high - low > 1e-3:
            middle = (low + high) / 2
            low, high = (low, middle) if self._excludes(counts, middle) else (middle, high)
        return high

    def _excludes(self, c: Counts, margin: float) -> bool:
        tied = c.tied + c.invalid_after_failure
        return bool(margin_evidence(c.lost + c.invalid_after_success, tied, c.won, margin) >= self.threshold)

    def answer(self, counts: Counts, pairs: int) -> Answer:
        """Return the decision after some of `pairs` pairs; invalid episodes count against both claims."""
        c = counts
        if drop_evidence(c.lost, c.won + c.invalid_after_failure) >= self.threshold:
            return "drop detected"
        if self._excludes(c, self.margin):
            return "no drop beyond the margin"
        return "continue" if c.pairs < pairs else "no pairs left"
