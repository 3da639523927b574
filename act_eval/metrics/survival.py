"""Time to an event that some episodes never reach: Kaplan-Meier curve, median and restricted mean, with intervals.

Kaplan and Meier (1958); Greenwood's variance; interval of the median by Brookmeyer and Crowley (1982) with the
log-log interval of the curve; restricted mean and its variance as in Klein and Moeschberger, Survival Analysis, 4.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt

import numpy as np
import scipy  # `scipy.stats` takes half as long to load as torch; what is needed of it here is in `scipy.special`
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.stats import CONFIDENCE, Interval


@dataclass(frozen=True)
class KaplanMeier:
    """Share of episodes without the event so far, as a step function of time with K steps."""

    times: NDArray[np.float64]
    """(K,) times at which the curve falls, rising."""
    share: NDArray[np.float64]
    """(K,) its value from that time on."""
    variance: NDArray[np.float64]
    """(K,) Greenwood's sum Σ d / (n (n - d)) up to that time; infinite once the curve is zero."""
    at_risk: NDArray[np.float64]
    """(K,) n, episodes at risk just before that time."""
    events: NDArray[np.float64]
    """(K,) d, episodes that reach the event at that time."""

    @classmethod
    def fit(cls, times: Sequence[float], reached: Sequence[bool]) -> "KaplanMeier":
        """Estimate the curve.

        Args:
            times: Times of the event or of censoring.
            reached: Whether it was the event. At equal times events precede censoring.

        Raises:
            UsageError: if the sequences differ in length or a time is negative or not finite.
        """
        if len(times) != len(reached):
            raise UsageError(f"times and reached differ in length: {len(times)} and {len(reached)}")
        time_N, reached_N = np.asarray(times, np.float64), np.asarray(reached, bool)
        if not (np.isfinite(time_N) & (time_N >= 0)).all():
            raise UsageError(f"times must be finite and at least 0, got {list(times)}")
        times_K, events_K = np.unique(time_N[reached_N], return_counts=True)
        at_risk_K = (time_N[:, None] >= times_K).sum(axis=0).astype(np.float64)
        left_K = at_risk_K - events_K
        with np.errstate(divide="ignore"):
            variance_K = np.cumsum(events_K / (at_risk_K * left_K))
        return cls(times_K, np.cumprod(left_K / at_risk_K), variance_K, at_risk_K, events_K.astype(np.float64))

    @property
    def median(self) -> float | None:
        """First time by which half of the episodes have reached the event, or None."""
        return self._first_at_most(self.share)

    def median_interval(self, confidence: float = CONFIDENCE) -> tuple[float | None, float | None]:
        """Return the interval of the median: times at which the curve's interval contains 0.5; None for an open end."""
        low_K, high_K = self._log_log(confidence)
        return self._first_at_most(low_K), self._first_at_most(high_K)

    def restricted_mean(self, horizon: float, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        """Return the mean of min(time, horizon), the area under the curve up to there, and its normal interval."""
        inside = self.times < horizon
        edges = np.concatenate([[0.0], self.times[inside], [horizon]])
        area = np.diff(edges) * np.concatenate([[1.0], self.share[inside]])
        beyond_K = area.sum() - np.cumsum(area)[:-1]  # area from each event to the horizon
        left_K = self.at_risk[inside] - self.events[inside]
        weight_K = np.divide(
            self.events[inside], self.at_risk[inside] * left_K, out=np.zeros_like(left_K), where=left_K > 0
        )
        half = float(scipy.special.ndtri(0.5 + confidence / 2)) * sqrt(float(np.sum(beyond_K**2 * weight_K)))
        mean = float(area.sum())
        return mean, Interval(max(mean - half, 0.0), min(mean + half, horizon))

    def _first_at_most(self, curve_K: NDArray[np.float64]) -> float | None:
        below = np.flatnonzero(curve_K <= 0.5 + 1e-12)
        return float(self.times[below[0]]) if len(below) else None

    def _log_log(self, confidence: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        z = float(scipy.special.ndtri(0.5 + confidence / 2))
        pairs = zip(self.share.tolist(), self.variance.tolist(), strict=True)
        ends = [_log_log_interval(share, variance, z) for share, variance in pairs]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])


def _log_log_interval(share: float, variance: float, z: float) -> tuple[float, float]:
    """Return share^exp(± z·sqrt(variance) / log(share)), or (0, 1) if no episode is left."""
    if share <= 0 or not isfinite(variance):
        return 0.0, 1.0
    spread = z * sqrt(variance) / abs(log(share)) if share < 1 else inf
    return share ** exp(spread), share ** exp(-spread)
