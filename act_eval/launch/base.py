"""What every launcher offers: a pool of workers that run blocks of episodes. What a job is, only its owner knows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from act_eval.results.records import ShardWriter
from act_eval.types import EpisodeRecord

Progress = Callable[[str, EpisodeRecord], None]
"""(condition, record) of an episode that has just ended."""
OnSteps = Callable[[str, int], None]
"""(condition, control steps that its episodes have taken since the last call)."""

WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # the software renderer draws in the calling thread: a fifth less time per image
}
"""Environment variables of every worker process."""


@dataclass(frozen=True)
class Block:
    """Episodes of one condition that one worker runs, in their order."""

    condition: str
    episodes: tuple[int, ...]


class Worker(Protocol):
    """What a worker process builds once: environments and a policy."""

    @property
    def facts(self) -> Any:
        """What the plan of a run needs to know of them; picklable."""
        ...

    def close(self) -> None:
        """Release what the environments hold."""
        ...


Build = Callable[[], Any]
"""Makes a `Worker`, which the job knows how to use; picklable where there are several."""


class Job(Protocol):
    """What every worker of a run is sent; picklable."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        ...

    @property
    def batch(self) -> int:
        """Most episodes that run at a time in one worker."""
        ...

    def moved(self, folder: Path) -> "Job":
        """Return the job with another run folder."""
        ...

    def run_block(
        self, worker: Any, block: Block, shard: ShardWriter, number: int, on_steps: OnSteps | None = None
    ) -> Iterator[EpisodeRecord]:
        """Run a block; each record is yielded after its files and its shard line are on the disk.

        Args:
            worker: what `Build` made.
            block: the episodes.
            shard: receives a line per episode.
            number: the worker's, for the timings.
            on_steps: called now and then with the control steps taken.
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
        """`act_eval.results.machine` of the workers; the same for all of them."""
        ...

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_steps: OnSteps | None = None,
    ) -> None:
        """Run every block, once.

        Args:
            job: what to run.
            blocks: its parts, in the order in which they begin.
            shards: a new file for each worker.
            progress: called in this process after each episode.
            on_steps: called in this process now and then, with the control steps taken; not every launcher does.

        Raises:
            LaunchError: if a worker died; finished episodes are kept.
            ActEvalError: raised on purpose in a worker.
        """
        ...


@dataclass(frozen=True)
class Local:
    """Processes on this machine."""

    def cores(self) -> int:
        """Return how many processor cores this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Ray:
    """Actors of a Ray cluster: that of `RAY_ADDRESS`, one that runs on this machine, or a new one of its cores."""

    gpus_per_worker: float = 0.0


Launcher = Local | Ray
