"""Where workers run."""

import os
from dataclasses import dataclass


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

    def cores(self) -> int:
        """Return how many processor cores the cluster has.

        Raises:
            LaunchError: if it cannot be reached.
        """
        from act_eval.launch.ray import cluster_cores

        return cluster_cores()


Place = Local | Ray
