"""Executors: which action runs now."""

from act_eval.executors.questions import Hold, repeat_last
from act_eval.executors.scheduler import ChunkExecutor
from act_eval.executors.shown import Foresee

__all__ = ["ChunkExecutor", "Foresee", "Hold", "repeat_last"]
