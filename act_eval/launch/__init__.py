"""Who runs the episodes: processes on this machine, actors of a Ray cluster, or array jobs of a Slurm cluster.

Which launcher, in which order and by how many workers changes nothing in the records.
"""

from act_eval.launch.crews import Build, Crew, Progress
from act_eval.launch.local import Here
from act_eval.launch.local import local_crew as crew

__all__ = ["Build", "Crew", "Here", "Progress", "crew"]
