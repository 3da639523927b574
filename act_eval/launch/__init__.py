"""Who runs the episodes: processes on this machine, actors of a Ray cluster, or array jobs of a Slurm cluster.

Which launcher, in which order and by how many workers changes nothing in the records.
"""

from contextlib import AbstractContextManager

from act_eval.launch.base import Build, Crew, Progress
from act_eval.launch.local import Here, local_crew
from act_eval.launch.places import Local, Place, Ray

__all__ = ["Build", "Crew", "Here", "Local", "Place", "Progress", "Ray", "crew"]


def crew(build: Build, workers: int, place: Place = Local()) -> AbstractContextManager[Crew]:  # noqa: B008  # frozen
    """Start workers and end them on the way out.

    Args:
        build: makes a worker's environments and policy.
        workers: how many.
        place: where.

    Raises:
        LaunchError: if a worker died, or the cluster cannot be reached.
        ActEvalError: what building a workbench raised on purpose.
    """
    match place:
        case Local():
            return local_crew(build, workers)
        case Ray():
            from act_eval.launch.ray import ray_crew

            return ray_crew(build, workers, place)
