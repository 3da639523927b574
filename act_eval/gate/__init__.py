"""Success-rate regression: recorded outcomes, and the verdict on a new run of the same suite."""

from act_eval.gate.baselines import Baseline, Judgement, judge

__all__ = ["Baseline", "Judgement", "judge"]
