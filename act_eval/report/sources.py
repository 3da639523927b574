"""Reads run folders for the page, with one line per missing or damaged part.

The page must open after a failure: it lists a damaged condition, an unfinished run or a missing video and shows the
rest. Only a folder without a run is refused.
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
from act_eval.video import SMALL, VideoMode, is_complete, should_record

_MOST_NAMED = 5
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class ConditionSource:
    """The readable parts of one condition."""

    name: str
    folder: Path
    settings: Mapping[str, Any]
    """Its entry in the manifest."""
    records: Mapping[int, EpisodeRecord]
    """Episode number → record; absent if the episode has not run or its line is damaged."""
    metrics: Mapping[int, EpisodeMetrics]
    summary: Summary | None
    """None if the condition has not finished or recorded no metrics."""
    videos: Mapping[int, str]
    """Episode number → file name in `videos_folder`."""
    videos_folder: Path
    missing: Mapping[int, str]
    """Episode number → reason for its missing video."""
    digests: Mapping[str, str]
    """File of the condition → digest of its content; empty if the run recorded none."""


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """The readable parts of one run."""

    folder: Path
    label: str
    manifest: Manifest
    conditions: tuple[ConditionSource, ...]
    problems: tuple[str, ...] = field(default=())
    """One line per missing or damaged part, with its remedy."""

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
        conditions.append(_read_condition(run, condition, shards.get(name, {}), problems))
    return RunSource(
        folder=folder, label=label, manifest=run.manifest, conditions=tuple(conditions), problems=tuple(problems)
    )


def render_command(folder: Path, condition: str) -> str:
    """Return the command, without `--episodes`, that renders videos of a condition for the page."""
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
    damaged = {episode for episode, path in condition.videos.items() if not is_complete(path)}
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
        digests=_attempt(lambda: condition.digests, problems) or {},
    )


def _mending(folder: Path, manifest: Manifest, name: str, lost: list[int]) -> str:
    """Return the remedy for missing or damaged videos, as the end of a sentence."""
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
