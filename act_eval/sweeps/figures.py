"""A sweep's plots, a few per environment; a plot without data is not written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from act_eval.metrics import EpisodeMetrics
from act_eval.plots import Curve, HeatMap, Times, heat_maps, reactions, save, success_against_delay, survival
from act_eval.stats import SuccessRate
from act_eval.sweeps.analysis import Analysis
from act_eval.sweeps.grid import PLAIN, Series, Variant
from act_eval.sweeps.results import RunCells
from act_eval.types import INVALID

EVENT = "event_step"
"""Key in a record's `detail`: step of a nudge or an exchange of roles, None if there was none."""

_Seconds = Callable[[EpisodeMetrics], float | None]
_REACTIONS: tuple[tuple[str, str, str, _Seconds], ...] = (
    ("reaction", "first action informed by the event", "an informed action ran", lambda m: _s(m.reaction_steps, m)),
    (
        *("turn", "turn after the event", "the gripper turned towards its new goal"),
        lambda m: _s(m.behavioural_reaction_steps, m),
    ),
)
"""Name, title, definition of a reaction, times."""


def _s(steps: int | None, metrics: EpisodeMetrics) -> float | None:
    return None if steps is None else steps * metrics.control_s


def write_figures(folder: Path, analysis: Analysis) -> list[Path]:
    """Write all plots as PNG and SVG, replacing earlier ones; return the PNG files."""
    folder.mkdir(exist_ok=True)
    written = [save(figure, folder / name) for name, figure in figures(analysis)]
    kept = {path for paths in written for path in paths}
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if path not in kept:
            path.unlink()  # outdated, of an earlier grid
    return [png for png, _ in written]


def figures(analysis: Analysis) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure)."""
    finished = [run for run in analysis.runs if run.cells]
    for env in dict.fromkeys(run.env for run in finished):
        runs = [run for run in finished if run.env == env]
        control_s = runs[0].control_s
        yield f"success_{env}", success_against_delay(_curves(runs), f"{env}: success against delay", control_s)
        if maps := _delay_by_horizon(runs):
            title = f"{env}: success over delay and execution horizon"
            yield f"delay_horizon_{env}", heat_maps(maps, title, "delay d [steps]", "execution horizon s [steps]")
        if maps := _estimated_by_actual(runs):
            title = f"{env}: success over actual and estimated delay"
            yield f"estimated_actual_{env}", heat_maps(maps, title, "actual delay [steps]", "estimated delay [steps]")
        yield from _times(env, runs)


def _times(env: str, runs: Sequence[RunCells]) -> Iterator[tuple[str, Figure]]:
    cells = [cell for run in runs for cell in run.cells.values()]
    taken = [one.time_to_success_s or 0.0 for cell in cells for one in cell.measured]
    end_s = max([*taken, *(run.suite.horizon * run.control_s for run in runs)])
    if taken:
        panels = _by_delay(runs, lambda metrics: metrics.time_to_success_s, events=False)
        yield f"time_to_success_{env}", survival(panels, f"{env}: time to success", end_s)
    if any(record.detail.get(EVENT) is not None for cell in cells for record in cell.records):
        for name, title, meaning, seconds in _REACTIONS:
            panels = _by_delay(runs, seconds, events=True)
            if any(times.episodes for entries in panels.values() for times in entries):
                yield f"{name}_{env}", reactions(panels, f"{env}: {title}", end_s, meaning)


def _curves(runs: Sequence[RunCells]) -> dict[str, list[Curve]]:
    """Return rule of s → a curve per policy, executor and variant."""
    panels: dict[str, list[Curve]] = {}
    for run in runs:
        for series in run.series:
            cells = run.series_cells(series)
            curve = Curve(
                label=_label(run, series),
                delays=tuple(cell.setting.delay for cell in cells),
                rates=tuple(cell.rate for cell in cells),
            )
            panels.setdefault(_rule_text(series.rule), []).append(curve)
    return panels


def _delay_by_horizon(runs: Sequence[RunCells]) -> list[HeatMap]:
    """Return a map per policy and executor with more than one s."""
    maps = []
    for run in runs:
        for executor in dict.fromkeys(series.executor for series in run.series):
            cells = {
                (one.setting.delay, one.setting.execution_horizon): one.rate
                for one in run.cells.values()
                if one.setting.executor == executor and one.setting.variant == PLAIN
            }
            refused = (
                (one.delay, int(one.rule))
                for one in run.refused
                if one.executor == executor and one.rule.isdecimal() and one.variant == PLAIN
            )
            if len({horizon for _, horizon in cells}) > 1:
                maps.append(_heat_map(f"{run.policy} {executor}", cells, frozenset(refused)))
    return maps


def _estimated_by_actual(runs: Sequence[RunCells]) -> list[HeatMap]:
    """Return a map per policy, executor and s with constant estimated delays."""
    maps = []
    for run in runs:
        groups: dict[tuple[str, str], dict[tuple[int, int], SuccessRate]] = {}
        for series in run.series:
            if (steps := _estimated(series.variant)) is not None:
                rates = {(cell.setting.delay, steps): cell.rate for cell in run.series_cells(series)}
                groups.setdefault((series.executor, series.rule), {}).update(rates)
        for (executor, rule), cells in groups.items():
            refused = (
                (one.delay, steps)
                for one in run.refused
                if one.executor == executor and one.rule == rule and (steps := _estimated(one.variant)) is not None
            )
            maps.append(_heat_map(f"{run.policy} {executor}, {_rule_text(rule)}", cells, frozenset(refused)))
    return maps


def _heat_map(title: str, rates: Mapping[tuple[int, int], SuccessRate], refused: frozenset[tuple[int, int]]) -> HeatMap:
    across, up = (tuple(sorted({place[i] for place in (*rates, *refused)})) for i in (0, 1))
    return HeatMap(title=title, across=across, up=up, rates=rates, refused=refused)


def _by_delay(runs: Sequence[RunCells], seconds: _Seconds, events: bool) -> dict[str, list[Times]]:
    """Return delay → times per policy and executor, for the first rule of s; with `events`, of episodes with one."""
    panels: dict[str, list[Times]] = {}
    for run in runs:
        for series in run.series:
            if series.rule != run.series[0].rule:
                continue
            for cell in run.series_cells(series):
                kept = [
                    seconds(metrics)
                    for record, metrics in zip(cell.records, cell.measured, strict=True)
                    if record.outcome != INVALID and not (events and record.detail.get(EVENT) is None)
                ]
                happened = tuple(time for time in kept if time is not None)
                times = Times(label=_label(run, series), seconds=happened, never=len(kept) - len(happened))
                panels.setdefault(f"d = {cell.setting.delay}", []).append(times)
    return dict(sorted(panels.items(), key=lambda item: int(item[0].removeprefix("d = "))))


def _label(run: RunCells, series: Series) -> str:
    return f"{run.policy} {series.executor}{series.variant}"


def _estimated(variant: Variant) -> int | None:
    """Return the constant estimated delay of a variant that differs from the plain one in nothing else."""
    alone = variant.delay_estimator.isdecimal() and variant._replace(delay_estimator=PLAIN.delay_estimator) == PLAIN
    return int(variant.delay_estimator) if alone else None


def _rule_text(rule: str) -> str:
    texts = {"half": "s = C / 2", "delay": "s = max(d, 1)"}
    return texts.get(rule) or (f"s = {rule[8:]} − d" if rule.startswith("horizon:") else f"s = {rule}")
