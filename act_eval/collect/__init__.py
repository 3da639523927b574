"""Collecting data sets: demonstrations of the scripted expert, and its corrections of a policy."""

from act_eval.collect.loop import collect
from act_eval.collect.plan import DEMONSTRATED, Collected, CollectPlan, CollectProgress, Corrections
from act_eval.collect.recording import Attempts, Demonstrator, MakeAttempts, expert_demonstrator, plan_of

__all__ = [
    "DEMONSTRATED",
    "Attempts",
    "CollectPlan",
    "CollectProgress",
    "Collected",
    "Corrections",
    "Demonstrator",
    "MakeAttempts",
    "collect",
    "expert_demonstrator",
    "plan_of",
]
