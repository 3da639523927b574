"""Step-by-step tracks of the page: one small script per episode, loaded on demand.

A page opened from the disk may load scripts but not fetch files, so each file calls `actEvalTrack` with its values:
numbers only, rounded to the resolution of a plot. A file is rewritten only if the steps behind it changed.

Legend: `T` control steps taken · `A` action dim · `J` joints · `M` blocks.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import RunFolderError
from act_eval.metrics import EpisodeMetrics
from act_eval.results.steps import load
from act_eval.types import EpisodeRecord
from act_eval.types.steps import EpisodeSteps

SCHEMA = 2
"""Version of the fields of a track; files of another version are rewritten."""

_ANGLE_DIGITS, _LENGTH_DIGITS = 4, 4  # 0.1 mrad, 0.1 mm
_STAMP_BYTES = 200


def write_track(
    path: Path,
    key: str,
    source: Path,
    record: EpisodeRecord,
    metrics: EpisodeMetrics | None,
    digest: str | None = None,
) -> bool:
    """Write the track of an episode if it is missing or outdated; return whether it was written.

    Args:
        path: The script to write.
        key: Key under which the page requests it.
        source: The file of the episode's steps.
        record: The episode.
        metrics: Metrics of the episode; None if they were not recorded.
        digest: Of the content of `source`, if the run recorded it.

    Raises:
        RunFolderError: if the episode's steps are missing or damaged.
    """
    try:
        status = source.stat()
    except FileNotFoundError as error:
        raise RunFolderError(f"{source} is missing") from error
    stamp = f"// {SCHEMA} {key} {status.st_size} {status.st_mtime_ns} {metrics is not None}\n"
    if _stamp_of(path) == stamp:
        return False
    values = _values(load(source, digest), record, metrics)
    call = f"actEvalTrack({json.dumps(key)},{json.dumps(values, separators=(',', ':'), allow_nan=False)});\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes((stamp + call).encode())  # no fsync: there are many, and they can be written again
    unfinished.replace(path)
    return True


def _stamp_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.readline(_STAMP_BYTES).decode(errors="replace")


def _values(steps: EpisodeSteps, record: EpisodeRecord, metrics: EpisodeMetrics | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "steps": steps.steps,
        "chunk": steps.chunk.tolist(),
        "index": steps.index.tolist(),
        "observed": steps.observed.tolist(),
        "estimated": steps.estimated_delay.tolist(),
        "actual": steps.actual_delay.tolist(),
        "chunk_switches": np.flatnonzero(steps.chunk_switch).tolist(),
        "requests": _requests(steps),
        "command": _columns(steps.command, _ANGLE_DIGITS),
        "joints": _columns(steps.joints, _ANGLE_DIGITS),
        "distances": _columns(_distances(steps), _LENGTH_DIGITS),
        "target": steps.target.tolist(),
        **{name: record.detail.get(f"{name}_step") for name in ("event", "grasp", "lift")},
    }
    if metrics is not None:
        values["jumps"] = [None if jump is None else round(jump, 4) for jump in metrics.switch_jumps]
    return values


def _requests(steps: EpisodeSteps) -> list[list[int]]:
    """Return [sent, step in which its observation was made, first step of the answer, lost] of each request.

    In files without requests an answer counts as ready once no request is in flight.
    """
    if len(steps.sent):
        columns = (steps.sent, steps.observation_step, steps.ready, steps.lost)
        return np.stack(columns, axis=1).astype(np.int64).tolist()
    found = []
    for sent in np.flatnonzero(steps.requested).tolist():
        idle = np.flatnonzero(steps.in_flight[sent:] == 0)
        found.append([sent, sent, sent + int(idle[0]) if idle.size else steps.steps, 0])
    return found


def _distances(steps: EpisodeSteps) -> NDArray[np.floating]:
    """Return the distances (T + 1, M) from the point between the jaws to each block's centre [m]."""
    if not steps.blocks_xyz.size:
        return np.zeros((0, 0))
    return np.linalg.norm(steps.blocks_xyz - steps.gripper_xyz[:, None], axis=-1)


def _columns(values: NDArray[np.floating], digits: int) -> list[list[float | None]]:
    """Return the columns of (T, A) as lists, None for non-finite values; empty without a step."""
    if values.ndim != 2:
        return []
    columns = np.round(values.T.astype(np.float64), digits).tolist()
    if np.isfinite(values).all():
        return columns
    return [[v if math.isfinite(v) else None for v in column] for column in columns]
