"""What the page holds of every run, arm and episode: plain JSON values, columns instead of rows to stay small."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from act_eval.diagnostics.grasp_choice import closing_point, describe, modes_of, named_block
from act_eval.report.sources import ArmSource, RunSource, render_command
from act_eval.results.suites import Suite
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, OUTCOMES, SUCCESS, EpisodeRecord
from act_eval.video import FPS

SCHEMA = 1
"""Version of the page's data, which its scripts check."""

ANSWERLESS = "expert"
"""Name of the group of an arm without inference."""


def payload(runs: Sequence[RunSource], page: Path, title: str) -> dict[str, Any]:
    """Return everything that the page's scripts need at once.

    Args:
        runs: What it shows.
        page: Where the page will lie; links are relative to its folder.
        title: Of the page.
    """
    suites = suites_of(runs)
    arms = [
        _arm(arm, run, number, list(suites).index(run.manifest.suite.hash), f"a{i}", page)
        for i, (number, run, arm) in enumerate(arms_of(runs))
    ]
    labels = _short_labels(arms, len(runs))
    values = {
        "schema": SCHEMA,
        "title": title,
        "outcomes": list(OUTCOMES),
        "success": SUCCESS,
        "invalid": INVALID,
        "runs": [{"label": run.label, "policy": run.policy} for run in runs],
        "suites": [_suite(suite, _control_s(suite, runs)) for suite in suites.values()],
        "arms": [{**arm, "label": label} for arm, label in zip(arms, labels, strict=True)],
    }
    return _finite(values)


def suites_of(runs: Sequence[RunSource]) -> dict[str, Suite]:
    """Return the suites of all runs by their hashes."""
    return {run.manifest.suite.hash: run.manifest.suite for run in runs}


def arms_of(runs: Sequence[RunSource]) -> list[tuple[int, RunSource, ArmSource]]:
    """Return every arm with its run and the run's number, in the order of the page; suites stand together."""
    found = [(i, run, arm) for i, run in enumerate(runs) for arm in run.arms]
    order = {suite: i for i, suite in enumerate(suites_of(runs))}
    return sorted(found, key=lambda entry: order[entry[1].manifest.suite.hash])


def link(target: Path, page: Path) -> str:
    """Return the address of a file or folder as seen from the page, with every sign escaped that an address needs."""
    relative = Path(os.path.relpath(target, page.parent)).as_posix()
    return "./" + quote(relative)


def _control_s(suite: Suite, runs: Sequence[RunSource]) -> float:
    """Return Δt [s] as the episodes measured it; where none did, as the environment says."""
    arms = (arm for run in runs if run.manifest.suite == suite for arm in run.arms)
    measured = next((one.control_s for arm in arms for one in arm.metrics.values()), None)
    hertz = suite.facts.get("control_hz")
    said = 1 / hertz if isinstance(hertz, (int, float)) and hertz > 0 else 1 / FPS
    return measured if measured is not None and measured > 0 else said


def _suite(suite: Suite, control_s: float) -> dict[str, Any]:
    name = suite.env.rpartition("/")[2]
    return {
        "hash": suite.hash,
        "env": suite.env,
        "name": name,
        "seeds": [str(seed) for seed in suite.seeds],  # text: JavaScript's numbers end at 2**53
        "horizon": suite.horizon,
        "control_s": control_s,
    }


def _arm(arm: ArmSource, run: RunSource, number: int, suite: int, key: str, page: Path) -> dict[str, Any]:
    records = list(arm.records.values())
    count = len(run.manifest.suite.seeds)
    rate = SuccessRate.of_outcomes(record.outcome for record in records)
    low, high = rate.wilson()
    modes = modes_of(records)
    settings = {str(k): v for k, v in arm.settings.items()}
    return {
        "key": key,
        "run": number,
        "suite": suite,
        "name": arm.name,
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
        "modes": describe(modes, named_block(run.manifest.suite.kwargs)) if modes else None,
        "metrics": dict(arm.summary or {}),
        "videos": link(arm.videos_folder, page) + "/",
        "render": render_command(run.folder, arm.name) if run.manifest.replayable else None,
        "episodes": _episodes(arm, count),
    }


def _episodes(arm: ArmSource, count: int) -> dict[str, Any]:
    """Return columns over the episodes of the suite; null where an episode is not there."""
    rows = [arm.records.get(i) for i in range(count)]
    places = [None if row is None else closing_point(row) for row in rows]
    return {
        "outcome": [None if row is None else OUTCOMES.index(row.outcome) for row in rows],
        "steps": [None if row is None else row.steps for row in rows],
        "index": [None if row is None else _rounded(row.collapse_index, 3) for row in rows],
        "place": [None if place is None else [round(place[0], 3), round(place[1], 3)] for place in places],
        "seam": [_largest_jump(arm, i) for i in range(count)],
        "starved": [None if row is None else row.starved_steps for row in rows],
        "video": [quote(arm.videos[i]) if row is not None and i in arm.videos else None for i, row in enumerate(rows)],
        "why": {i: text for i, text in arm.missing.items() if not text.startswith("not recorded")},
        "unrecorded": next((text for text in arm.missing.values() if text.startswith("not recorded")), None),
        "error": {i: row.error for i, row in enumerate(rows) if row is not None and row.error},
    }


def _largest_jump(arm: ArmSource, episode: int) -> float | None:
    metrics = arm.metrics.get(episode)
    jumps = [jump for jump in metrics.seam_jumps if jump is not None] if metrics else []
    return round(max(jumps), 4) if jumps else None


def _group(policy: str, settings: Mapping[str, Any]) -> str:
    """Return the line that an arm belongs to in the plot of success against delay: everything but its delay."""
    if "delay" not in settings:
        return f"{policy} {ANSWERLESS}" if policy != ANSWERLESS else policy
    method = str(settings.get("executor", ""))
    more = [f"{key} {value}" for key, value in settings.items() if key not in ("executor", "delay")]
    return " · ".join([policy, method, *more])


def _mean_delay(delay: Any, records: Sequence[EpisodeRecord]) -> float | None:
    """Return a constant delay, or the mean of the delays that happened; the first chunk has none [steps]."""
    if isinstance(delay, int) or delay is None:
        return delay
    lists = [found for r in records if isinstance(found := r.detail.get("actual_delays"), list)]
    happened = [d for found in lists for d in found[1:] if isinstance(d, (int, float))]
    return round(sum(happened) / len(happened), 3) if happened else None


def _short_labels(arms: Sequence[Mapping[str, Any]], runs: int) -> list[str]:
    """Return labels that tell arms apart: the arm's name, with its policy or its run before it where names repeat."""
    names = [str(arm["name"]) for arm in arms]
    if runs == 1:
        return names
    with_policy = [f"{arm['policy']} {arm['name']}" for arm in arms]
    keys = [(arm["suite"], label) for arm, label in zip(arms, with_policy, strict=True)]
    return [
        label if keys.count(key) == 1 else f"{label} ({arm['run'] + 1})"
        for arm, label, key in zip(arms, with_policy, keys, strict=True)
    ]


def _finite(value: Any) -> Any:
    """Return JSON values with null for every number that is not finite: a browser would read none of the others."""
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
