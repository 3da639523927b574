"""The words that every room shares, as types: observations, requests, chunks, actions, and three protocols.

A policy predicts chunks and knows nothing of time. An executor decides which action runs now and knows nothing
of tensors. An observer watches and changes nothing. All counts of time are in control steps.
"""

from act_eval.types.arrays import BoolArray, FloatArray, ImageArray, IntArray
from act_eval.types.episodes import EndStateObserver, EpisodeRecord, Motion, Observer, StepRecord, Verdict
from act_eval.types.execution import (
    NOTHING_COUNTED,
    Actions,
    Chunk,
    Executor,
    ExecutorStatistics,
    Prediction,
    Request,
    Takeover,
)
from act_eval.types.policy import (
    ACTION,
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    ActionChunks,
    ChunkPolicy,
    ChunkRequest,
    Observation,
    PolicySpec,
    Window,
)

__all__ = [
    "ACTION",
    "ENVIRONMENT_STATE",
    "IMAGE_PREFIX",
    "NOTHING_COUNTED",
    "STATE",
    "ActionChunks",
    "Actions",
    "BoolArray",
    "Chunk",
    "ChunkPolicy",
    "ChunkRequest",
    "EndStateObserver",
    "EpisodeRecord",
    "Executor",
    "ExecutorStatistics",
    "FloatArray",
    "ImageArray",
    "IntArray",
    "Motion",
    "Observation",
    "Observer",
    "PolicySpec",
    "Prediction",
    "Request",
    "StepRecord",
    "Takeover",
    "Verdict",
    "Window",
]
