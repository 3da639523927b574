"""Percentiles without interpolation: the result is an observed value."""

from collections.abc import Sequence
from math import ceil, inf


def percentile(values: Sequence[float | None], share: float) -> float | None:
    """Return the smallest value that at least `share` of all values do not exceed; None without a value.

    Args:
        values: None is a value that was never reached and counts as infinite.
        share: In (0, 1].

    Returns:
        None also if the percentile is a value that was never reached.
    """
    if not values:
        return None
    ordered = sorted(inf if value is None else value for value in values)
    found = ordered[max(ceil(share * len(ordered) - 1e-9), 1) - 1]
    return None if found == inf else found


def percentile_of_counts(counts: Sequence[int], share: float) -> int | None:
    """Return `percentile` of the numbers 0, 1, 2, … that occur `counts[0]`, `counts[1]`, … times."""
    total, reached = sum(counts), 0
    for number, count in enumerate(counts):
        reached += count
        if count and reached >= share * total - 1e-9:
            return number
    return None
