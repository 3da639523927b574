"""A sweep's plots, a few per environment; each is written where its axes have something to show."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from act_eval.plots import Curve, HeatMap, Times, heat_maps, reactions, save, success_against_delay, survival
from act_eval.sweeps.analysis import Analysis
from act_eval.sweeps.grid import PLAIN, Series, Variant
from act_eval.sweeps.results import Cell, Part
from act_eval.types import INVALID

EVENT = "event_step"
"""Key in a record's `detail`: step of a nudge or an exchange of roles, None where none came."""

_Seconds = Callable[[Cell], Sequence[float | None]]
_REACTIONS: tuple[tuple[str, str, str, _Seconds], ...] = (
    ("reaction", "first action informed by the event", "an action ran that knew of it", lambda cell: cell.informed_s),
    ("turn", "turn after the event", "the gripper turned towards its new goal", lambda cell: cell.turned_s),
)
"""Name, title, what counts as a reaction, times."""


def write_figures(folder: Path, analysis: Analysis) -> list[Path]:
    """Write all plots as PNG and SVG, in place of earlier ones; return the PNG files."""
    folder.mkdir(exist_ok=True)
    written = [save(figure, folder / name) for name, figure in figures(analysis)]
    kept = {path for paths in written for path in paths}
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if path not in kept:
            path.unlink()  # of an earlier, smaller grid under this name: it would be out of date
    return [png for png, _ in written]


def figures(analysis: Analysis) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure)."""
    shown = [part for part in analysis.parts if part.cells]
    for env in dict.fromkeys(part.env for part in shown):
        parts = [part for part in shown if part.env == env]
        control_s = parts[0].control_s
        yield f"success_{env}", success_against_delay(_curves(parts), f"{env}: success against delay", control_s)
        if maps := _delay_by_horizon(parts):
            title = f"{env}: success over delay and execution horizon"
            yield f"delay_horizon_{env}", heat_maps(maps, title, "delay d [steps]", "execution horizon s [steps]")
        if maps := _estimated_by_actual(parts):
            title = f"{env}: success over actual and estimated delay"
            yield f"told_actual_{env}", heat_maps(maps, title, "actual delay [steps]", "estimated delay [steps]")
        yield from _times(env, parts)


def _times(env: str, parts: Sequence[Part]) -> Iterator[tuple[str, Figure]]:
    end_s = max((t for _, cell in _cells(parts) for t in cell.success_s if t is not None), default=0.0)
    end_s = max(end_s, max(part.suite.horizon * part.control_s for part in parts))
    if any(cell.success_s for _, cell in _cells(parts)):
        panels = _by_delay(parts, lambda cell: cell.success_s, lambda _: True)
        yield f"time_to_success_{env}", survival(panels, f"{env}: time to success", end_s)
    if any(_has_event(record.detail) for _, cell in _cells(parts) for record in cell.records):
        for name, title, meaning, seconds in _REACTIONS:
            panels = _by_delay(parts, seconds, _has_event)
            if any(times.episodes for entries in panels.values() for times in entries):
                yield f"{name}_{env}", reactions(panels, f"{env}: {title}", end_s, meaning)


def _curves(parts: Sequence[Part]) -> dict[str, list[Curve]]:
    """Return how s is set → a curve per policy, executor and estimated delay."""
    panels: dict[str, list[Curve]] = {}
    for part in parts:
        for series in part.series:
            cells = part.series_cells(series)
            curve = Curve(
                label=_label(part, series),
                delays=tuple(cell.setting.delay for cell in cells),
                rates=tuple(cell.rate for cell in cells),
            )
            panels.setdefault(_rule_text(series.rule), []).append(curve)
    return panels


def _delay_by_horizon(parts: Sequence[Part]) -> list[HeatMap]:
    """Return a map per policy and executor, where more than one s was asked for."""
    maps = []
    for part in parts:
        for executor in dict.fromkeys(series.executor for series in part.series):
            cells = [
                cell
                for cell in part.cells.values()
                if cell.setting.executor == executor and cell.setting.variant == PLAIN
            ]
            horizons = sorted({cell.setting.execution_horizon for cell in cells})
            if len(horizons) > 1:
                refused = [
                    (cell.delay, int(cell.rule))
                    for cell in part.refused
                    if cell.executor == executor and cell.rule.isdecimal() and cell.variant == PLAIN
                ]
                maps.append(
                    HeatMap(
                        title=f"{part.policy} {executor}",
                        across=tuple(sorted({cell.setting.delay for cell in cells} | {d for d, _ in refused})),
                        up=tuple(sorted({*horizons, *(s for _, s in refused)})),
                        rates={(cell.setting.delay, cell.setting.execution_horizon): cell.rate for cell in cells},
                        refused=frozenset(refused),
                    )
                )
    return maps


def _estimated_by_actual(parts: Sequence[Part]) -> list[HeatMap]:
    """Return a map per policy, executor and s with constant estimated delays."""
    maps = []
    for part in parts:
        groups: dict[tuple[str, str], list[Series]] = {}
        for series in part.series:
            if _estimated(series.variant) is not None:
                groups.setdefault((series.executor, series.rule), []).append(series)
        for (executor, rule), rows in groups.items():
            cells = [(_estimated(series.variant) or 0, cell) for series in rows for cell in part.series_cells(series)]
            refused = frozenset(
                (cell.delay, delay_estimator)
                for cell in part.refused
                if cell.executor == executor
                and cell.rule == rule
                and (delay_estimator := _estimated(cell.variant)) is not None
            )
            maps.append(
                HeatMap(
                    title=f"{part.policy} {executor}, {_rule_text(rule)}",
                    across=tuple(sorted({cell.setting.delay for _, cell in cells} | {d for d, _ in refused})),
                    up=tuple(
                        sorted(
                            {delay_estimator for delay_estimator, _ in cells}
                            | {delay_estimator for _, delay_estimator in refused}
                        )
                    ),
                    rates={(cell.setting.delay, delay_estimator): cell.rate for delay_estimator, cell in cells},
                    refused=refused,
                )
            )
    return maps


def _by_delay(
    parts: Sequence[Part], seconds: _Seconds, counts: Callable[[dict[str, object]], bool]
) -> dict[str, list[Times]]:
    """Return delay → times per policy, executor and first way of setting s.

    Args:
        parts: Of one environment.
        seconds: A cell's times, one an episode.
        counts: Whether an episode with this detail is one of those that the plot is about.
    """
    panels: dict[str, list[Times]] = {}
    for part in parts:
        for series in part.series:
            if series.rule != part.series[0].rule:
                continue
            for cell in part.series_cells(series):
                kept = [
                    time
                    for record, time in zip(cell.records, seconds(cell), strict=True)
                    if record.outcome != INVALID and counts(dict(record.detail))
                ]
                happened = tuple(time for time in kept if time is not None)
                times = Times(label=_label(part, series), seconds=happened, never=len(kept) - len(happened))
                panels.setdefault(f"d = {cell.setting.delay}", []).append(times)
    return dict(sorted(panels.items(), key=lambda item: int(item[0].removeprefix("d = "))))


def _has_event(detail: object) -> bool:
    return isinstance(detail, dict) and detail.get(EVENT) is not None


def _cells(parts: Sequence[Part]) -> list[tuple[Part, Cell]]:
    return [(part, cell) for part in parts for cell in part.cells.values()]


def _label(part: Part, series: Series) -> str:
    return f"{part.policy} {series.executor}{series.variant}"


def _estimated(variant: Variant) -> int | None:
    """Return the constant delay that is told, where nothing else differs from the plain variant."""
    alone = variant.delay_estimator.isdecimal() and variant._replace(delay_estimator=PLAIN.delay_estimator) == PLAIN
    return int(variant.delay_estimator) if alone else None


def _rule_text(rule: str) -> str:
    texts = {"half": "s = C / 2", "delay": "s = max(d, 1)"}
    return texts.get(rule) or (f"s = {rule[8:]} − d" if rule.startswith("horizon:") else f"s = {rule}")
