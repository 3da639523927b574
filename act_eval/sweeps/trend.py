"""The trend of success over delay, with an exact test and a verdict, and the recovered share of naive's loss.

The episodes of a series are matched: episode i starts in the same state at every delay. The episode is therefore the
unit of inference: the slope is the mean of the episodes' slopes, its interval comes from resampling episodes with all
their delays, and the test permutes each episode's outcomes over the delays.

Legend: `N` episodes · `D` delays · `R` resamples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from act_eval.stats import CONFIDENCE, Interval, PairedTable

Outcomes = NDArray[np.float64]
"""1 success, 0 failure, NaN invalid."""
Verdict = Literal["falls with delay", "rises with delay", "insensitive to delay", "inconclusive"]

MARGIN = 0.10
"""`insensitive`: a loss of this size from the least to the largest delay is excluded by its interval."""
LEVEL = 0.05
"""Of the trend test, after Holm's adjustment over the series of a sweep."""
RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Success of one series over its delays, episodes that are valid at every delay."""

    delays: tuple[int, ...]
    """[steps], rising; at least two."""
    episodes: int
    excluded: int
    """Episodes that are invalid at one delay or more."""
    slope: float
    """Change of the success rate per control step of delay (least squares)."""
    interval: Interval
    """95 % percentile bootstrap over episodes."""
    p: float
    """Exact two-sided test of no trend."""
    ends: PairedTable
    """First: the least delay; second: the largest."""


def trend(outcomes_DN: Sequence[Outcomes], delays: Sequence[int]) -> Trend:
    """Return the trend of a series.

    Args:
        outcomes_DN: One array per delay, entry i of each is the same episode.
        delays: [steps], rising, at least two.
    """
    outcomes_ND = np.stack(list(outcomes_DN), axis=1)
    complete = ~np.isnan(outcomes_ND).any(axis=1)
    valid_ND = outcomes_ND[complete]
    slopes_N = _slopes(valid_ND, delays)
    return Trend(
        delays=tuple(delays),
        episodes=len(valid_ND),
        excluded=int((~complete).sum()),
        slope=float(slopes_N.mean()) if len(slopes_N) else float("nan"),
        interval=bootstrap_mean(slopes_N),
        p=trend_p_value(valid_ND, delays),
        ends=PairedTable.count((valid_ND[:, 0] == 1).tolist(), (valid_ND[:, -1] == 1).tolist()),
    )


def verdict(measured: Trend, p_adjusted: float) -> Verdict:
    """Return the verdict on a series, given its p-value adjusted for the other series.

    `falls` and `rises` need both the slope's interval and the adjusted test; `insensitive` needs the exact interval to
    exclude a loss of `MARGIN` between the least and the largest delay; everything else is `inconclusive`.
    """
    if p_adjusted <= LEVEL and measured.interval.high < 0:
        return "falls with delay"
    if p_adjusted <= LEVEL and measured.interval.low > 0:
        return "rises with delay"
    if measured.ends.exact().low >= -MARGIN:
        return "insensitive to delay"
    return "inconclusive"


def verdict_despite_invalid(outcomes_DN: Sequence[Outcomes], delays: Sequence[int], family: int) -> Verdict:
    """Return the verdict if it holds however the invalid episodes would have ended, else `inconclusive`.

    Invalid episodes are counted so that the slope is smallest, and so that it is largest.

    Args:
        outcomes_DN: One array per delay.
        delays: [steps], rising.
        family: Series that are tested; the p-values are multiplied by it (Bonferroni).
    """
    middle = float(np.mean(delays))
    found: set[Verdict] = set()
    for falling in (True, False):
        filled = [
            np.where(np.isnan(row_N), float((delay < middle) == falling), row_N)
            for row_N, delay in zip(outcomes_DN, delays, strict=True)
        ]
        measured = trend(filled, delays)
        found.add(verdict(measured, min(1.0, family * measured.p)))
    return found.pop() if len(found) == 1 else "inconclusive"


def trend_p_value(outcomes_ND: Outcomes, delays: Sequence[int]) -> float:
    """Return the exact two-sided p-value of "an episode's outcomes are exchangeable over the delays".

    The statistic is the sum over successes of their delay; given each episode's number of successes its law is a
    convolution of the episodes' own, which are uniform over subsets of the delays. With two delays this is McNemar's
    exact test. Two-sided by doubling the smaller tail.

    Args:
        outcomes_ND: 1 and 0.
        delays: [steps], whole numbers from 0 on.
    """
    observed = round(float(outcomes_ND.sum(axis=0) @ np.asarray(delays, np.float64))) if len(outcomes_ND) else 0
    law = np.ones(1)
    counts = Counter(int(total) for total in outcomes_ND.sum(axis=1))
    for successes, episodes in sorted(counts.items()):
        one = _subset_law(delays, successes)
        for _ in range(episodes):
            law = np.convolve(law, one)
    return float(min(1.0, 2 * min(law[: observed + 1].sum(), law[observed:].sum())))


def bootstrap_mean(values_N: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Return the percentile bootstrap interval of a mean; unbounded without a value."""
    if not len(values_N):
        return Interval(-float("inf"), float("inf"))
    means_R = resampled_counts(len(values_N)) @ values_N / len(values_N)
    low, high = np.quantile(means_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


@lru_cache(maxsize=2)
def resampled_counts(episodes: int) -> NDArray[np.float64]:
    """Return (R, N) counts of each episode in each resample; equal N give equal counts. Read-only."""
    rng = np.random.default_rng(np.random.SeedSequence(episodes))
    counts_RN = rng.multinomial(episodes, np.full(episodes, 1 / episodes), size=RESAMPLES).astype(np.float64)
    counts_RN.flags.writeable = False
    return counts_RN


def _slopes(outcomes_ND: Outcomes, delays: Sequence[int]) -> NDArray[np.float64]:
    """Return (N,) least-squares slopes, one per episode; their mean is the slope of the rates."""
    centred_D = np.asarray(delays, np.float64) - np.mean(delays)
    return outcomes_ND @ centred_D / (centred_D @ centred_D)


def _subset_law(delays: Sequence[int], size: int) -> NDArray[np.float64]:
    """Return the probability of each sum over a uniformly drawn subset of `size` delays."""
    law = np.zeros(sum(sorted(delays)[len(delays) - size :]) + 1)
    for subset in combinations(delays, size):
        law[sum(subset)] += 1 / comb(len(delays), size)
    return law


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """(other_d - naive_d) / (naive_0 - naive_d) over episodes that are valid in all three cells."""

    episodes: int
    loss: float
    """naive_0 - naive_d."""
    gain: float
    """other_d - naive_d."""
    share: float | None
    """1: all is recovered, 0: nothing, below 0: it does worse; None if naive loses nothing."""
    interval: Interval | None
    """95 % percentile bootstrap over episodes; None if naive's loss is not above zero in 97.5 % of the resamples,
    because the share then has no finite interval."""

    def describe(self) -> str:
        """Return the share as text, as in `58 % of 12.5 points [31 %, 80 %]`."""
        if self.share is None:
            return f"undefined: naive loses nothing ({100 * self.loss:+.1f} points)"
        text = f"{100 * self.share:.0f} % of {100 * self.loss:.1f} points"
        if self.interval is None:
            return f"{text}, without an interval: naive's loss may be zero"
        return f"{text} [{100 * self.interval.low:.0f} %, {100 * self.interval.high:.0f} %]"


def recovery(naive_0_N: Outcomes, naive_d_N: Outcomes, other_d_N: Outcomes) -> Recovery:
    """Return the share of naive's loss that the other executor recovers.

    Args:
        naive_0_N: Naive without delay; entry i of each array is the same episode.
        naive_d_N: Naive at delay d.
        other_d_N: The other executor at delay d.
    """
    together = np.stack([naive_0_N, naive_d_N, other_d_N])
    zero, late, other = together[:, ~np.isnan(together).any(axis=0)]
    loss_N, gain_N = zero - late, other - late
    if not len(loss_N):
        return Recovery(episodes=0, loss=0.0, gain=0.0, share=None, interval=None)
    loss, gain = float(loss_N.mean()), float(gain_N.mean())
    share = gain / loss if loss > 0 else None
    interval = None if share is None else _share_interval(loss_N, gain_N)
    return Recovery(episodes=len(loss_N), loss=loss, gain=gain, share=share, interval=interval)


def _share_interval(loss_N: Outcomes, gain_N: Outcomes) -> Interval | None:
    counts = resampled_counts(len(loss_N))
    loss_R, gain_R = counts @ loss_N, counts @ gain_N
    tail = (1 - CONFIDENCE) / 2
    if np.mean(loss_R <= 0) > tail:
        return None
    # In the few resamples without a loss, the share takes its limit.
    with np.errstate(divide="ignore", invalid="ignore"):
        share_R = np.where(loss_R > 0, gain_R / loss_R, np.where(gain_R > 0, np.inf, -np.inf))
    low, high = np.quantile(share_R, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))
