"""Demonstrations on disk, in the layout of LeRobotDataset v3.0: collecting, writing, reading, a frame cache."""

from act_eval.demos.attempts import Attempt, AttemptFolder
from act_eval.demos.cache import FrameCache, open_cache
from act_eval.demos.episode import Episode
from act_eval.demos.layout import Feature, ImageStorage, demonstration_features
from act_eval.demos.reader import Demonstrations, Episodes
from act_eval.demos.statistics import Stats, merged_statistics
from act_eval.demos.writer import DatasetWriter

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
    "Stats",
    "demonstration_features",
    "merged_statistics",
    "open_cache",
]
