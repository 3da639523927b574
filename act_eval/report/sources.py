"""Read run folders for the page: as much as is there, with a line for everything that is not.

A page is what one opens when something went wrong, so a damaged arm, an unfinished run or a video that is gone is
named and left out, and the rest is shown. Only a folder that holds no run at all is refused.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from act_eval.decoding import decode
from act_eval.errors import RunFolderError, UsageError
from act_eval.metrics import EpisodeMetrics, Summary, read_metrics, summarise
from act_eval.results import Manifest, RunFolder
from act_eval.results.records import ShardLine, check_outcome, read_shard
from act_eval.types import EpisodeRecord
from act_eval.video import SMALL, VideoMode, is_whole, wanted

_VIDEO = re.compile(r"(\d{4,})_seed(\d+)_\w+\.mp4")
_MOST_NAMED = 5
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class ArmSource:
    """One arm of a run, with what could be read of it."""

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
    arms: tuple[ArmSource, ...]
    problems: tuple[str, ...] = field(default=())
    """One line per thing that is missing or damaged, with what mends it."""

    @property
    def policy(self) -> str:
        """Name of the policy."""
        entry = self.manifest.configuration.get("policy")
        return str(entry.get("name", self.label)) if isinstance(entry, Mapping) else self.label


def read_run(folder: Path, label: str) -> RunSource:
    """Read a run folder, finished or not.

    Raises:
        RunFolderError: if it is missing, or its manifest is missing, damaged or of another schema.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder} does not exist; name a run folder of evaluate")
    manifest = Manifest.read(folder)
    problems: list[str] = []
    shards = _shards(folder, problems)
    arms = []
    for name in manifest.arms:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            problems.append(f"{folder}: arm {name!r} is left out: its name is not that of a folder")
            continue
        arms.append(_read_arm(folder, manifest, name, shards.get(name, {}), problems))
    return RunSource(folder=folder, label=label, manifest=manifest, arms=tuple(arms), problems=tuple(problems))


def run_folders(places: Iterable[Path]) -> list[Path]:
    """Return the run folders that are meant: a folder of run folders, as a sweep makes, stands for those in it.

    Raises:
        UsageError: if none is named, or one is named twice.
    """
    found: list[Path] = []
    for place in places:
        inside = [] if (place / "manifest.json").exists() or not place.is_dir() else sorted(place.iterdir())
        found += [entry for entry in inside if (entry / "manifest.json").is_file()] or [place]
    if not found:
        raise UsageError("report takes at least one run folder of evaluate")
    resolved = [folder.resolve() for folder in found]
    twice = sorted({str(folder) for folder, whole in zip(found, resolved, strict=True) if resolved.count(whole) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is named twice; name every run once")
    return found


def render_command(folder: Path, arm: str) -> str:
    """Return what makes videos of an arm where the page looks for them, but for `--episodes`."""
    return f"{shlex.join(['python', 'scripts/render.py', str(folder), '--arm', arm])} --size {SMALL}"


def _shards(folder: Path, problems: list[str]) -> dict[str, dict[int, EpisodeRecord]]:
    """Return the finished episodes of a run under way, by arm."""
    found: dict[str, dict[int, EpisodeRecord]] = {}
    for path in sorted((folder / "shards").glob("*.jsonl")):
        for line in _until_damage(read_shard(path), problems):
            found.setdefault(line.arm, {})[line.record.episode] = line.record
    return found


def _until_damage(lines: Iterable[ShardLine], problems: list[str]) -> Iterable[ShardLine]:
    try:
        yield from lines
    except RunFolderError as error:
        problems.append(str(error))


def _read_arm(
    folder: Path, manifest: Manifest, name: str, shard: Mapping[int, EpisodeRecord], problems: list[str]
) -> ArmSource:
    arm, seeds = folder / name, manifest.suite.seeds
    finished = (arm / "episodes.jsonl").is_file()
    records = _records(RunFolder(folder, manifest), name, problems) if finished else dict(shard)
    foreign = [i for i, r in records.items() if not (0 <= i < len(seeds) and r.seed == seeds[i])]
    if foreign:
        problems.append(f"{arm}: {_list(foreign)} {'has' if len(foreign) == 1 else 'have'} other seeds than the suite")
        records = {i: record for i, record in records.items() if i not in foreign}
    if len(records) < len(seeds):
        how = "repeat the run's command to finish it" if not finished else "delete the file and repeat the command"
        problems.append(f"{arm}: {len(records)} of {len(seeds)} episodes are there; {how}")
    metrics = _attempt(lambda: {one.episode: one for one in read_metrics(arm)}, problems) if finished else None
    whole = metrics is not None and len(records) == len(seeds)
    videos, damaged = _videos(arm)
    missing = _missing(arm, records, videos, damaged, _video_mode(manifest))
    for how in ("gone", "damaged"):
        if lost := [i for i, text in missing.items() if text.endswith(how)]:
            problems.append(f"{arm}: the video of {_list(lost)} is {how}{_mending(folder, manifest, name, lost)}")
    return ArmSource(
        name=name,
        folder=arm,
        settings=_settings(manifest, name),
        records=records,
        metrics=metrics or {},
        summary=_attempt(lambda: summarise(arm), problems) if whole else None,
        videos=videos,
        videos_folder=arm / "videos",
        missing=missing,
    )


def _mending(folder: Path, manifest: Manifest, arm: str, lost: list[int]) -> str:
    """Return how a report says what to do about videos that are gone or damaged."""
    if not manifest.replayable:
        return f" and cannot be made again: {manifest.suite.env} was filmed while its episodes ran"
    chosen = ",".join(map(str, lost)) if len(lost) <= _MOST_NAMED else "all"
    return f"; {render_command(folder, arm)} --episodes {chosen} makes it again, then repeat this command"


def _settings(manifest: Manifest, name: str) -> Mapping[str, Any]:
    entry = manifest.configuration["arms"][name]
    return entry if isinstance(entry, Mapping) else {}


def _records(run: RunFolder, name: str, problems: list[str]) -> dict[int, EpisodeRecord]:
    """Return an arm's records; of a damaged file, the lines that can be read."""
    try:
        return {record.episode: record for record in run.episodes(name)}
    except RunFolderError as error:
        problems.append(str(error))
    found: dict[int, EpisodeRecord] = {}
    path = run.arm(name) / "episodes.jsonl"
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        record = _record(line, f"{path}, line {number}")
        if record is not None:
            found[record.episode] = record
    return found


def _record(line: bytes, place: str) -> EpisodeRecord | None:
    try:
        record = decode(line, EpisodeRecord, place)
        check_outcome(record, place)
    except RunFolderError:
        return None
    return record


def _attempt(read: Callable[[], _Value], problems: list[str]) -> _Value | None:
    try:
        return read()
    except RunFolderError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _videos(arm: Path) -> tuple[dict[int, str], set[int]]:
    """Return the names of the videos that can be played, and the episodes of those that cannot."""
    folder = arm / "videos"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    there = {int(found[1]): name for name in names if (found := _VIDEO.fullmatch(name))}
    damaged = {episode for episode, name in there.items() if not is_whole(folder / name)}
    return {episode: name for episode, name in there.items() if episode not in damaged}, damaged


def _video_mode(manifest: Manifest) -> VideoMode:
    mode = manifest.configuration.get("video")
    return mode if mode in ("all", "failures") else "none"


def _missing(
    arm: Path,
    records: Mapping[int, EpisodeRecord],
    videos: Mapping[int, str],
    damaged: Collection[int],
    mode: VideoMode,
) -> dict[int, str]:
    texts = {}
    for episode, record in records.items():
        if episode in videos:
            continue
        if episode in damaged or wanted(mode, record.outcome):
            texts[episode] = f"the video in {arm.name}/videos is {'damaged' if episode in damaged else 'gone'}"
        else:
            texts[episode] = f"not recorded (--video {mode})"
    return texts


def _list(episodes: list[int]) -> str:
    shown = ", ".join(map(str, sorted(episodes)[:_MOST_NAMED]))
    more = f" and {len(episodes) - _MOST_NAMED} more" if len(episodes) > _MOST_NAMED else ""
    return f"episode{'s' if len(episodes) > 1 else ''} {shown}{more}"
