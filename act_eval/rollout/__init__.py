"""Rollouts: episodes of Gymnasium environments under an executor."""

from act_eval.rollout.loop import EpisodeClock, rollout
from act_eval.rollout.observations import ObservationBatch, batch_observations
from act_eval.rollout.slots import Episode, hold_of

__all__ = ["Episode", "EpisodeClock", "ObservationBatch", "batch_observations", "hold_of", "rollout"]
