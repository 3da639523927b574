"""Launchers of the workers: processes on this machine, actors of a Ray cluster, or array jobs of a Slurm cluster.

Records do not depend on the launcher, the order or the number of workers.
"""

from contextlib import AbstractContextManager

from act_eval.launch.base import Block, Build, Job, Launcher, Local, Progress, Ray, Worker, WorkerPool
from act_eval.launch.local import InProcessPool, local_pool

__all__ = [
    "Block", "Build", "InProcessPool", "Job", "Launcher", "Local", "Progress", "Ray", "Worker", "WorkerPool",
    "cores_of", "worker_pool",
]  # fmt: skip


def cores_of(launcher: Launcher) -> int:
    """Return the number of processor cores for a launcher's workers.

    Raises:
        LaunchError: if a Ray cluster cannot be reached.
    """
    if isinstance(launcher, Local):
        return launcher.cores()
    from act_eval.launch import ray

    return ray.cluster_cores()


def worker_pool(
    build: Build,
    workers: int,
    launcher: Launcher = Local(),  # noqa: B008  # frozen
) -> AbstractContextManager[WorkerPool]:
    """Start workers, and end them on exit.

    Args:
        build: builds a worker's environments and policy.
        workers: number of workers.
        launcher: where they run.

    Raises:
        LaunchError: if a worker died, or the cluster cannot be reached.
        ActEvalError: raised while a worker was built.
    """
    if isinstance(launcher, Local):
        return local_pool(build, workers)
    from act_eval.launch.ray import ray_pool

    return ray_pool(build, workers, launcher)
