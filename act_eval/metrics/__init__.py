"""Metrics of episodes and conditions besides success: chunk switches, ages, stalls, reactions, times."""

from act_eval.metrics.catalogue import METRICS, EpisodeMetrics, measure, summary
from act_eval.metrics.family import Metric, MetricFamily, Summary
from act_eval.metrics.own import MetricDefinition, OwnMetric, definitions_of, episode_metric
from act_eval.metrics.survival import KaplanMeier

__all__ = [
    "METRICS",
    "EpisodeMetrics",
    "KaplanMeier",
    "Metric",
    "MetricDefinition",
    "MetricFamily",
    "OwnMetric",
    "Summary",
    "definitions_of",
    "episode_metric",
    "measure",
    "summary",
]
