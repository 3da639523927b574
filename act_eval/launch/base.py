"""The launcher interface: a pool of workers that run the episodes of a job."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from act_eval.results.records import ShardWriter
from act_eval.types import EpisodeRecord

Progress = Callable[[str, EpisodeRecord | int], None]
"""(condition, record of an episode that has just ended, or control steps of its episodes since the last call)."""


@dataclass(frozen=True)
class Block:
    """Episodes of one condition, in order, for one worker where the launcher hands them out together."""

    condition: str
    episodes: tuple[int, ...]


class Worker(Protocol):
    """A worker: environments and a policy, built once per process, and facts for the plan of a run, picklable."""

    @property
    def facts(self) -> Any: ...

    def check(self) -> tuple[str, ...]:
        """Return findings about the policy, a line each; takes a while, and changes no record."""
        ...

    def close(self) -> None: ...


OnCheck = Callable[[tuple[str, ...]], None]
"""Receives the findings of a worker's check."""

Build = Callable[[], Any]
"""Builds a `Worker` that fits the job; picklable if there are several."""


class Job(Protocol):
    """The job description of every worker, picklable: its run folder, and the concurrent episodes of a worker."""

    @property
    def folder(self) -> Path: ...

    @property
    def batch(self) -> int: ...

    def moved(self, folder: Path) -> "Job":
        """Return the job with another run folder."""
        ...

    def run_episodes(
        self,
        worker: Any,
        condition: str,
        episodes: Iterable[int],
        shard: ShardWriter,
        number: int,
        progress: Progress,
    ) -> Iterator[EpisodeRecord]:
        """Run episodes; yield each record after its files and its shard line are on disk.

        Args:
            worker: the result of `Build`.
            condition: its name.
            episodes: in running order; the next one is asked for when a slot is free.
            shard: receives a line per episode.
            number: number of the worker, for the timings.
            progress: called periodically with the control steps taken.
        """
        ...


class WorkerPool(Protocol):
    """Workers that are ready to run."""

    @property
    def facts(self) -> Any:
        """Facts of the first worker; all workers have the same."""
        ...

    @property
    def machine(self) -> Mapping[str, str]:
        """`act_eval.results.machine` of the workers; equal for all."""
        ...

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_check: OnCheck | None = None,
    ) -> None:
        """Run every block once.

        Args:
            job: the job.
            blocks: its blocks, in running order.
            shards: a new file for each worker.
            progress: called in this process after each episode, and periodically if the launcher supports it.
            on_check: called with the findings of one worker's check, which is made beside the first episodes of the
                others; None: no check.

        Raises:
            LaunchError: if a worker died; finished episodes are kept.
            ActEvalError: raised in a worker.
        """
        ...


@dataclass(frozen=True)
class Local:
    """Processes on this machine."""

    def cores(self) -> int:
        """Return the number of processor cores available to this process."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Ray:
    """Actors of a Ray cluster: that of `RAY_ADDRESS`, a running one on this machine, or a new local one."""

    gpus_per_worker: float = 0.0


Launcher = Local | Ray
