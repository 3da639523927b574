"""The page's data of every run, condition and episode: plain JSON values, columns instead of rows to stay small."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from act_eval.diagnostics.grasp_choice import describe, grasp_choices_of, grasp_point, named_block
from act_eval.report.sources import ConditionSource, RunSource, render_command
from act_eval.results.suites import Suite
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, OUTCOMES, SUCCESS, EpisodeRecord
from act_eval.video import FPS

SCHEMA = 2
"""Version of the page's data, which its scripts check."""

ANSWERLESS = "expert"
"""Name of the group of a condition without inference."""


def payload(runs: Sequence[RunSource], page: Path, title: str) -> dict[str, Any]:
    """Return everything that the page's scripts need at once.

    Args:
        runs: The runs of the page.
        page: Path of the page; links are relative to its folder.
        title: Title of the page.
    """
    suites = suites_of(runs)
    conditions = [
        _condition(condition, run, number, list(suites).index(run.manifest.suite.hash), f"c{i}", page)
        for i, (number, run, condition) in enumerate(conditions_of(runs))
    ]
    labels = _short_labels(conditions, len(runs))
    values = {
        "schema": SCHEMA,
        "title": title,
        "outcomes": list(OUTCOMES),
        "success": SUCCESS,
        "invalid": INVALID,
        "runs": [{"label": run.label, "policy": run.policy} for run in runs],
        "suites": [_suite(suite, _control_s(suite, runs)) for suite in suites.values()],
        "conditions": [{**condition, "label": label} for condition, label in zip(conditions, labels, strict=True)],
    }
    return _finite(values)


def suites_of(runs: Sequence[RunSource]) -> dict[str, Suite]:
    """Return the suites of all runs by their hashes."""
    return {run.manifest.suite.hash: run.manifest.suite for run in runs}


def conditions_of(runs: Sequence[RunSource]) -> list[tuple[int, RunSource, ConditionSource]]:
    """Return every condition with its run and the run's number, in the order of the page, grouped by suite."""
    found = [(i, run, condition) for i, run in enumerate(runs) for condition in run.conditions]
    order = {suite: i for i, suite in enumerate(suites_of(runs))}
    return sorted(found, key=lambda entry: order[entry[1].manifest.suite.hash])


def link(target: Path, page: Path) -> str:
    """Return the address of a file or folder as seen from the page, percent-encoded."""
    relative = Path(os.path.relpath(target, page.parent)).as_posix()
    return "./" + quote(relative)


def _control_s(suite: Suite, runs: Sequence[RunSource]) -> float:
    """Return Δt [s] as measured by the episodes, else as declared by the environment."""
    conditions = (condition for run in runs if run.manifest.suite == suite for condition in run.conditions)
    measured = next((one.control_s for condition in conditions for one in condition.metrics.values()), None)
    hertz = suite.facts.get("control_hz")
    declared = 1 / hertz if isinstance(hertz, (int, float)) and hertz > 0 else 1 / FPS
    return measured if measured is not None and measured > 0 else declared


def _suite(suite: Suite, control_s: float) -> dict[str, Any]:
    name = suite.env.rpartition("/")[2]
    return {
        "hash": suite.hash,
        "env": suite.env,
        "name": name,
        "seeds": [str(seed) for seed in suite.seeds],  # text: JavaScript's numbers end at 2**53
        "horizon": suite.horizon,
        "control_s": control_s,
        "unit": suite.command_unit,
    }


def _condition(
    condition: ConditionSource, run: RunSource, number: int, suite: int, key: str, page: Path
) -> dict[str, Any]:
    records = list(condition.records.values())
    count = len(run.manifest.suite.seeds)
    rate = SuccessRate.of_outcomes(record.outcome for record in records)
    low, high = rate.wilson()
    grasps = grasp_choices_of(records)
    settings = _settings(condition.settings)
    return {
        "key": key,
        "run": number,
        "suite": suite,
        "name": condition.name,
        "policy": run.policy,
        "settings": settings,
        "group": _group(run.policy, settings),
        "delay": _mean_delay(settings.get("delay"), records),
        "successes": rate.successes,
        "trials": rate.trials,
        "low": low,
        "high": high,
        "counts": {name: n for name in OUTCOMES if (n := sum(r.outcome == name for r in records))},
        "steps_mean": sum(r.steps for r in records) / len(records) if records else None,
        "grasps": describe(grasps, named_block(run.manifest.suite.kwargs)) if grasps else None,
        "metrics": dict(condition.summary or {}),
        "videos": link(condition.videos_folder, page) + "/",
        "render": render_command(run.folder, condition.name) if run.manifest.replayable else None,
        "episodes": _episodes(condition, count),
    }


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a condition's entry in the manifest as the page shows it: the perturbation in a word."""
    shown = {str(key): value for key, value in entry.items() if not str(key).startswith("perturbation")}
    if found := entry.get("perturbation"):
        shown["perturbation"] = " + ".join(f"{axis} {severity}" for axis, severity in found.items())
    return shown


def _episodes(condition: ConditionSource, count: int) -> dict[str, Any]:
    """Return columns over the episodes of the suite; null for missing episodes."""
    rows = [condition.records.get(i) for i in range(count)]
    points = [None if row is None else grasp_point(row) for row in rows]
    return {
        "outcome": [None if row is None else OUTCOMES.index(row.outcome) for row in rows],
        "steps": [None if row is None else row.steps for row in rows],
        "grasp_choice": [None if row is None else _rounded(row.grasp_choice, 3) for row in rows],
        "grasp_point": [None if point is None else [round(point[0], 3), round(point[1], 3)] for point in points],
        "switch_jump": [_largest_jump(condition, i) for i in range(count)],
        "underrun": [None if row is None else row.underrun_steps for row in rows],
        "video": [
            quote(condition.videos[i]) if row is not None and i in condition.videos else None
            for i, row in enumerate(rows)
        ],
        "why": {i: text for i, text in condition.missing.items() if not text.startswith("not recorded")},
        "unrecorded": next((text for text in condition.missing.values() if text.startswith("not recorded")), None),
        "error": {i: row.error for i, row in enumerate(rows) if row is not None and row.error},
    }


def _largest_jump(condition: ConditionSource, episode: int) -> float | None:
    metrics = condition.metrics.get(episode)
    jumps = [jump for jump in metrics.switch_jumps if jump is not None] if metrics else []
    return round(max(jumps), 4) if jumps else None


def _group(policy: str, settings: Mapping[str, Any]) -> str:
    """Return the line that a condition belongs to in the plot of success against delay: every setting but the delay."""
    if "delay" not in settings:
        return f"{policy} {ANSWERLESS}" if policy != ANSWERLESS else policy
    method = str(settings.get("executor", ""))
    more = [f"{key.replace('_', ' ')} {value}" for key, value in settings.items() if key not in ("executor", "delay")]
    return " · ".join([policy, method, *more])


def _mean_delay(delay: Any, records: Sequence[EpisodeRecord]) -> float | None:
    """Return a constant delay, or the mean actual delay without the first chunk [steps]."""
    if isinstance(delay, int) or delay is None:
        return delay
    lists = [found for r in records if isinstance(found := r.detail.get("actual_delays"), list)]
    actual = [d for found in lists for d in found[1:] if isinstance(d, (int, float))]
    return round(sum(actual) / len(actual), 3) if actual else None


def _short_labels(conditions: Sequence[Mapping[str, Any]], runs: int) -> list[str]:
    """Return distinct labels: the condition's name, prefixed by its policy or run if names repeat."""
    names = [str(condition["name"]) for condition in conditions]
    if runs == 1:
        return names
    with_policy = [f"{condition['policy']} {condition['name']}" for condition in conditions]
    keys = [(condition["suite"], label) for condition, label in zip(conditions, with_policy, strict=True)]
    return [
        label if keys.count(key) == 1 else f"{label} ({condition['run'] + 1})"
        for condition, label, key in zip(conditions, with_policy, keys, strict=True)
    ]


def _finite(value: Any) -> Any:
    """Return JSON values with null for every number that is not finite, which JSON does not allow."""
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
