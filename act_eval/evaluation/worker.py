"""The work of one worker: run episodes, and write the steps, the video and the shard line of each episode.

An episode starts when others request a chunk, so that their requests share a batch.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np

from act_eval.errors import ActEvalError, UsageError
from act_eval.evaluation.checks import INITIAL_STATE, error_file
from act_eval.launch import Block, Progress
from act_eval.metrics import OwnMetric, measure
from act_eval.perturbations import Perturbations, perturbed, showing
from act_eval.results.records import ShardLine, ShardWriter, writing
from act_eval.results.run import video_name
from act_eval.results.steps import StepRecorder
from act_eval.rollout import Episode, EpisodeClock, rollout
from act_eval.timing import Schedule
from act_eval.types import INVALID, EpisodeRecord, Executor, Observer, StepRecord, Timing
from act_eval.types.env_hooks import hooks_of
from act_eval.types.steps import EpisodeSteps
from act_eval.user_code import Fault
from act_eval.video import Encoder, FrameLog, Layout, RecordedFrames, VideoJob, VideoMode, film, should_record

_Value = TypeVar("_Value")

_REPORT_S = 0.25
"""Interval between two reports of control steps [s]."""


class EpisodeWorker(Protocol):
    """A worker that runs episodes: environments and a policy, built once."""

    @property
    def envs(self) -> Sequence[gym.Env[Any, Any]]:
        """Environment slots."""
        ...

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a new executor for a condition's schedule; the schedule is None without inference."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job description of every worker; picklable."""

    folder: Path
    """The run folder."""
    seeds: tuple[int, ...]
    """Episode seeds of the suite."""
    title: str
    """Title of the run in its videos."""
    conditions: Mapping[str, Schedule | None]
    """Name → schedule, in running order."""
    perturbations: Mapping[str, Perturbations] = field(default_factory=dict)
    """Name of a perturbed condition → its perturbations."""
    batch: int
    """Concurrent episodes per worker."""
    video: VideoMode
    metrics: tuple[OwnMetric, ...] = ()
    """User-defined metrics."""

    def moved(self, folder: Path) -> "Job":
        """Return the job with another run folder."""
        return replace(self, folder=folder)

    def run_episodes(
        self,
        worker: EpisodeWorker,
        condition: str,
        episodes: Iterable[int],
        shard: ShardWriter,
        number: int,
        progress: Progress,
    ) -> Iterator[EpisodeRecord]:
        """Run episodes; yield each record after its files and its shard line are on disk. See `act_eval.launch.Job`.

        Raises:
            RunFolderError: if they cannot be written.
        """
        parts = self.perturbations.get(condition, ())
        with writing(self.folder), perturbed(worker.envs, parts) as envs, Encoder() as encoder, _Ended(shard) as ended:
            folder = self.folder / condition
            (folder / "steps").mkdir(parents=True, exist_ok=True)
            env = envs[0]
            hooks = hooks_of(env)
            recorder = StepRecorder(folder / "steps", hooks)
            clocks: list[EpisodeClock] = []
            executor = worker.executor(self.conditions[condition])
            begun = (Episode(i, self.seeds[i]) for i in episodes)
            frames = FrameLog() if self.video != "none" and hooks.render_state is None else None
            observers: list[Observer] = [recorder, _StepCounter(condition, progress)]
            observers += [] if frames is None else [frames]
            for record in rollout(envs, executor, begun, observers, on_clock=clocks.append):
                steps, files, motion = recorder.take(record.episode)
                record = _with_initial_state(record, steps)
                clock = clocks.pop()
                began = time.perf_counter()
                if fault := recorder.faults.pop(record.episode, None):
                    record = replace(record, outcome=INVALID, error=fault)
                kept = None if frames is None else frames.take(record.episode)
                video = None
                if should_record(self.video, record.outcome):
                    title = f"{self.title} · {condition}"
                    video_job = VideoJob(title=title, record=record, steps=steps, control_s=_control_s(env))
                    path = folder / "videos" / video_name(record)
                    with showing(env, record.seed):
                        record, video = _hooked(record, partial(_film, path, env, video_job, kept, encoder))
                    files |= {} if video is None else {f"videos/{path.name}": ""}
                if isinstance(record.error, Fault):
                    _write_traceback(error_file(self.folder, condition, record.episode), record.error)
                timing = Timing(
                    episode=record.episode,
                    wall_s=round(clock.wall_s, 4),
                    inference_ms=tuple(round(ms, 2) for ms in clock.inference_ms),
                    video_s=round(time.perf_counter() - began, 4),
                    worker=number,
                )
                metrics = measure(
                    record, steps, _control_s(env), motion, self._actuation_delay(condition), self.metrics
                )
                line = ShardLine(condition=condition, record=record, timing=timing, metrics=metrics, files=files)
                ended.lines.append((line, video))
                yield from ended.complete()
            yield from ended.complete(wait=True)

    def _actuation_delay(self, condition: str) -> int:
        schedule = self.conditions[condition]
        return 0 if schedule is None else schedule.actuation_delay


def cut_blocks(job: Job, done: Mapping[str, set[int]], workers: int) -> list[Block]:
    """Return the missing episodes in blocks, in running order.

    A slot takes the next episode of its block when one ends; slots idle only at the end of a block, so blocks are
    large. The blocks of the last condition shrink, so that workers end together.
    """
    left = {
        condition: [i for i in range(len(job.seeds)) if i not in done.get(condition, set())]
        for condition in job.conditions
    }
    conditions = [condition for condition in job.conditions if left[condition]]
    return [
        Block(condition, episodes)
        for condition in conditions
        for episodes in (_shrinking if condition == conditions[-1] else _even)(left[condition], job.batch, workers)
    ]


def _even(episodes: list[int], batch: int, workers: int) -> list[tuple[int, ...]]:
    """Split into one block per worker, or into fewer that fill a batch."""
    blocks = np.array_split(episodes, min(workers, -(-len(episodes) // batch)))
    return [tuple(block.tolist()) for block in blocks]


def _shrinking(episodes: list[int], batch: int, workers: int) -> list[tuple[int, ...]]:
    """Split into blocks of whole batches that halve the rest, and at the end into one block per worker.

    A block of a single batch idles half of its slots at the end; with four batches the loss is small.
    """
    blocks: list[tuple[int, ...]] = []
    while workers > 1 and len(episodes) > 4 * workers * batch:
        size = batch * -(-len(episodes) // (2 * workers * batch))
        blocks.append(tuple(episodes[:size]))
        episodes = episodes[size:]
    last = np.array_split(episodes, min(workers, len(episodes)))
    return [*blocks, *(tuple(block.tolist()) for block in last)]


class _StepCounter:
    """Reports the control steps of all slots a few times per second, so that progress moves within a batch."""

    def __init__(self, condition: str, progress: Progress) -> None:
        self._condition, self._progress = condition, progress
        self._count, self._reported = 0, time.monotonic()

    def on_step(self, record: StepRecord) -> None:
        """Count a step."""
        self._count += 1
        if (now := time.monotonic()) - self._reported > _REPORT_S:
            self._progress(self._condition, self._count)
            self._count, self._reported = 0, now

    def on_episode_end(self, record: EpisodeRecord) -> None:
        """Do nothing: the record itself is reported."""


class _Ended:
    """Ended episodes whose videos are not complete yet; a shard line is written only after all files of its episode."""

    def __init__(self, shard: ShardWriter) -> None:
        self._shard = shard
        self.lines: deque[tuple[ShardLine, Future[None] | None]] = deque()
        """Lines, with the video of the episode if it has one."""

    def __enter__(self) -> "_Ended":
        return self

    def __exit__(self, *_: object) -> None:
        for _record in self.complete(wait=True):  # keeps ended episodes after an error or interrupt too
            pass

    def complete(self, wait: bool = False) -> Iterator[EpisodeRecord]:
        """Write the lines of episodes whose files are complete, in order, and yield their records."""
        while self.lines:
            line, video = self.lines[0]
            if video is not None:
                if not wait and not video.done():
                    return
                video.result()
            self._shard.write(line)  # repeated after an interrupt before the next line, without effect
            self.lines.popleft()
            yield line.record


def _hooked(record: EpisodeRecord, call: Callable[[], _Value]) -> tuple[EpisodeRecord, _Value | None]:
    """Return what a hook of the environment makes of an ended episode; if it raises, the episode is `invalid`."""
    try:
        return record, call()
    except (ActEvalError, OSError):  # no fault of the hook's: a full disk, a lost renderer
        raise
    except Exception as error:  # user code may raise anything
        return replace(record, outcome=INVALID, error=Fault.of(error)), None


def _film(path: Path, env: object, job: VideoJob, kept: RecordedFrames | None, encoder: Encoder) -> Future[None] | None:
    if kept is None:
        return film(path, env, job, Layout(), encoder)
    return film(path, kept, replace(job, steps=kept.numbered(job.steps)), Layout(small_views=False), encoder)


def _write_traceback(path: Path, fault: Fault) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(fault.traceback, encoding="utf-8")


def _with_initial_state(record: EpisodeRecord, steps: EpisodeSteps) -> EpisodeRecord:
    if not steps.state.size:
        return record
    digest = hashlib.sha256(steps.state[0].tobytes()).hexdigest()[:16]
    return replace(record, detail={**record.detail, INITIAL_STATE: digest})


def _control_s(env: gym.Env[Any, Any]) -> float:
    """Return Δt [s]."""
    if "render_fps" not in env.metadata:
        raise UsageError(
            f'{type(env.unwrapped).__name__} has no metadata["render_fps"], which defines the control rate'
        )
    return 1 / env.metadata["render_fps"]
