"""What observers and run folders are given of a step and of an episode."""

import numpy as np
from numpy.typing import NDArray

from act_eval.rollout.slots import Episode
from act_eval.types import Actions, EpisodeRecord, ExecutorStatistics, StepRecord, Verdict


def step_record(episode: Episode, step: int, actions: Actions, row: int, state: NDArray[np.float64]) -> StepRecord:
    """Return one slot's step."""
    return StepRecord(
        episode=episode.number,
        seed=episode.seed,
        step=step,
        command=actions.command[row],
        ran=None if actions.ran is None else actions.ran[row],
        chunk=int(actions.chunk[row]),
        index=int(actions.index[row]),
        observed=int(actions.observed[row]),
        requested=bool(actions.requested[row]),
        estimated_delay=int(actions.estimated_delay[row]),
        actual_delay=int(actions.actual_delay[row]),
        in_flight=int(actions.in_flight[row]),
        chunk_switch=bool(actions.chunk_switch[row]),
        takeover=actions.takeovers.get(row),
        predictions=actions.predictions.get(row, ()),
        state=state,
    )


def episode_record(
    episode: Episode, steps: int, verdict: Verdict, error: str | None, counted: ExecutorStatistics
) -> EpisodeRecord:
    """Return an episode's record; the executor's counts without a field of their own stand in its detail."""
    timing = {
        "estimated_delays": list(counted.estimated_delays),
        "actual_delays": list(counted.actual_delays),
        "lost_answers": counted.lost,
        "late_answers": counted.late,
        "beyond_max_delay": counted.beyond_max_delay,
        "predicted_actions": counted.predicted_actions,
        "discarded_actions": counted.discarded_actions,
    }
    if any(counted.observation_ages):
        timing["observation_ages"] = list(counted.observation_ages)
    return EpisodeRecord(
        episode=episode.number,
        seed=episode.seed,
        outcome=verdict.outcome,
        steps=steps,
        stopped_steps=counted.stopped_steps,
        grasp_choice=verdict.grasp_choice,
        chunk_switches=counted.chunk_switches,
        underrun_steps=counted.underrun_steps,
        requests=counted.requests,
        detail={**verdict.detail, **timing},
        error=error,
    )
