"""Executors: the command of each control step."""

from act_eval.executors.ablation import Foresee
from act_eval.executors.scheduler import ChunkExecutor, make_executor
from act_eval.executors.slot import Hold, repeat_last

__all__ = ["ChunkExecutor", "Foresee", "Hold", "make_executor", "repeat_last"]
