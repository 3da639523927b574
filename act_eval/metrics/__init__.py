"""What is measured of an episode and of an arm besides success: seams, ages, stalls, reactions, times."""

from act_eval.metrics.catalogue import METRICS, Metric
from act_eval.metrics.episode import EpisodeMetrics, measure
from act_eval.metrics.summary import Summary, summary, survival
from act_eval.metrics.survival import KaplanMeier

__all__ = [
    "METRICS",
    "EpisodeMetrics",
    "KaplanMeier",
    "Metric",
    "Summary",
    "measure",
    "summary",
    "survival",
]
