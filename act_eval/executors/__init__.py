"""Executors: which action runs now."""

from act_eval.executors.questions import Hold, repeat_last
from act_eval.executors.scheduler import ChunkExecutor

__all__ = ["ChunkExecutor", "Hold", "repeat_last"]
