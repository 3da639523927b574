"""The analysis of a finished sweep: trends with a verdict per series, planned comparisons, recovered shares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from act_eval.stats import holm, minimum_detectable_drop
from act_eval.sweeps.comparisons import Comparison, compare
from act_eval.sweeps.grid import PLAIN, Series
from act_eval.sweeps.results import Cell, RunCells, check_paired
from act_eval.sweeps.trend import MARGIN, Recovery, Trend, Verdict, recovery, trend, verdict, verdict_despite_invalid


@dataclass(frozen=True, kw_only=True)
class SeriesTrend:
    """The trend of one series, in the family of all series of the sweep."""

    run: RunCells
    series: Series
    measured: Trend
    p_holm: float
    family_size: int
    word: Verdict

    @property
    def name(self) -> str:
        """Policy, executor, rule of s, and variant."""
        return f"{self.run.policy} {self.series.executor}, s = {self.series.rule}{self.series.variant}"

    def sentence(self) -> str:
        """Return the finding on the series in one line."""
        m = self.measured
        slope = (
            f"{100 * m.slope:+.1f} points per step of delay [{100 * m.interval.low:+.1f}, {100 * m.interval.high:+.1f}]"
            f", trend p {p_text(m.p)}, adjusted {p_text(self.p_holm)}"
        )
        return f"{self.run.env}, {self.name}: {self.word}: {slope}{self._reason()}"

    def _reason(self) -> str:
        m = self.measured
        change = m.ends.exact()
        ends = (
            f"; from d = {m.delays[0]} to d = {m.delays[-1]} {100 * m.ends.difference:+.1f} points "
            f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
        )
        if self.word == "insensitive to delay":
            return f"{ends}, which excludes a loss of {100 * MARGIN:.0f}"
        if self.word != "inconclusive":
            return ""
        if m.excluded:
            return f"; {m.excluded} episodes are invalid and could change the verdict"
        rate = (m.ends.both + m.ends.only_first) / m.ends.pairs if m.ends.pairs else 0.0
        drop = minimum_detectable_drop(m.ends.pairs, rate)
        size = "no drop of any size" if drop is None else f"a drop of {100 * drop:.0f} points or more"
        return f"{ends}; with {m.episodes} episodes, {size} would be detected with 80 % power"


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The share of naive execution's loss that one cell recovers at the same d and s."""

    run: RunCells
    naive_0: Cell
    naive_d: Cell
    other: Cell
    result: Recovery

    def sentence(self) -> str:
        """Return the share in one line."""
        setting = self.other.setting
        return (
            f"{self.run.env}, {self.run.policy} {setting.executor}{setting.variant}, d = {setting.delay}, "
            f"s = {setting.execution_horizon}: of naive's loss recovered: {self.result.describe()}"
        )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The content of a sweep's tables."""

    runs: tuple[RunCells, ...]
    trends: tuple[SeriesTrend, ...]
    comparisons: tuple[Comparison, ...]
    recovered: tuple[Recovered, ...]

    def sensitive_environments(self) -> dict[str, bool]:
        """Return environment → whether naive execution of any policy falls with delay."""
        naive = [trend for trend in self.trends if is_naive(trend.series)]
        return {
            env: any(t.word == "falls with delay" for t in naive if t.run.env == env)
            for env in dict.fromkeys(trend.run.env for trend in naive)
        }


def analyse(runs: Sequence[RunCells]) -> Analysis:
    """Return the analysis of finished runs.

    Raises:
        SuiteMismatch: if runs of one environment used different suites.
    """
    check_paired(runs)
    return Analysis(
        runs=tuple(runs),
        trends=tuple(_trends(runs)),
        comparisons=tuple(compare(runs)),
        recovered=tuple(found for run in runs for found in _recovered(run)),
    )


def is_naive(series: Series) -> bool:
    """Return whether a series is plain naive execution, the reference of recovered shares."""
    return series.executor == "naive" and series.variant == PLAIN


def p_text(p: float) -> str:
    """Return a p-value with two digits, or `<0.0001`."""
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def _trends(runs: Sequence[RunCells]) -> Iterator[SeriesTrend]:
    found = [
        (run, series, cells) for run in runs for series in run.series if len(cells := run.series_cells(series)) > 1
    ]
    measured = [
        trend([cell.outcomes for cell in cells], [cell.setting.delay for cell in cells]) for _, _, cells in found
    ]
    adjusted = holm([one.p for one in measured])
    for (run, series, cells), one, p_holm in zip(found, measured, adjusted, strict=True):
        word = verdict(one, p_holm)
        if one.excluded:
            word = verdict_despite_invalid([cell.outcomes for cell in cells], one.delays, len(found))
        yield SeriesTrend(run=run, series=series, measured=one, p_holm=p_holm, family_size=len(found), word=word)


def _recovered(run: RunCells) -> Iterator[Recovered]:
    """Yield the recovered share of every cell with a naive cell at its d and s and one without delay."""
    naive = {series.rule: run.series_cells(series) for series in run.series if is_naive(series)}
    for series in run.series:
        perturbed = series.variant.perturbation != PLAIN.perturbation
        if is_naive(series) or series.rule not in naive or perturbed:
            continue
        by_delay = {cell.setting.delay: cell for cell in naive[series.rule]}
        for cell in run.series_cells(series):
            late = by_delay.get(cell.setting.delay)
            if cell.setting.delay and late and 0 in by_delay:
                result = recovery(by_delay[0].outcomes, late.outcomes, cell.outcomes)
                yield Recovered(run=run, naive_0=by_delay[0], naive_d=late, other=cell, result=result)
