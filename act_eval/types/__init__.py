"""The words that every room shares, as types: observations, requests, chunks, actions, and three protocols.

A policy predicts chunks and knows nothing of time. An executor decides which action runs now and knows nothing
of tensors. An observer watches and changes nothing. All counts of time are in control steps.
"""

from act_eval.types.arrays import BoolArray, FloatArray, ImageArray, IntArray
from act_eval.types.episodes import (
    INVALID,
    OUTCOMES,
    POLICY_ERROR,
    SUCCESS,
    EndStateObserver,
    EpisodeRecord,
    Observer,
    StepRecord,
    Timing,
    Verdict,
)
from act_eval.types.execution import (
    NOTHING_COUNTED,
    Actions,
    Chunk,
    ChunkSwitch,
    Executor,
    ExecutorStatistics,
    Prediction,
    Request,
)
from act_eval.types.policy import (
    ACTION,
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    LAST_ACTION,
    PAST_ACTIONS,
    STATE,
    ActionChunks,
    ChunkPolicy,
    ChunkRequest,
    Observation,
    PolicySpec,
    Window,
)
from act_eval.types.scene import Motion
from act_eval.types.steps import EpisodeSteps

__all__ = [
    "ACTION", "ENVIRONMENT_STATE", "IMAGE_PREFIX", "INVALID", "LAST_ACTION", "NOTHING_COUNTED", "OUTCOMES",
    "PAST_ACTIONS", "POLICY_ERROR", "STATE", "SUCCESS", "ActionChunks", "Actions", "BoolArray", "Chunk", "ChunkPolicy",
    "ChunkRequest", "ChunkSwitch",
    "EndStateObserver", "EpisodeRecord", "EpisodeSteps", "Executor", "ExecutorStatistics", "FloatArray", "ImageArray",
    "IntArray", "Motion", "Observation", "Observer", "PolicySpec", "Prediction", "Request", "StepRecord", "Timing",
    "Verdict", "Window",
]  # fmt: skip
