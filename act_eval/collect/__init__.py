"""Collecting demonstrations from the scripted expert."""

from act_eval.collect.expert import expert_demonstrator
from act_eval.collect.loop import collect
from act_eval.collect.plan import DEMONSTRATED, Collected, CollectPlan, CollectProgress
from act_eval.collect.recording import Demonstrator

__all__ = [
    "DEMONSTRATED",
    "CollectPlan",
    "CollectProgress",
    "Collected",
    "Demonstrator",
    "collect",
    "expert_demonstrator",
]
