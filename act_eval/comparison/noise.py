"""The noise floor: differences of success rates between runs of the same weights.

The same weights on disjoint suites of equal size differ by chance alone. The noise floor applies to runs on different
episodes; pairing removes the share that comes from easy and hard seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import scipy  # `scipy.stats` loads lazily: importing it takes half as long as torch

from act_eval.comparison.pairing import suite_differences
from act_eval.comparison.sides import Side
from act_eval.errors import SuiteMismatch, UsageError
from act_eval.results.suites import differences
from act_eval.stats import SuccessRate


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """Success rates of the same weights on disjoint suites."""

    condition: str
    size: int
    """Episodes in each suite."""
    rates: tuple[SuccessRate, ...]
    """One per suite."""
    largest: float
    """Largest difference between two of them."""
    typical: float
    """Mean difference between two of them."""
    by_counting: float
    """95th percentile of the difference between two suites of this size under the binomial distribution."""

    def describe(self) -> str:
        """Return one line."""
        rates = " ".join(f"{rate.rate:.2f}" for rate in self.rates[:10]) + (" …" if len(self.rates) > 10 else "")
        return (
            f"{self.condition}: {len(self.rates)} disjoint suites of {self.size} episodes, same weights: {rates}; "
            f"two of them differ by {self.typical:.3f} on average and {self.largest:.3f} at most; by counting alone "
            f"95 of 100 such differences are at most {self.by_counting:.3f}"
        )


def noise_floor(runs: Sequence[Side], size: int | None = None) -> list[NoiseFloor]:
    """Return the noise floor of every condition that all runs have.

    Args:
        runs: of the same weights, on disjoint episode seeds.
        size: episodes per suite; those of the smallest run if None. A single run is split into suites of this size,
            and in half if it is too short for two.

    Raises:
        SuiteMismatch: if weights or tasks differ, or seeds occur in two runs.
        UsageError: if fewer than two suites of two episodes result.
    """
    _check_same_but_seeds(runs)
    shortest = min(len(run.suite.seeds) for run in runs)
    size = min(size or shortest, shortest)
    if len(runs) == 1 and 2 * size > shortest:
        size = shortest // 2
    if size < 2:
        raise UsageError(f"{shortest} episodes are too few for two suites; a noise floor needs at least 4")
    conditions = [condition for condition in runs[0].outcomes if all(condition in run.outcomes for run in runs)]
    if not conditions:
        raise UsageError(f"no condition is in all of {', '.join(run.place for run in runs)}")
    floors = []
    for condition in conditions:
        vectors = [run.outcomes[condition] for run in runs]
        blocks = [v[first : first + size] for v in vectors for first in range(0, len(v) - size + 1, size)]
        floors.append(_floor(condition, blocks, size))
    return floors


def read_noise_floor(places: Sequence[str], size: int | None = None) -> list[NoiseFloor]:
    """Return the `noise_floor` of the runs in these folders or files; empty without one.

    Raises:
        ActEvalError: as `noise_floor`, or if a place cannot be read.
    """
    return noise_floor([Side.read(Path(place)) for place in places], size) if places else []


def _floor(condition: str, blocks: Sequence[Sequence[str]], size: int) -> NoiseFloor:
    rates = tuple(SuccessRate.of_outcomes(b) for b in blocks)
    if any(not rate.trials for rate in rates):
        raise UsageError(f"condition {condition} has a suite of {size} episodes that are all invalid")
    gaps = [abs(first.rate - second.rate) for first, second in combinations(rates, 2)]
    pooled = sum(rate.successes for rate in rates) / sum(rate.trials for rate in rates)
    return NoiseFloor(
        condition=condition,
        size=size,
        rates=rates,
        largest=max(gaps),
        typical=sum(gaps) / len(gaps),
        by_counting=chance_difference(pooled, size),
    )


def chance_difference(rate: float, size: int, share: float = 0.95) -> float:
    """Return the difference that a `share` of pairs of suites of `size` episodes do not exceed, both of this rate."""
    chances = scipy.stats.binom.pmf(np.arange(size + 1), size, rate)
    of_difference = np.convolve(chances, chances[::-1])[size:]  # of 0 … size more successes on one side
    of_difference[1:] *= 2
    return float(np.searchsorted(np.cumsum(of_difference), share - 1e-12) / size)


def _check_same_but_seeds(runs: Sequence[Side]) -> None:
    first, seen = runs[0], dict[int, str]()
    for run in runs:
        lines = [line for line in suite_differences(first, run) if not line.startswith("suite.seeds")]
        lines += differences(first.policy.get("digest"), run.policy.get("digest"), "configuration.policy.digest")
        if lines:
            message = "\n  ".join(lines)
            raise SuiteMismatch(f"a noise floor needs the same weights on the same task; {run.place} has\n  {message}")
        repeated = [seed for seed in run.suite.seeds if seed in seen]
        if repeated:
            raise SuiteMismatch(
                f"{run.place} repeats {len(repeated)} episode seeds of {seen[repeated[0]]}: a noise floor needs "
                "disjoint suites; evaluate with another --seed"
            )
        seen |= dict.fromkeys(run.suite.seeds, run.place)
