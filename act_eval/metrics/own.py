"""User-defined metrics: one number per episode, and its summary per condition."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, get_args

import numpy as np
import scipy  # its parts load lazily

from act_eval.decoding import build
from act_eval.errors import ActEvalError, UsageError
from act_eval.stats import CONFIDENCE, Interval, wilson_interval
from act_eval.types import EpisodeRecord
from act_eval.types.steps import EpisodeSteps

Statistic = Literal["mean", "median", "fraction"]
"""Summary of a condition: the mean with its t interval, the median with the distribution-free interval between
order statistics, or the fraction of episodes for which the value is 1, with its Wilson interval."""

MeasureEpisode = Callable[[EpisodeRecord, EpisodeSteps, float], float | bool | None]
"""(record, steps, control_s) → the episode's value; None if it is not defined for this episode."""


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """A user-defined metric in a run folder."""

    name: str
    """Key in `summary.json`; `NAME_low` and `NAME_high` are the ends of the 95 % interval."""
    unit: str = "1"
    """`1` for a ratio or a fraction."""
    meaning: str = ""
    """One line."""
    statistic: Statistic = "mean"
    source: str = ""
    """`module:Name`."""
    digest: str = ""
    """Digest of the source; empty if there is none (typed at a prompt)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", self.name):
            raise UsageError(f"metric {self.name!r}: a name has small letters, digits and underscores")
        if self.statistic not in get_args(Statistic):
            raise UsageError(
                f"metric {self.name}: statistic is {self.statistic!r}; there are: {', '.join(get_args(Statistic))}"
            )

    @property
    def head(self) -> str:
        """Head of its column in tables, with the unit."""
        unit = "" if self.statistic == "fraction" else f", {self.unit}"
        return f"{self.name.replace('_', ' ')}{unit}"

    def text(self, found: Mapping[str, float | None]) -> str | None:
        """Return value and interval of a condition's summary as text, as in `5.4 [3.6, 8.1]`; None if undefined."""
        value, low, high = (found.get(f"{self.name}{end}") for end in ("", "_low", "_high"))
        if value is None:
            return None
        ends = "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
        return f"{value:.3g}{ends}"

    def summarise(self, values: Sequence[float | None]) -> dict[str, float | None]:
        """Return the statistic over the episodes that define the metric, with its interval; None if undefined."""
        defined = [value for value in values if value is not None]
        value, ends = _STATISTICS[self.statistic](defined)
        low, high = ends if ends is not None else (None, None)
        return {self.name: value, f"{self.name}_low": low, f"{self.name}_high": high}


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """A user-defined metric with its function."""

    definition: MetricDefinition
    measure: MeasureEpisode
    local_only: str | None = None
    """Reason why it can only run in this process; None if workers can import it."""

    def value(self, record: EpisodeRecord, steps: EpisodeSteps, control_s: float) -> float | None:
        """Return an episode's value.

        Raises:
            UsageError: if the metric raises or returns anything but a finite number, a truth value or None.
        """
        where = f"metric {self.definition.name}, episode {record.episode}"
        try:
            found = self.measure(record, steps, control_s)
            value = None if found is None else float(found)
        except ActEvalError:
            raise
        except Exception as error:  # user code may raise anything
            raise UsageError(f"{where}: {type(error).__name__}: {error}") from error
        if value is not None and not np.isfinite(value):
            raise UsageError(f"{where}: the value is {value}; it must be finite, or None if undefined")
        if value is not None and self.definition.statistic == "fraction" and value not in (0.0, 1.0):
            raise UsageError(f"{where}: the value is {value}; a fraction counts truth values")
        return value


def episode_metric(
    *, unit: str = "1", statistic: Statistic = "mean", name: str | None = None
) -> Callable[[MeasureEpisode], MeasureEpisode]:
    """Declare unit and statistic of a metric that is a function; its docstring's first line is its meaning."""

    def declare(measure: MeasureEpisode) -> MeasureEpisode:
        measure.unit, measure.statistic = unit, statistic  # pyright: ignore[reportFunctionMemberAccess]
        if name is not None:
            measure.name = name  # pyright: ignore[reportFunctionMemberAccess]
        return measure

    return declare


def definitions_of(configuration: Mapping[str, Any]) -> tuple[MetricDefinition, ...]:
    """Return the user-defined metrics of a manifest's configuration.

    Raises:
        RunFolderError: naming the damaged entry.
    """
    return build(tuple[MetricDefinition, ...], configuration.get("metrics", []), "manifest.json, metrics")


def _mean(values: Sequence[float]) -> tuple[float | None, Interval | None]:
    if not values:
        return None, None
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, None
    half = float(scipy.special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * float(np.std(values, ddof=1)) / sqrt(n)
    return mean, Interval(mean - half, mean + half)


def _median(values: Sequence[float]) -> tuple[float | None, Interval | None]:
    """Return the median, and the order statistics that contain it with at least 95 % (binomial) probability."""
    if not values:
        return None, None
    ordered, n = sorted(values), len(values)
    below = np.flatnonzero(scipy.special.bdtr(np.arange(n), n, 0.5) <= (1 - CONFIDENCE) / 2)
    ends = Interval(ordered[len(below) - 1], ordered[n - len(below)]) if len(below) else None
    return float(np.median(ordered)), ends


def _fraction(values: Sequence[float]) -> tuple[float | None, Interval | None]:
    if not values:
        return None, None
    successes = sum(value == 1 for value in values)
    return successes / len(values), wilson_interval(successes, len(values))


_STATISTICS: Mapping[str, Callable[[Sequence[float]], tuple[float | None, Interval | None]]] = {
    "mean": _mean,
    "median": _median,
    "fraction": _fraction,
}
