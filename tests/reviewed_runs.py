"""Finished run folders to review: with steps, metrics, details and videos that really play."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_runs import FINGERPRINT, suite

from act_eval.encoding import encode_line
from act_eval.metrics import EpisodeMetrics, measure
from act_eval.results import Manifest, notes, open_run
from act_eval.results.records import ShardLine
from act_eval.results.run import video_name
from act_eval.results.steps import path_of, save
from act_eval.results.suites import Suite
from act_eval.types import EpisodeRecord, Timing
from act_eval.types.steps import EpisodeSteps
from act_eval.video import FPS, Encoder

STEPS = 40
CHUNK = 10
CONDITIONS = {
    "rtc_d0_s10": ["success", "success", "missed", "success", "dropped"],
    "rtc_d4_s10": ["success", "wrong_block", "missed", "invalid", "success"],
    "rtc_d8_s10": ["success", "timeout", "missed", "success", "success"],
}


def steps_of(length: int, delay: int, underrun: Sequence[int] = ()) -> EpisodeSteps:
    """Return the steps of an episode: a new chunk every 10 steps, asked for `delay` steps before."""
    t = np.arange(length)
    chunk = t // CHUNK
    chunk[[step for step in underrun if step < length]] = -1
    chunk_switch = (t % CHUNK == 0) & (t > 0)
    sent = np.maximum(np.arange(-(-length // CHUNK)) * CHUNK - delay, 0)
    command = np.stack([0.1 * joint + 0.01 * t for joint in range(6)], axis=1).astype(np.float32)
    ready = np.arange(len(sent)) * CHUNK
    nothing = np.full((length, 6), np.nan, np.float32)
    nothing[chunk_switch] = command[chunk_switch] - np.float32(0.05)
    gripper = np.stack([np.linspace(0, 0.1, length + 1), np.zeros(length + 1), np.full(length + 1, 0.05)], axis=1)
    blocks = np.broadcast_to(np.array([[0.1, 0.0, 0.05], [0.2, 0.1, 0.05]]), (length + 1, 2, 3))
    return EpisodeSteps(
        command=command,
        ran=command,
        chunk=chunk,
        index=np.where(chunk < 0, -1, t % CHUNK),
        observed=np.where(chunk < 0, -1, np.maximum(t - t % CHUNK - delay, 0)),
        requested=np.isin(t, sent),
        estimated_delay=np.full(length, delay),
        actual_delay=np.full(length, delay),
        in_flight=np.zeros(length, np.int64),
        chunk_switch=chunk_switch,
        replaced=nothing,
        overlap_rmse=nothing,
        state=np.zeros((length + 1, 3)),
        sent=sent,
        observation_step=sent,
        start=ready,
        ready=ready,
        estimated=np.full(len(sent), delay),
        actual=ready - sent,
        lost=np.zeros(len(sent), np.bool_),
        predicted=np.zeros((len(sent), CHUNK, 6), np.float32),
        joints=np.zeros((length + 1, 6), np.float32),
        gripper_xyz=gripper.astype(np.float32),
        blocks_xyz=blocks.astype(np.float32),
        target=np.zeros(length + 1, np.int64),
    )


def record_of(episode: int, seed: int, outcome: str, length: int, error: str | None = None) -> EpisodeRecord:
    """Return a record whose closing place is known."""
    detail = {
        "confuser_xy": [[0.2, 0.1]],
        "grasp_step": length // 2,
        "grasp_xy": [0.1 + 0.001 * (episode % 7), 0.0],
        "grasp_target_xy": [0.1, 0.0],
        "grasp_confuser_xy": [0.2, 0.1],
        "actual_delays": [0, 4],
    }
    return EpisodeRecord(
        episode=episode,
        seed=seed,
        outcome=outcome,
        steps=length,
        chunk_switches=3,
        grasp_choice=0.0,
        detail=detail,
        error=error,
    )


def make_reviewed_run(
    out: Path,
    conditions: Mapping[str, Sequence[str]],
    *,
    of: Suite | None = None,
    policy: str = "act_rtc",
    video: str = "all",
    lengths: Sequence[int] = (STEPS,),
    error: str | None = None,
    films: bool = True,
    replayable: bool = True,
) -> Path:
    """Write a finished run folder; condition number i has delay 4 i, `lengths` are taken in turn."""
    run_suite = of or suite(
        len(next(iter(conditions.values()))), env="act_eval/ConfuserPick-v0", facts={"control_hz": 20}
    )
    entries: dict[str, Any] = {
        name: {"executor": "rtc", "delay": 4 * i, "execution_horizon": CHUNK} for i, name in enumerate(conditions)
    }
    configuration = {"policy": {"name": policy}, "conditions": entries, "device": "cpu", "video": video}
    manifest = Manifest(
        suite=run_suite, configuration=configuration, fingerprint=FINGERPRINT, notes=notes(replayable=replayable)
    )
    lines = []
    for number, (name, outcomes) in enumerate(conditions.items()):
        folder = out / name
        for part in ("steps", "videos") if films else ("steps",):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for episode, outcome in enumerate(outcomes):
            length = lengths[episode % len(lengths)]
            steps = steps_of(length, 4 * number, underrun=(5, 6) if number else ())
            record = record_of(
                episode, run_suite.seeds[episode], outcome, length, error if outcome != "success" else None
            )
            _save(path_of(folder / "steps", episode), steps, (length, 4 * number))
            if films:
                with Encoder() as encoder:
                    encoder.write(folder / "videos" / video_name(record), frames(length), FPS).result()
            lines.append(line_of(name, record, steps))
    _finish(out, manifest, lines)
    return out


def _save(path: Path, steps: EpisodeSteps, key: tuple[int, int]) -> None:
    """Write steps; equal ones are compressed once."""
    if key not in _SAVED:
        save(path, steps)
        _SAVED[key] = path.read_bytes()
    path.write_bytes(_SAVED[key])


_SAVED: dict[tuple[int, int], bytes] = {}


def line_of(condition: str, record: EpisodeRecord, steps: EpisodeSteps) -> ShardLine:
    """Return the line of an episode, measured."""
    metrics: EpisodeMetrics = measure(record, steps, 0.05)
    timing = Timing(episode=record.episode, wall_s=1.0, inference_ms=(20.0,))
    return ShardLine(condition=condition, record=record, timing=timing, metrics=metrics)


def _finish(out: Path, manifest: Manifest, lines: Sequence[ShardLine]) -> None:
    # A folder that holds conditions and no manifest would be refused.
    (out / "manifest.json").write_text(json.dumps(manifest.to_json(), indent=2) + "\n")
    with open_run(out, manifest) as run:
        run.new_shards(1)[0].write_text("".join(map(encode_line, lines)))
        run.finish()


def frames(length: int) -> list[np.ndarray]:
    """Return the frames of an episode: each is brighter than the one before; the last one is held."""
    shades = [min(250, 20 + 5 * min(t, length)) for t in range(length + 11)]
    return [np.full((48, 64, 3), shade, np.uint8) for shade in shades]
