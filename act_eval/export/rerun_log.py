"""Rerun: one episode as a recording with its video, its 3-D scene and its time series.

Legend: `N` requests · `C` chunk length.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import ExportError
from act_eval.results.records import writing
from act_eval.types import EpisodeRecord
from act_eval.types.scene import Stage
from act_eval.types.steps import EpisodeSteps
from act_eval.video.drawing import CHUNK, COMMITTED, CONFUSER, TARGET

_TIME, _STEP = "time", "step"


def write_recording(
    path: Path,
    record: EpisodeRecord,
    steps: EpisodeSteps,
    title: str,
    control_s: float,
    video: Path | None = None,
    chunks: NDArray[np.float64] | None = None,
    stage: Stage | None = None,
) -> None:
    """Write an episode as `.rrd`.

    Args:
        path: The file.
        record: Its record.
        steps: Its steps.
        title: Environment, policy and condition.
        control_s: Δt [s].
        video: Its video; None without one.
        chunks: (N, C, 3) gripper positions of predicted actions [m]; None without kinematics.
        stage: Sizes of the scene; None without the hook.

    Raises:
        ExportError: if rerun is not installed.
    """
    try:
        rr = import_module("rerun")
    except ImportError as error:
        raise ExportError(f"rerun cannot be imported ({error}): pip install 'act_eval[rerun]'") from error
    about = f"{title}\nepisode {record.episode}, seed {record.seed}: {record.outcome} after {record.steps} steps"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = rr.RecordingStream("act_eval", recording_id=f"{title} · {record.episode} · {record.seed}")
        stream.save(path)
        stream.log("about", rr.TextDocument(about), static=True)
        if video is not None:
            stream.log("video", rr.AssetVideo(path=video), static=True)
        for state in range(len(steps.state)):
            stream.set_time(_STEP, sequence=state)
            stream.set_time(_TIME, duration=state * control_s)
            if video is not None:
                stream.log("video", rr.VideoFrameReference(seconds=state * control_s, video_reference="video"))
            _log_scene(rr, stream, steps, state, stage)
            if state < steps.steps:
                _log_step(rr, stream, steps, state, chunks)
        stream.log("events", rr.TextLog(f"outcome: {record.outcome}"))
        stream.flush()
        stream.disconnect()


def _log_scene(rr: ModuleType, stream: Any, steps: EpisodeSteps, state: int, stage: Stage | None) -> None:
    if state < len(steps.gripper_xyz):
        stream.log("scene/gripper", rr.Points3D([steps.gripper_xyz[state]], radii=0.006))
    if state < len(steps.joints):
        stream.log("joints", rr.Scalars(steps.joints[state]))
    if state < len(steps.blocks_xyz) and stage is not None:
        colours = [TARGET if block == steps.target[state] else CONFUSER for block in range(steps.blocks_xyz.shape[1])]
        half = np.full(3, stage.block_side / 2)
        stream.log("scene/blocks", rr.Boxes3D(centers=steps.blocks_xyz[state], half_sizes=[half], colors=colours))


def _log_step(rr: ModuleType, stream: Any, steps: EpisodeSteps, step: int, chunks: NDArray[np.float64] | None) -> None:
    chunk = int(steps.chunk[step])
    stream.log("command", rr.Scalars(steps.command[step]))
    stream.log("delay", rr.Scalars([steps.estimated_delay[step], steps.actual_delay[step]]))
    stream.log("in_flight", rr.Scalars([steps.in_flight[step]]))
    stream.log("chunk", rr.Scalars([chunk]))
    if steps.chunk_switch[step]:
        stream.log("events", rr.TextLog(f"chunk switch: chunk {chunk} starts"))
    if chunk < 0:
        stream.log("events", rr.TextLog("hold: no chunk covers this step", level="WARN"))
    elif chunks is not None and chunk < len(chunks):
        stream.log("scene/chunk", rr.LineStrips3D([chunks[chunk]], colors=[CHUNK], radii=0.001))
    latest = int(np.searchsorted(steps.sent, step, side="right")) - 1
    if latest >= 0 and steps.sent[latest] == step:
        stream.log(
            "events", rr.TextLog(f"request {latest}, estimated delay {steps.estimated[latest]}", color=COMMITTED)
        )
        if steps.goal_input.shape[1:] == (2,):
            goal = [*steps.goal_input[latest].tolist(), 0.0]
            stream.log("scene/goal_input", rr.Points3D([goal], radii=0.004, labels=["goal input"]))
