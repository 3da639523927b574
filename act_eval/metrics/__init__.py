"""What is measured of an episode and of an arm besides success: seams, ages, stalls, reactions, times."""

from act_eval.metrics.catalogue import METRICS, Metric
from act_eval.metrics.episode import EpisodeMetrics, measure, read_metrics
from act_eval.metrics.summary import Summary, summarise, summary, survival, write_summary
from act_eval.metrics.survival import KaplanMeier

__all__ = [
    "METRICS",
    "EpisodeMetrics",
    "KaplanMeier",
    "Metric",
    "Summary",
    "measure",
    "read_metrics",
    "summarise",
    "summary",
    "survival",
    "write_summary",
]
