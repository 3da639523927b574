"""Executors: the command of each control step."""

from act_eval.executors.ablation import Foresee
from act_eval.executors.request import at_rest
from act_eval.executors.scheduler import ChunkExecutor, make_executor
from act_eval.executors.slot import Hold, repeat_last

__all__ = ["ChunkExecutor", "Foresee", "Hold", "at_rest", "make_executor", "repeat_last"]
