"""One worker's part of an evaluation: run blocks of episodes, and leave steps, a video and a shard line of each.

A block is a few episodes of one arm that start together, so that their requests are due together and share a batch.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from act_eval.errors import UsageError
from act_eval.metrics import EpisodeMetrics, measure
from act_eval.records import ShardLine, ShardWriter, Timing, writing
from act_eval.rollout import Episode, EpisodeClock, rollout
from act_eval.steps import EpisodeSteps, StepRecorder
from act_eval.timing import Schedule
from act_eval.types import EpisodeRecord, Executor
from act_eval.video import Caption, VideoMode, episode_frames, file_name, wanted, write_video

INITIAL_STATE = "initial_state"
"""Key in a record's `detail`: digest of the simulator state that the episode began in."""


class Workbench(Protocol):
    """What a worker holds while it lives: environments and a policy, built once."""

    @property
    def facts(self) -> Any:
        """What whoever plans the run must know of them; picklable."""
        ...

    @property
    def envs(self) -> Sequence[gym.Env[Any, Any]]:
        """Environment slots."""
        ...

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor for an arm's schedule; None where nothing is inferred."""
        ...

    def close(self) -> None:
        """Release what the environments hold."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker of an evaluation is told; picklable."""

    folder: Path
    """The run folder."""
    seeds: tuple[int, ...]
    """Episode seeds of the suite."""
    title: str
    """What the videos say of the run."""
    arms: Mapping[str, Schedule | None]
    """Name → schedule, in the order in which they begin."""
    batch: int
    """Most episodes that run at a time in one worker."""
    video: VideoMode


@dataclass(frozen=True)
class Block:
    """Episodes of one arm that run together."""

    arm: str
    episodes: tuple[int, ...]


def plan(job: Job, done: Mapping[str, set[int]], workers: int) -> list[Block]:
    """Return what is left to do in blocks: equally large within an arm, a multiple of the workers in number."""
    blocks: list[Block] = []
    for arm in job.arms:
        left = [i for i in range(len(job.seeds)) if i not in done.get(arm, set())]
        if left:
            rounds = -(-len(left) // (job.batch * workers))
            parts = np.array_split(left, min(rounds * workers, len(left)))
            blocks += [Block(arm, tuple(part.tolist())) for part in parts]
    return blocks


def run_block(job: Job, bench: Workbench, block: Block, shard: ShardWriter, worker: int) -> Iterator[EpisodeRecord]:
    """Run a block; each record is yielded after its files and its shard line are on the disk.

    Raises:
        RunFolderError: if they cannot be written.
    """
    with writing(job.folder):
        yield from _run_block(job, bench, block, shard, worker)


def _run_block(job: Job, bench: Workbench, block: Block, shard: ShardWriter, worker: int) -> Iterator[EpisodeRecord]:
    folder = job.folder / block.arm
    (folder / "steps").mkdir(parents=True, exist_ok=True)
    recorder = StepRecorder(folder / "steps")
    clocks: list[EpisodeClock] = []
    executor = bench.executor(job.arms[block.arm])
    episodes = [Episode(number, job.seeds[number]) for number in block.episodes]
    for ended in rollout(bench.envs, executor, episodes, (recorder,), on_clock=clocks.append):
        steps = recorder.take(ended.episode)
        record = _with_initial_state(ended, steps)
        clock = clocks.pop()
        began = time.perf_counter()
        if wanted(job.video, record.outcome):
            _record_video(bench.envs[0], f"{job.title} · {block.arm}", record, steps, folder / "videos")
        timing = Timing(
            episode=record.episode,
            wall_s=round(clock.wall_s, 4),
            inference_ms=tuple(round(ms, 2) for ms in clock.inference_ms),
            video_s=round(time.perf_counter() - began, 4),
            worker=worker,
        )
        metrics = _measured(record, steps, bench.envs[0], job.arms[block.arm])
        shard.write(ShardLine(arm=block.arm, record=record, timing=timing, metrics=metrics))
        yield record


def _with_initial_state(record: EpisodeRecord, steps: EpisodeSteps) -> EpisodeRecord:
    if not steps.state.size:
        return record
    digest = hashlib.sha256(steps.state[0].tobytes()).hexdigest()[:16]
    return replace(record, detail={**record.detail, INITIAL_STATE: digest})


def _measured(
    record: EpisodeRecord, steps: EpisodeSteps, env: gym.Env[Any, Any], schedule: Schedule | None
) -> EpisodeMetrics:
    """Return an episode's metrics; those of the arm's motion only where the environment tells it from states."""
    if "render_fps" not in env.metadata:
        raise UsageError(
            f'{type(env.unwrapped).__name__} does not say how many steps make a second: metadata["render_fps"]'
        )
    motion_of = getattr(env.unwrapped, "motion", None)
    motion = motion_of(steps.state) if motion_of is not None and steps.state.size else None
    late = 0 if schedule is None else schedule.actuation_delay
    return measure(record, steps, 1 / env.metadata["render_fps"], motion, late)


def _record_video(env: gym.Env[Any, Any], title: str, record: EpisodeRecord, steps: EpisodeSteps, folder: Path) -> None:
    # Broken physics leaves states that no renderer can draw: the video shows what came before, if anything did.
    states = steps.state[np.isfinite(steps.state).all(axis=1)]
    if not states.size:
        return
    caption = Caption(title=f"{title} · seed {record.seed}", steps=_step_texts(steps)[: len(states)], record=record)
    folder.mkdir(exist_ok=True)
    render = env.unwrapped.render_state  # pyright: ignore[reportAttributeAccessIssue]  # the workbench has checked
    write_video(folder / file_name(record), episode_frames(states, render, caption))


def _step_texts(steps: EpisodeSteps) -> list[str]:
    """Return what is said of each state: the action that is about to run, and at last that nothing follows."""
    last = steps.steps
    texts = []
    for t in range(last):
        chunk = int(steps.chunk[t])
        source = "holding: no chunk" if chunk < 0 else f"chunk {chunk} action {steps.index[t]}"
        waiting = " · inferring" if steps.in_flight[t] else ""
        texts.append(f"step {t} / {last} · {source}{waiting}")
    return [*texts, f"step {last} / {last} · end"]
