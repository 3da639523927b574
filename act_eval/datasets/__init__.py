"""Demonstrations on disk, in the layout of LeRobotDataset v3.0: collecting, writing, reading, a frame cache."""

from act_eval.datasets.attempts import Attempt, AttemptFolder
from act_eval.datasets.cache import FrameCache, open_cache
from act_eval.datasets.episode import Episode
from act_eval.datasets.layout import Feature, ImageStorage, Shown, demonstration_features
from act_eval.datasets.reader import Demonstrations, Episodes
from act_eval.datasets.statistics import Stats, merged_statistics
from act_eval.datasets.writer import DatasetWriter

__all__ = [
    "Attempt",
    "AttemptFolder",
    "DatasetWriter",
    "Demonstrations",
    "Episode",
    "Episodes",
    "Feature",
    "FrameCache",
    "ImageStorage",
    "Shown",
    "Stats",
    "demonstration_features",
    "merged_statistics",
    "open_cache",
]
