"""Writes the page: one HTML file, and beside it the files that it loads on demand.

The page runs its own scripts only: a content security policy names their digests, the template escapes every text, and
the data are JSON that cannot close a tag.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from act_eval.errors import MissingRun, RunFolderError
from act_eval.report.overview import overview
from act_eval.report.payload import conditions_of, payload
from act_eval.report.perturbed import perturbed_sections
from act_eval.report.sensitivity import sensitivity_sections
from act_eval.report.sources import ConditionSource, RunSource, read_source
from act_eval.report.tracks import write_track
from act_eval.results.records import write_atomically, writing
from act_eval.results.steps import path_of
from act_eval.results.suites import Suite
from act_eval.results.tables import outcome_notes

PAGE = "report.html"
"""Name of the page within its folder."""
DATA = "report"
"""Folder of the files that the page loads on demand."""

JointNames = Callable[[Suite], Sequence[str]]
"""Suite → names of the action dimensions; empty if they have no names."""

_SCRIPTS = ("dom", "data", "view", "outcomes", "charts", "scatter", "filters", "matrix", "clock", "players")
_MORE_SCRIPTS = ("lanes", "plots", "review", "keys", "main")
_STYLES = ("uplot/uPlot.min", "base", "summary", "review")
_MOST_PROBLEMS = 3
_OUR_ENVIRONMENTS = "act_eval/"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A written page."""

    path: Path
    episodes: int
    problems: tuple[str, ...]
    """One line per missing or damaged part."""


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    joint_names: JointNames | None = None,
    copy_videos: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write `report.html` over one or several runs, and beside it the files that it loads on demand.

    Args:
        folders: Run folders, finished or not. Of several, folders without a run are listed on the page.
        out: Folder of the page; the run folder for a single run.
        joint_names: Returns joint names for the plots; by default those of the shipped environments.
        copy_videos: Copy the videos into the page's folder, so that the folder can be shared.
        progress: Called with the numbers of written and of all episodes.

    Raises:
        RunFolderError: if none of the folders holds a run, or the page cannot be written.
    """
    runs, problems = _read(folders)
    path = out / PAGE
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        if copy_videos:
            runs = [_with_copied_videos(run, out / DATA, i) for i, run in enumerate(runs)]
        tracked, more = _write_tracks(runs, out, joint_names or our_joint_names, progress)
        problems += [line for run in runs for line in run.problems] + more
        title = _title(runs)
        data = payload(runs, path, title)
        for condition in data["conditions"]:
            condition["tracks"] = tracked[condition["key"]]
        content = _render(runs, data, problems, path).encode()
        if not path.is_file() or path.read_bytes() != content:  # an unchanged page keeps its file
            write_atomically(path, content)
    return Report(path=path, episodes=sum(len(a.records) for _, _, a in conditions_of(runs)), problems=tuple(problems))


def our_joint_names(suite: Suite) -> Sequence[str]:
    """Return the joint names of the shipped environments; empty for others."""
    if not suite.env.startswith(_OUR_ENVIRONMENTS):
        return ()
    from act_eval.scenes.arm import JOINTS  # MuJoCo takes its time to load

    return JOINTS


def _read(folders: Sequence[Path]) -> tuple[list[RunSource], list[str]]:
    runs: list[RunSource] = []
    errors: list[RunFolderError] = []
    for folder, label in zip(folders, _labels(folders), strict=True):
        try:
            runs.append(read_source(folder, label))
        except RunFolderError as error:
            errors.append(error)
    if not runs:
        kind = MissingRun if all(isinstance(error, MissingRun) for error in errors) else RunFolderError
        raise kind("\n".join(map(str, errors)))
    return runs, list(map(str, errors))


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of the folders' paths, as many as make them distinct."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-depth:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return ["/".join(part) for part in parts]


def _title(runs: Sequence[RunSource]) -> str:
    policies = dict.fromkeys(run.policy for run in runs)
    envs = dict.fromkeys(run.manifest.suite.env.rpartition("/")[2] for run in runs)
    return " · ".join(", ".join(list(names)[:4]) + (" …" if len(names) > 4 else "") for names in (policies, envs))


def _with_copied_videos(run: RunSource, data: Path, number: int) -> RunSource:
    """Return the run with its videos read from copies below the page's folder."""
    conditions = []
    for condition in run.conditions:
        # By number: names of runs and conditions must not become paths.
        folder = data / f"run{number}" / f"condition{len(conditions)}" / "videos"
        folder.mkdir(parents=True, exist_ok=True)
        for name in condition.videos.values():
            shutil.copyfile(condition.videos_folder / name, folder / name)
        conditions.append(replace(condition, videos_folder=folder))
    return replace(run, conditions=tuple(conditions))


def _write_tracks(
    runs: Sequence[RunSource], out: Path, joint_names: JointNames, progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[str]]:
    """Write the files that the page loads on demand; return condition → folder and missing files, and the problems."""
    conditions = conditions_of(runs)
    total, done = sum(len(condition.records) for _, _, condition in conditions), 0
    found: dict[str, Any] = {}
    problems: list[str] = []
    for i, (_, run, condition) in enumerate(conditions):
        key, lacking = f"c{i}", {}
        for episode, problem in _write_condition_tracks(condition, out / DATA / key, key):
            done += 1
            progress(done, total)
            if problem is not None:
                lacking[episode] = problem
        names = list(joint_names(run.manifest.suite))
        found[key] = {"folder": f"./{DATA}/{key}/", "joints": names, "lacking": lacking}
        problems += _named(list(lacking.values()))
    return found, problems


def _write_condition_tracks(condition: ConditionSource, folder: Path, key: str) -> Iterator[tuple[int, str | None]]:
    """Write a condition's tracks; yield each episode with its error, or None."""
    for episode, record in sorted(condition.records.items()):
        path = folder / f"{episode:04d}.js"
        try:
            steps = path_of(condition.folder / "steps", episode)
            digest = condition.digests.get(f"steps/{steps.name}")
            write_track(path, f"{key}/{episode}", steps, record, condition.metrics.get(episode), digest)
        except RunFolderError as error:
            with suppress(FileNotFoundError):
                path.unlink()  # a track of steps that are gone
            yield episode, str(error)
        else:
            yield episode, None


def _named(lines: Sequence[str]) -> list[str]:
    """Return the first few lines, and how many more there are."""
    more = len(lines) - _MOST_PROBLEMS
    return [*lines[:_MOST_PROBLEMS], *([f"… and {more} more like this"] if more > 0 else [])]


def _render(runs: Sequence[RunSource], data: Mapping[str, Any], problems: Sequence[str], path: Path) -> str:
    script, style = Markup(_joined_scripts()), Markup(_joined_styles())
    plotting = Markup(_asset("uplot/uPlot.iife.min.js"))
    template = _environment().from_string(_asset("report.html.jinja", "templates"))
    return template.render(
        title=data["title"],
        data=data,
        problems=problems,
        perturbed=perturbed_sections(runs, path),
        sensitivity=sensitivity_sections(runs),
        findings=[(run.label, found) for run in runs if (found := _findings(run))],
        overview=overview(runs, data),
        scripts=[plotting, script],
        style=style,
        script_digests=[_digest(text) for text in (plotting, script)],
        style_digest=_digest(style),
        manifests=[{"label": run.label, "policy": run.policy, "text": _manifest_text(run)} for run in runs],
    )


def _findings(run: RunSource) -> list[str]:
    """Return what must be known before a run's rates are read: ignored inputs, and doubtful successes."""
    valid = {one.name: list(one.records.values()) for one in run.conditions if one.records}
    return [*run.manifest.input_check, *outcome_notes(valid)]


def _manifest_text(run: RunSource) -> str:
    values = run.manifest.to_json()
    count = len(values["suite"]["seeds"])
    values["suite"]["seeds"] = f"{count} seeds, listed in the table"
    return json.dumps(values, indent=2, ensure_ascii=False)


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _joined_scripts() -> str:
    parts = [_asset(f"{name}.js") for name in (*_SCRIPTS, *_MORE_SCRIPTS)]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


@cache
def _joined_styles() -> str:
    return "\n".join(_asset(f"{name}.css") for name in _STYLES)


@cache
def _asset(name: str, folder: str = "assets") -> str:
    return files("act_eval.report").joinpath(folder, *name.split("/")).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
