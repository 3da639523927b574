"""A metric of your own: the path that the commands take through joint space.

act-eval evaluate --policy act --env moving_pick --delay 0 4 8 --metrics own_metric:command_path
"""

import numpy as np

from act_eval.metrics import episode_metric
from act_eval.types import EpisodeRecord
from act_eval.types.steps import EpisodeSteps


@episode_metric(unit="rad", statistic="median")
def command_path(record: EpisodeRecord, steps: EpisodeSteps, control_s: float) -> float | None:
    """Length of the path of the commands through joint space, of successful episodes."""
    if record.outcome != "success":
        return None  # not defined: never 0 in the place of nothing
    return float(np.linalg.norm(np.diff(steps.command[:, :-1], axis=0), axis=1).sum())
