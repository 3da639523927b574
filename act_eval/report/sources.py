"""Read run folders for the page: as much as is there, with a line for everything that is not.

A page is what one opens when something went wrong, so a damaged condition, an unfinished run or a video that is gone is
named and left out, and the rest is shown. Only a folder that holds no run at all is refused.
"""

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from act_eval.errors import RunFolderError
from act_eval.metrics import EpisodeMetrics, Summary
from act_eval.results import Manifest
from act_eval.results.run import StoredCondition, StoredRun, read_run
from act_eval.types import EpisodeRecord
from act_eval.video import SMALL, VideoMode, is_whole, should_record

_MOST_NAMED = 5
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class ConditionSource:
    """One condition of a run, with what could be read of it."""

    name: str
    folder: Path
    settings: Mapping[str, Any]
    """Its entry in the manifest."""
    records: Mapping[int, EpisodeRecord]
    """Episode number → record; episodes that are not there have not run, or their line is damaged."""
    metrics: Mapping[int, EpisodeMetrics]
    summary: Summary | None
    """None where the arm has not finished, or its run recorded less."""
    videos: Mapping[int, str]
    """Episode number → file name in `videos_folder`."""
    videos_folder: Path
    missing: Mapping[int, str]
    """Episode number → why there is no video of it."""


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """One run, with what could be read of it."""

    folder: Path
    label: str
    manifest: Manifest
    conditions: tuple[ConditionSource, ...]
    problems: tuple[str, ...] = field(default=())
    """One line per thing that is missing or damaged, with what mends it."""

    @property
    def policy(self) -> str:
        """Name of the policy."""
        entry = self.manifest.configuration.get("policy")
        return str(entry.get("name", self.label)) if isinstance(entry, Mapping) else self.label


def read_source(folder: Path, label: str) -> RunSource:
    """Read a run folder, finished or not.

    Raises:
        RunFolderError: if it is missing, or its manifest is missing, damaged or of another schema.
    """
    run = read_run(folder)
    problems: list[str] = []
    shards = run.shard_records(problems)
    conditions = []
    for name, condition in run.conditions.items():
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            problems.append(f"{folder}: condition {name!r} is left out: its name is not that of a folder")
            continue
        conditions.append(_read_condition(run, condition, shards.get(name, {}), problems))
    return RunSource(
        folder=folder, label=label, manifest=run.manifest, conditions=tuple(conditions), problems=tuple(problems)
    )


def render_command(folder: Path, condition: str) -> str:
    """Return what makes videos of a condition where the page looks for them, but for `--episodes`."""
    return f"{shlex.join(['act-eval', 'render', str(folder), '--condition', condition])} --size {SMALL}"


def _read_condition(
    run: StoredRun, condition: StoredCondition, shard: Mapping[int, EpisodeRecord], problems: list[str]
) -> ConditionSource:
    folder, seeds, finished = condition.folder, condition.suite.seeds, condition.is_finished
    records = condition.readable_records(problems) if finished else dict(shard)
    foreign = [i for i, r in records.items() if not (0 <= i < len(seeds) and r.seed == seeds[i])]
    if foreign:
        problems.append(
            f"{folder}: {_list(foreign)} {'has' if len(foreign) == 1 else 'have'} other seeds than the suite"
        )
        records = {i: record for i, record in records.items() if i not in foreign}
    if len(records) < len(seeds):
        how = "repeat the run's command to finish it" if not finished else "delete the file and repeat the command"
        problems.append(f"{folder}: {len(records)} of {len(seeds)} episodes are there; {how}")
    metrics = _attempt(lambda: condition.episode_metrics, problems) if finished else None
    whole = metrics is not None and len(records) == len(seeds)
    damaged = {episode for episode, path in condition.videos.items() if not is_whole(path)}
    videos = {episode: path.name for episode, path in condition.videos.items() if episode not in damaged}
    missing = _missing(folder, records, videos, damaged, _video_mode(run.manifest))
    for how in ("gone", "damaged"):
        if lost := [i for i, text in missing.items() if text.endswith(how)]:
            mending = _mending(run.folder, run.manifest, condition.name, lost)
            problems.append(f"{folder}: the video of {_list(lost)} is {how}{mending}")
    return ConditionSource(
        name=condition.name,
        folder=folder,
        settings=condition.settings,
        records=records,
        metrics={one.episode: one for one in metrics or ()},
        summary=_attempt(lambda: condition.metrics, problems) if whole else None,
        videos=videos,
        videos_folder=folder / "videos",
        missing=missing,
    )


def _mending(folder: Path, manifest: Manifest, name: str, lost: list[int]) -> str:
    """Return how a report says what to do about videos that are gone or damaged."""
    if not manifest.replayable:
        return f" and cannot be made again: {manifest.suite.env} was filmed while its episodes ran"
    chosen = ",".join(map(str, lost)) if len(lost) <= _MOST_NAMED else "all"
    return f"; {render_command(folder, name)} --episodes {chosen} makes it again, then repeat this command"


def _attempt(read: Callable[[], _Value], problems: list[str]) -> _Value | None:
    try:
        return read()
    except RunFolderError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _video_mode(manifest: Manifest) -> VideoMode:
    mode = manifest.configuration.get("video")
    return mode if mode in ("all", "failures") else "none"


def _missing(
    folder: Path,
    records: Mapping[int, EpisodeRecord],
    videos: Mapping[int, str],
    damaged: Collection[int],
    mode: VideoMode,
) -> dict[int, str]:
    texts = {}
    for episode, record in records.items():
        if episode in videos:
            continue
        if episode in damaged or should_record(mode, record.outcome):
            texts[episode] = f"the video in {folder.name}/videos is {'damaged' if episode in damaged else 'gone'}"
        else:
            texts[episode] = f"not recorded (--video {mode})"
    return texts


def _list(episodes: list[int]) -> str:
    shown = ", ".join(map(str, sorted(episodes)[:_MOST_NAMED]))
    more = f" and {len(episodes) - _MOST_NAMED} more" if len(episodes) > _MOST_NAMED else ""
    return f"episode{'s' if len(episodes) > 1 else ''} {shown}{more}"
