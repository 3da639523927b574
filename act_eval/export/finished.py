"""A finished run, read whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from act_eval.errors import RunFolderError
from act_eval.metrics import EpisodeMetrics, Summary, read_metrics, summary
from act_eval.results import Manifest, RunFolder
from act_eval.results.records import INVALID, SUCCESS, Timing, read_timings
from act_eval.stats import SuccessRate
from act_eval.types import EpisodeRecord
from act_eval.video import file_name


@dataclass(frozen=True, kw_only=True)
class FinishedArm:
    """One arm; its lists have one entry per episode in suite order."""

    name: str
    folder: Path
    records: tuple[EpisodeRecord, ...]
    metrics: tuple[EpisodeMetrics, ...]
    timings: tuple[Timing, ...]
    summary: Summary

    @property
    def success(self) -> SuccessRate:
        """Successes over valid episodes, with their interval."""
        return SuccessRate.of_outcomes(record.outcome for record in self.records)

    def video(self, record: EpisodeRecord) -> Path | None:
        """Return where the video of an episode lies; None where there is none."""
        path = self.folder / "videos" / file_name(record)
        return path if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run and its arms."""

    folder: Path
    manifest: Manifest
    arms: tuple[FinishedArm, ...]

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return str(self.manifest.configuration["policy"]["name"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what there is to say of each episode of each arm, in their order, as one flat row."""
        suite = self.manifest.suite
        about = {"run": self.folder.name, "suite": suite.hash, "env": suite.env, "policy": self.policy}
        for arm in self.arms:
            for record, metrics, timing in zip(arm.records, arm.metrics, arm.timings, strict=True):
                video = arm.video(record)
                yield {
                    **about,
                    "arm": arm.name,
                    **_flat(record),
                    **{f.name: getattr(metrics, f.name) for f in fields(metrics) if f.name != "episode"},
                    "wall_s": timing.wall_s,
                    "video_s": timing.video_s,
                    "inference_ms": list(timing.inference_ms),
                    "video": None if video is None else str(video.relative_to(self.folder)),
                }


def read_finished(folder: Path) -> FinishedRun:
    """Read a finished run folder.

    Raises:
        RunFolderError: if there is none, it is unfinished or damaged, or its version recorded less.
    """
    if not folder.exists():
        raise RunFolderError(f"{folder} does not exist; name a run folder of evaluate")
    manifest = Manifest.read(folder)
    run = RunFolder(folder, manifest)
    return FinishedRun(
        folder=folder,
        manifest=manifest,
        arms=tuple(_read_arm(run, name, manifest.suite.horizon) for name in manifest.arms),
    )


def _read_arm(run: RunFolder, name: str, horizon: int) -> FinishedArm:
    folder = run.arm(name)
    records = run.episodes(name)
    metrics, timings = read_metrics(folder), read_timings(folder / "timings.jsonl")
    if not len(records) == len(metrics) == len(timings):
        raise RunFolderError(
            f"{folder}: {len(records)} episodes, {len(metrics)} metrics and {len(timings)} timings do not belong "
            "together; run again into another folder"
        )
    return FinishedArm(
        name=name,
        folder=folder,
        records=tuple(records),
        metrics=tuple(metrics),
        timings=tuple(timings),
        summary=summary(records, metrics, timings, horizon),
    )


def _flat(record: EpisodeRecord) -> Mapping[str, Any]:
    """Return a record's fields, those of its detail under names of their own; success is null where it is invalid."""
    own = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "detail"}
    success = None if record.outcome == INVALID else record.outcome == SUCCESS
    return {**own, "success": success, **{f"detail_{name}": value for name, value in sorted(record.detail.items())}}
