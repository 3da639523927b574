"""One worker's part of an evaluation: run blocks of episodes, and write steps, a video and a shard line of each.

Within a block an episode begins when others request a chunk, so that their requests share a batch.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from act_eval.errors import UsageError
from act_eval.launch import Block, OnSteps
from act_eval.metrics import EpisodeMetrics, OwnMetric, measure
from act_eval.results.records import ShardLine, ShardWriter, writing
from act_eval.results.run import video_name
from act_eval.results.steps import StepRecorder
from act_eval.rollout import Episode, EpisodeClock, rollout
from act_eval.timing import Schedule
from act_eval.types import EpisodeRecord, Executor, Observer, StepRecord, Timing
from act_eval.types.env_hooks import EnvHooks, hooks_of
from act_eval.types.steps import EpisodeSteps
from act_eval.video import Encoder, FrameLog, Layout, RecordedFrames, VideoJob, VideoMode, film, should_record

INITIAL_STATE = "initial_state"
"""Key in a record's `detail`: digest of the simulator state that the episode began in."""


_REPORT_S = 0.25
"""Time between two reports of control steps [s]."""


class EpisodeWorker(Protocol):
    """A worker that runs episodes: environments and a policy, built once."""

    @property
    def envs(self) -> Sequence[gym.Env[Any, Any]]:
        """Environment slots."""
        ...

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor for a condition's schedule; None where nothing is inferred."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker of an evaluation is sent; picklable."""

    folder: Path
    """The run folder."""
    seeds: tuple[int, ...]
    """Episode seeds of the suite."""
    title: str
    """What the videos say of the run."""
    conditions: Mapping[str, Schedule | None]
    """Name → schedule, in the order in which they begin."""
    batch: int
    """Most episodes that run at a time in one worker."""
    video: VideoMode
    metrics: tuple[OwnMetric, ...] = ()
    """User-defined metrics."""

    def moved(self, folder: Path) -> "Job":
        """Return the job with another run folder."""
        return replace(self, folder=folder)

    def run_block(
        self, worker: EpisodeWorker, block: Block, shard: ShardWriter, number: int, on_steps: OnSteps | None = None
    ) -> Iterator[EpisodeRecord]:
        """Run a block; each record is yielded after its files and its shard line are on the disk.

        Raises:
            RunFolderError: if they cannot be written.
        """
        with writing(self.folder):
            yield from _run_block(self, worker, block, shard, number, on_steps)


def cut_blocks(job: Job, done: Mapping[str, set[int]], workers: int) -> list[Block]:
    """Return the episodes that are left to run in blocks, in the order in which they begin.

    Within a block a slot that has finished takes the next episode; slots are empty only at its end, so blocks are
    large. Those of the last condition become smaller, so that workers end together.
    """
    left = {
        condition: [i for i in range(len(job.seeds)) if i not in done.get(condition, set())]
        for condition in job.conditions
    }
    conditions = [condition for condition in job.conditions if left[condition]]
    return [
        Block(condition, part)
        for condition in conditions
        for part in (_shrinking if condition == conditions[-1] else _even)(left[condition], job.batch, workers)
    ]


def _even(episodes: list[int], batch: int, workers: int) -> list[tuple[int, ...]]:
    """Cut into a part per worker, or into fewer that fill a batch."""
    parts = np.array_split(episodes, min(workers, -(-len(episodes) // batch)))
    return [tuple(part.tolist()) for part in parts]


def _shrinking(episodes: list[int], batch: int, workers: int) -> list[tuple[int, ...]]:
    """Cut into whole batches, half of what is left to begin with, and into an even part per worker at last.

    Parts of a single batch would leave half of their slots empty at the end; with four batches little is lost.
    """
    parts: list[tuple[int, ...]] = []
    while workers > 1 and len(episodes) > 4 * workers * batch:
        size = batch * -(-len(episodes) // (2 * workers * batch))
        parts.append(tuple(episodes[:size]))
        episodes = episodes[size:]
    last = np.array_split(episodes, min(workers, len(episodes)))
    return [*parts, *(tuple(part.tolist()) for part in last)]


def _run_block(
    job: Job, bench: EpisodeWorker, block: Block, shard: ShardWriter, worker: int, on_steps: OnSteps | None
) -> Iterator[EpisodeRecord]:
    folder = job.folder / block.condition
    (folder / "steps").mkdir(parents=True, exist_ok=True)
    hooks = hooks_of(bench.envs[0])
    recorder = StepRecorder(folder / "steps", hooks)
    clocks: list[EpisodeClock] = []
    executor = bench.executor(job.conditions[block.condition])
    episodes = [Episode(number, job.seeds[number]) for number in block.episodes]
    frames = FrameLog() if job.video != "none" and hooks.render_state is None else None
    observers: list[Observer] = [recorder, *([] if frames is None else [frames])]
    if on_steps is not None:
        observers.append(_StepCounter(block.condition, on_steps))
    with Encoder() as encoder, _Ended(shard) as ended:
        for record in rollout(bench.envs, executor, episodes, observers, on_clock=clocks.append):
            steps = recorder.take(record.episode)
            record = _with_initial_state(record, steps)
            clock = clocks.pop()
            began = time.perf_counter()
            kept = None if frames is None else frames.take(record.episode)
            video = None
            if should_record(job.video, record.outcome):
                title = f"{job.title} · {block.condition}"
                what = VideoJob(title=title, record=record, steps=steps, control_s=_control_s(bench.envs[0]))
                video = _film(folder / "videos" / video_name(record), bench.envs[0], what, kept, encoder)
            timing = Timing(
                episode=record.episode,
                wall_s=round(clock.wall_s, 4),
                inference_ms=tuple(round(ms, 2) for ms in clock.inference_ms),
                video_s=round(time.perf_counter() - began, 4),
                worker=worker,
            )
            metrics = _measured(job, block.condition, record, steps, bench.envs[0], hooks)
            ended.put(ShardLine(condition=block.condition, record=record, timing=timing, metrics=metrics), video)
            yield from ended.complete()
        yield from ended.complete(wait=True)


class _StepCounter:
    """Reports the control steps of all slots a few times a second, so that progress moves within a batch."""

    def __init__(self, condition: str, on_steps: OnSteps) -> None:
        self._condition, self._on_steps = condition, on_steps
        self._count, self._reported = 0, time.monotonic()

    def on_step(self, record: StepRecord) -> None:
        """Count a step."""
        self._count += 1
        if (now := time.monotonic()) - self._reported > _REPORT_S:
            self._on_steps(self._condition, self._count)
            self._count, self._reported = 0, now

    def on_episode_end(self, record: EpisodeRecord) -> None:
        """Do nothing: the record itself is reported."""


class _Ended:
    """Episodes that have ended, until their videos are complete: then their shard lines may say that all is there."""

    def __init__(self, shard: ShardWriter) -> None:
        self._shard = shard
        self._lines: deque[tuple[ShardLine, Future[None] | None]] = deque()

    def __enter__(self) -> "_Ended":
        return self

    def __exit__(self, *_: object) -> None:
        for _record in self.complete(wait=True):  # whatever stops the others, an episode already run is kept
            pass

    def put(self, line: ShardLine, video: Future[None] | None) -> None:
        """Add an episode, with its video if it has one."""
        self._lines.append((line, video))

    def complete(self, wait: bool = False) -> Iterator[EpisodeRecord]:
        """Write the lines of episodes whose files are complete, in order, and yield their records."""
        while self._lines:
            line, video = self._lines[0]
            if video is not None:
                if not wait and not video.done():
                    return
                video.result()
            self._shard.write(line)  # again, if an interrupt comes before the next line: that adds nothing
            self._lines.popleft()
            yield line.record


def _film(
    path: Path, env: object, what: VideoJob, kept: RecordedFrames | None, encoder: Encoder
) -> Future[None] | None:
    if kept is None:
        return film(path, env, what, Layout(), encoder)
    return film(path, kept, replace(what, steps=kept.numbered(what.steps)), Layout(small_views=False), encoder)


def _with_initial_state(record: EpisodeRecord, steps: EpisodeSteps) -> EpisodeRecord:
    if not steps.state.size:
        return record
    digest = hashlib.sha256(steps.state[0].tobytes()).hexdigest()[:16]
    return replace(record, detail={**record.detail, INITIAL_STATE: digest})


def _measured(
    job: Job, condition: str, record: EpisodeRecord, steps: EpisodeSteps, env: gym.Env[Any, Any], hooks: EnvHooks
) -> EpisodeMetrics:
    """Return an episode's metrics; those of the arm's motion only where the environment tells it from states."""
    motion = hooks.motion(steps.state) if hooks.motion is not None and steps.state.size else None
    schedule = job.conditions[condition]
    late = 0 if schedule is None else schedule.actuation_delay
    return measure(record, steps, _control_s(env), motion, late, job.metrics)


def _control_s(env: gym.Env[Any, Any]) -> float:
    """Return Δt [s]."""
    if "render_fps" not in env.metadata:
        raise UsageError(
            f'{type(env.unwrapped).__name__} does not say how many steps make a second: metadata["render_fps"]'
        )
    return 1 / env.metadata["render_fps"]
