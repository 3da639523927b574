"""The share of naive execution's loss to delay that another executor recovers."""

from dataclasses import dataclass

import numpy as np

from act_eval.stats import CONFIDENCE, Interval
from act_eval.sweeps.trend import Outcomes, resampled_counts


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
    interval = None if share is None else _interval(loss_N, gain_N)
    return Recovery(episodes=len(loss_N), loss=loss, gain=gain, share=share, interval=interval)


def _interval(loss_N: Outcomes, gain_N: Outcomes) -> Interval | None:
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
