"""Videos of episodes, rendered from logged simulator states.

The large view is the review camera, with the policy's two cameras beside it. Drawn over the views: predicted chunk,
committed prefix and goal input. Below them: the running chunk, delays and chunk switches. Everything is drawn after the
episode from its log, so recording cannot change it, and any episode can be rendered again at another size.
"""

from act_eval.video.files import FPS, Encoder, VideoMode, is_complete, should_record
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
    "is_complete",
    "should_record",
]
