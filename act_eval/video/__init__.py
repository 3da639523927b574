"""Videos of episodes, made by replaying logged simulator states.

The large view is the review camera; beside it stand the two cameras that the policy sees; over the views lie what the
policy predicted and was told, and below them what runs and when it was decided. Everything is drawn after the episode
from its log, so recording cannot change it, and any episode can be filmed again at another size.
"""

from act_eval.video.files import FPS, Encoder, VideoMode, is_whole, should_record
from act_eval.video.frame_buffer import FrameLog, RecordedFrames
from act_eval.video.layout import SMALL, Layout
from act_eval.video.render import HOLD_S, VideoJob, episode_frames, film

__all__ = [
    "FPS",
    "HOLD_S",
    "SMALL",
    "Encoder",
    "FrameLog",
    "Layout",
    "RecordedFrames",
    "VideoJob",
    "VideoMode",
    "episode_frames",
    "film",
    "is_whole",
    "should_record",
]
