"""Success as a function of continuous factors, over the episodes of a run: binned rates and a logistic fit.

The fit has every factor at once, each standardised, with Gaussian priors of standard deviation 2.5 on their slopes
(Gelman et al. 2008 use a Cauchy prior of that scale), so that it exists where success is separated. Its uncertainty is
the sandwich over episode seeds, which counts episodes of one seed under several conditions as dependent, and at least
that of the model; p-values are adjusted by Holm over the factors. A trend that rises and falls again is seen in the
bins alone.

Legend: `N` episodes · `F` factors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from act_eval.comparison.robustness import p_text
from act_eval.errors import UnmeasuredRun
from act_eval.margins import wilson_ends
from act_eval.results.run import StoredCondition, StoredRun
from act_eval.results.tables import Table
from act_eval.stats import CONFIDENCE, Interval, holm
from act_eval.types import INVALID, SUCCESS, EpisodeRecord
from act_eval.types.steps import EpisodeSteps

ALPHA = 0.05
"""Level of the adjusted tests of a trend."""
LEAST, LEAST_SEEDS = 10, 20
"""Smallest number of successes and of failures, and of seeds, for a fit; below, nothing can be said of any factor."""
SEVERITY = "severity of "
"""Beginning of the names of factors that are severities of an axis."""
_PRIOR = 2.5  # standard deviation of a standardised slope
_BINS, _MAP = 4, 3  # of a continuous factor; of each side of a map
_FEW = 6  # a factor with at most this many values has a bin for each
_COMPLETE = 0.9  # share of the episodes that must have a factor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """The episodes with a factor in one range."""

    low: float
    high: float
    successes: int
    episodes: int
    seeds: int
    """Distinct episode seeds, which the interval counts."""

    @property
    def rate(self) -> float:
        """Success rate; NaN without an episode."""
        return self.successes / self.episodes if self.episodes else float("nan")

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the rate, as of one episode per seed: conditions of one seed are dependent."""
        if not self.seeds:
            return Interval(0.0, 1.0)
        low, high = wilson_ends(self.rate, self.seeds, float(scipy.special.ndtri(0.5 + CONFIDENCE / 2)))
        return Interval(max(0.0, float(low)), min(1.0, float(high)))


@dataclass(frozen=True, kw_only=True)
class FactorEffect:
    """What a run says of one factor."""

    factor: str
    unit: str
    """Of the odds ratio: `per cm`."""
    bins: tuple[Bin, ...]
    odds_ratio: float | None = None
    """Of success, per unit of the factor, all others equal; None without a fit."""
    interval: Interval | None = None
    """95 % interval of `odds_ratio`."""
    p: float | None = None
    p_holm: float | None = None

    @property
    def verdict(self) -> str:
        """`success rises`, `success falls`, or that there is no evidence."""
        if self.p_holm is None or self.odds_ratio is None:
            return "no evidence: no fit"
        if self.p_holm >= ALPHA:
            return "no evidence"
        return "success rises" if self.odds_ratio > 1 else "success falls"


@dataclass(frozen=True, kw_only=True)
class SensitivityReport:
    """Success against the factors of a run; it prints as a table."""

    effects: tuple[FactorEffect, ...]
    place_map: tuple[tuple[Bin, ...], ...] = ()
    """Rows by falling x, columns by falling y, as seen from the arm [m]; empty without places."""
    place_edges: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """Rising edges of the map in x and in y [m]."""
    episodes: int
    seeds: int
    remark: str = ""
    """Why there is no fit; empty with one."""

    def table(self) -> Table:
        """Return a row per factor."""
        rows = [
            (
                one.factor,
                "–" if one.odds_ratio is None else f"× {one.odds_ratio:.2f} {one.interval} {one.unit}",
                "–" if one.p_holm is None else p_text(one.p_holm),
                one.verdict,
                "; ".join(map(bin_text, one.bins)),
            )
            for one in self.effects
        ]
        heads = ("factor", "odds of success", "p, Holm", "evidence", "success by range")
        caption = (
            f"{self.episodes} valid episodes, {self.seeds} seeds; logistic fit of all factors at once, 95 % intervals "
            f"over seeds, Holm over {len(self.effects)} factors{'; ' + self.remark if self.remark else ''}"
        )
        return Table(heads=heads, rows=tuple(rows), title="Success against continuous factors", caption=caption)

    def __str__(self) -> str:
        return self.table().text()

    def effect(self, factor: str) -> FactorEffect:
        """Return the effect of a factor by its name.

        Raises:
            KeyError: if the run does not vary it.
        """
        for one in self.effects:
            if one.factor == factor:
                return one
        raise KeyError(f"{factor!r} does not vary in this run; there are: {', '.join(e.factor for e in self.effects)}")


def bin_text(one: Bin) -> str:
    """Return a range with its success rate and interval, as in `0.1…0.2: 80 % [60, 91] of 20`."""
    place = f"{one.low:.3g}" if one.low == one.high else f"{one.low:.3g}…{one.high:.3g}"
    low, high = (round(100 * end) for end in one.interval)
    return f"{place}: {100 * one.rate:.0f} % [{low}, {high}] of {one.episodes}"


_SCALES = {"target x": (0.01, "per cm"), "target y": (0.01, "per cm"), "goal error": (0.01, "per cm")}
"""Factor → (unit of the odds ratio, its name); for others see `_scale`."""


def sensitivity_of(run: StoredRun) -> SensitivityReport:
    """Return success against the factors of a finished run.

    Factors: place of the target, start pose (joints), goal error, delay, and severity of each perturbation, as far as
    the run varies and records them.

    Raises:
        RunFolderError: if the run is unfinished or damaged.
    """
    rows = [
        (record.seed, record.outcome == SUCCESS, _factors(condition, record))
        for condition in run.conditions.values()
        for record in condition.records
        if record.outcome != INVALID
    ]
    return sensitivity([seed for seed, _, _ in rows], [won for _, won, _ in rows], [found for *_, found in rows])


def sensitivity(
    seeds: Sequence[int], successes: Sequence[bool], factors: Sequence[Mapping[str, float]]
) -> SensitivityReport:
    """Return success against factors.

    Args:
        seeds: of each episode, equal for dependent episodes.
        successes: of each episode.
        factors: of each episode, name → value; absent if it is not known.
    """
    seed_N, won_N = np.array(seeds, np.int64), np.array(successes, bool)
    values = _varying(factors)
    effects = [
        FactorEffect(factor=name, unit=_scale(name)[1], bins=_bins(_binned(name, values), won_N, seed_N))
        for name in values
    ]
    remark = _no_fit(won_N, len(np.unique(seed_N)), len(values))
    if not remark:
        effects = _fitted(effects, values, won_N, seed_N)
    places, edges = _place_map(values, won_N, seed_N)
    return SensitivityReport(
        effects=tuple(effects),
        place_map=places,
        place_edges=edges,
        episodes=len(seed_N),
        seeds=len(np.unique(seed_N)),
        remark=remark,
    )


def _factors(condition: StoredCondition, record: EpisodeRecord) -> dict[str, float]:
    """Return the factors of an episode: of its condition, and of its first step."""
    found: dict[str, float] = {}
    delays = [d for d in record.detail.get("actual_delays", ())[1:] if isinstance(d, int | float)]
    constant = condition.settings.get("delay")
    if isinstance(constant, int):
        found["delay"] = float(constant)
    elif delays:
        found["delay"] = float(np.mean(delays))
    for axis, severity in condition.settings.get("perturbation", {}).items():
        found[f"{SEVERITY}{axis}"] = float(severity)
    try:
        steps = condition.steps(record.episode)
    except UnmeasuredRun:
        return found
    return found | _of_start(steps)


def _of_start(steps: EpisodeSteps) -> dict[str, float]:
    found: dict[str, float] = {}
    if steps.joints.size:
        found |= {f"start of joint {n}": float(value) for n, value in enumerate(steps.joints[0])}
    if steps.blocks_xyz.size and steps.target.size:
        x, y, _ = steps.blocks_xyz[0, steps.target[0]]
        found |= {"target x": float(x), "target y": float(y)}
        goal = steps.goal_input
        if goal.ndim == 2 and goal.shape[1] == 2 and len(goal):
            found["goal error"] = float(np.hypot(goal[0, 0] - x, goal[0, 1] - y))
    return found


def _varying(factors: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Return factor → values (N,) of those that vary; unknown ones are NaN, and 0 for severities."""
    names = dict.fromkeys(name for one in factors for name in one)
    values = {
        name: np.array([one.get(name, 0.0 if name.startswith(SEVERITY) else np.nan) for one in factors])
        for name in names
    }
    kept = {}
    for name, value_N in values.items():
        known = value_N[np.isfinite(value_N)]
        if len(known) >= _COMPLETE * len(value_N) and np.ptp(known) > 1e-6:  # exact goals differ by rounding alone
            kept[name] = value_N
    return kept


def _no_fit(won_N: NDArray[np.bool_], seeds: int, factors: int) -> str:
    successes, failures = int(won_N.sum()), int((~won_N).sum())
    if not factors:
        return "no factor varies"
    if min(successes, failures) < LEAST:
        return f"no fit: {successes} successes and {failures} failures; {LEAST} of each are needed"
    if seeds < LEAST_SEEDS:
        return f"no fit: {seeds} seeds; {LEAST_SEEDS} are needed"
    return ""


def _binned(name: str, values: Mapping[str, Floats]) -> Floats:
    """Return a factor's values (N,) for its bins; of a severity, those under other perturbations are left out."""
    if not name.startswith(SEVERITY):
        return values[name]
    others = [value_N > 0 for other, value_N in values.items() if other.startswith(SEVERITY) and other != name]
    return np.where(np.any(others, axis=0), np.nan, values[name]) if others else values[name]


def _bins(value_N: Floats, won_N: NDArray[np.bool_], seed_N: NDArray[np.int64]) -> tuple[Bin, ...]:
    known = np.isfinite(value_N)
    distinct = np.unique(value_N[known])
    if len(distinct) <= _FEW:
        return tuple(_bin(float(v), float(v), value_N == v, won_N, seed_N) for v in distinct)
    edges = np.quantile(value_N[known], np.linspace(0, 1, _BINS + 1))
    inside = [(value_N >= low) & (value_N < high) for low, high in pairwise(edges)]
    inside[-1] |= value_N == edges[-1]
    ranges = zip(pairwise(edges.tolist()), inside, strict=True)
    return tuple(_bin(low, high, chosen, won_N, seed_N) for (low, high), chosen in ranges)


def _bin(
    low: float, high: float, chosen: NDArray[np.bool_], won_N: NDArray[np.bool_], seed_N: NDArray[np.int64]
) -> Bin:
    return Bin(low, high, int(won_N[chosen].sum()), int(chosen.sum()), len(np.unique(seed_N[chosen])))


def _place_map(
    values: Mapping[str, Floats], won_N: NDArray[np.bool_], seed_N: NDArray[np.int64]
) -> tuple[tuple[tuple[Bin, ...], ...], tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the map of success over the target's place in cells of equal size, and its edges in x and y."""
    if "target x" not in values or "target y" not in values:
        return (), ((), ())
    x_N, y_N = values["target x"], values["target y"]
    edges = [np.linspace(np.nanmin(one), np.nanmax(one), _MAP + 1) for one in (x_N, y_N)]
    row_N, column_N = (
        np.clip(np.searchsorted(edge, one, side="right") - 1, 0, _MAP - 1)
        for edge, one in zip(edges, (x_N, y_N), strict=True)
    )
    cells = tuple(
        tuple(_bin(0.0, 0.0, (row_N == row) & (column_N == column), won_N, seed_N) for column in reversed(range(_MAP)))
        for row in reversed(range(_MAP))
    )
    return cells, (tuple(edges[0].tolist()), tuple(edges[1].tolist()))


def _fitted(
    effects: Iterable[FactorEffect], values: Mapping[str, Floats], won_N: NDArray[np.bool_], seed_N: NDArray[np.int64]
) -> list[FactorEffect]:
    """Return the effects with slopes of one logistic fit."""
    raw_NF = np.column_stack(list(values.values()))
    known = np.isfinite(raw_NF).all(axis=1)
    raw_NF, won, seed = raw_NF[known], won_N[known].astype(float), seed_N[known]
    spread_F = raw_NF.std(axis=0)
    spread_F[spread_F == 0] = 1.0
    design = np.column_stack([np.ones(len(won)), (raw_NF - raw_NF.mean(axis=0)) / spread_F])
    slope, error = logistic(design, won, seed)
    freedom = max(1, len(np.unique(seed)) - 1)
    p_F = 2 * scipy.stats.t.sf(np.abs(slope[1:] / error[1:]), freedom)
    reach = float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, freedom))
    fitted = []
    for n, (one, p, p_holm) in enumerate(zip(effects, p_F.tolist(), holm(p_F.tolist()), strict=True)):
        unit = _scale(one.factor)[0] / spread_F[n]
        middle, half = slope[n + 1] * unit, reach * error[n + 1] * abs(unit)
        ends = np.exp(np.clip([middle, middle - half, middle + half], -50, 50)).tolist()
        interval = Interval(ends[1], ends[2])
        fitted.append(replace(one, odds_ratio=ends[0], interval=interval, p=p, p_holm=p_holm))
    return fitted


def logistic(design: Floats, won: Floats, cluster: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return slopes (F + 1,) of a logistic fit and their standard errors over clusters.

    Args:
        design: (N, F + 1), the first column 1, the others standardised.
        won: (N,) 0 or 1.
        cluster: (N,) equal for dependent episodes.
    """
    precision = np.full(design.shape[1], _PRIOR**-2)
    precision[0] = 1e-4
    slope = np.zeros(design.shape[1])
    hessian = np.diag(precision)
    for _ in range(100):
        chance = scipy.special.expit(design @ slope)
        gradient = design.T @ (won - chance) - precision * slope
        hessian = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
        change = np.linalg.solve(hessian, gradient)
        slope = slope + change * min(1.0, 2.0 / max(float(np.abs(change).max()), 1e-12))
        if np.abs(change).max() < 1e-9:
            break
    score = design * (won - scipy.special.expit(design @ slope))[:, None]
    _, number = np.unique(cluster, return_inverse=True)
    groups = int(number.max()) + 1
    summed = np.zeros((groups, design.shape[1]))
    np.add.at(summed, number, score)
    inverse = np.linalg.inv(hessian)
    sandwich = inverse @ (summed.T @ summed) @ inverse * groups / max(1, groups - 1)
    return slope, np.sqrt(np.maximum(np.diag(sandwich), np.diag(inverse)))


def _scale(factor: str) -> tuple[float, str]:
    if factor in _SCALES:
        return _SCALES[factor]
    if factor.startswith("start of joint"):
        return 0.01, "per 0.01 rad"
    return 1.0, "per step" if factor == "delay" else "per level"
