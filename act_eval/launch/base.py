"""What every launcher offers: workers that stand ready, and run blocks of episodes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from act_eval.evaluation.worker import Block, Job, Workbench
from act_eval.types import EpisodeRecord

Build = Callable[[], Workbench]
"""Makes a worker's environments and policy; picklable."""
Progress = Callable[[str, EpisodeRecord], None]
"""(arm, record) of an episode that has just ended."""

WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # the software renderer draws in the calling thread: a fifth less time per image
}
"""Environment variables of every worker process."""


class Crew(Protocol):
    """Workers that stand ready."""

    @property
    def facts(self) -> Any:
        """What the first worker's bench says of itself; all workers have the same."""
        ...

    @property
    def machine(self) -> Mapping[str, str]:
        """What `act_eval.results.machine` says where the workers run; the same for all of them."""
        ...

    def run(self, job: Job, blocks: Sequence[Block], shards: Sequence[Path], progress: Progress) -> None:
        """Run every block, once.

        Args:
            job: what to run.
            blocks: its parts, in the order in which they begin.
            shards: a new file for each worker.
            progress: called in this process after each episode.

        Raises:
            LaunchError: if a worker died; what was finished is kept.
            ActEvalError: what a worker raised on purpose.
        """
        ...
