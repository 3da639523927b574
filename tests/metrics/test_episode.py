"""The metrics of one episode from its steps, and their way over the disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from act_eval.encoding import encode_line
from act_eval.errors import RunFolderError, UnmeasuredRun
from act_eval.metrics import EpisodeMetrics, measure
from act_eval.results.run import read_metrics
from act_eval.types import EpisodeRecord, Motion
from act_eval.types.steps import EpisodeSteps

T, SWITCH, EVENT = 12, 6, 4
NAN_ROW = np.full((T, 3), np.nan, np.float32)


def episode_steps() -> EpisodeSteps:
    """Chunk 0 of step 0 runs to step 5 and chunk 1 of step 5 from there; the third joint is the gripper."""
    step = np.arange(T)
    later = step >= SWITCH
    command = np.stack([0.01 * step**2 + 0.3 * later, 0.02 * step, 0.7 * ~later], axis=1).astype(np.float32)
    replaced, rmse = NAN_ROW.copy(), NAN_ROW.copy()
    replaced[SWITCH] = command[SWITCH] - [0.3, 0.0, -0.7]
    rmse[SWITCH] = [0.3, 0.4, 9.0]
    count = np.zeros(T, np.int64)
    return EpisodeSteps(
        command=command, ran=command, chunk=later.astype(np.int64), index=step - SWITCH * later,
        observed=np.where(later, 5, 0), requested=np.isin(step, (0, 5)), estimated_delay=count, actual_delay=count,
        in_flight=count, chunk_switch=step == SWITCH, replaced=replaced, overlap_rmse=rmse, state=np.zeros((T + 1, 4)),
    )  # fmt: skip


RECORD = EpisodeRecord(
    episode=0, seed=7, outcome="success", steps=T, stopped_steps=4, underrun_steps=1,
    detail={
        "predicted_actions": 40, "discarded_actions": 28, "event_step": EVENT, "event_from_xy": [0.2, 0.0],
        "event_to_xy": [0.2, 0.1], "lift_step": None,
    },
)  # fmt: skip


def motion() -> Motion:
    time = np.arange(T + 1.0)
    to_the_old, to_the_new = np.linspace([0.1, 0.05], [0.2, 0.0], 9), np.linspace([0.2, 0.0], [0.2, 0.1], 5)[1:]
    path = np.concatenate([to_the_old, to_the_new])
    joints = np.stack([time**3, time, 50 * (time > 3)], axis=1)
    return Motion(joints, np.column_stack([path, np.zeros(T + 1)]), gripper_joint=2)


def test_an_episode_is_measured():
    found = measure(RECORD, episode_steps(), 0.05, motion())
    assert found.time_to_success_s == pytest.approx((T + 4) * 0.05)
    assert (found.switch_steps, found.switch_jumps, found.gripper_jumps) == ((SWITCH,), (0.3,), (0.7,))
    assert found.overlap_rmses == (0.5,)
    assert found.action_age_counts == (1, 2, 2, 2, 2, 2, 1)
    assert (found.action_age_p50, found.action_age_p95, found.action_age_max) == (3, 6, 6)
    assert found.stall_fraction == pytest.approx(5 / 16)
    assert found.discarded_fraction == pytest.approx(0.7)
    # Third differences of the arm's two joints are 6 and 0; the gripper's are left out.
    assert found.jerk_rms == pytest.approx(np.sqrt(18) / 0.05**3, rel=1e-5)
    # Event in step 4, seen in step 5, first informed action in step 6; the gripper bends in state 8.
    assert (found.reaction_steps, found.behavioural_reaction_steps) == (1, 3)


def test_the_gripper_counts_as_a_joint_where_nobody_names_it():
    found = measure(RECORD, episode_steps(), 0.05)
    assert found.switch_jumps == (0.7,)
    assert found.gripper_jumps == (None,)
    assert found.overlap_rmses == (pytest.approx(np.hypot(0.5, 9), rel=1e-5),)
    assert (found.jerk_rms, found.behavioural_reaction_steps) == (None, None)
    assert found.reaction_steps == 1


def test_what_is_not_there_is_none_and_never_zero():
    steps = episode_steps()
    quiet = replace(
        steps, chunk_switch=np.zeros(T, bool), replaced=NAN_ROW, overlap_rmse=NAN_ROW, observed=np.full(T, -1)
    )
    found = measure(replace(RECORD, outcome="missed", detail={}), quiet, 0.05)
    assert found == EpisodeMetrics(
        episode=0, control_s=0.05, time_to_success_s=None, switch_steps=(), switch_jumps=(), gripper_jumps=(),
        overlap_rmses=(), boundary_spike_ratio=None, jerk_rms=None, action_age_counts=(), action_age_p50=None,
        action_age_p95=None, action_age_max=None, stall_fraction=pytest.approx(5 / 16), discarded_fraction=None,
        reaction_steps=None, behavioural_reaction_steps=None,
    )  # fmt: skip


def test_an_episode_without_a_step_can_be_measured():
    empty = {name: value[:0] for name, value in vars(episode_steps()).items()}
    empty |= {name: np.zeros(0, np.float32) for name in ("command", "ran", "replaced", "overlap_rmse")}
    record = EpisodeRecord(episode=0, seed=7, outcome="invalid", steps=0)
    found = measure(record, EpisodeSteps(**empty), 0.05)
    assert (found.stall_fraction, found.switch_jumps, found.action_age_max) == (None, (), None)


def test_metrics_survive_the_disk_and_equal_ones_give_equal_bytes(tmp_path: Path):
    one = measure(RECORD, episode_steps(), 0.05, motion())
    lines = encode_line(one) + encode_line(replace(one, episode=1, jerk_rms=None))
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert read_metrics(tmp_path) == [one, replace(one, episode=1, jerk_rms=None)]
    assert encode_line(measure(RECORD, episode_steps(), 0.05, motion())) == encode_line(one)


def test_folders_without_metrics_say_why(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"metrics.jsonl is missing: the run has not finished"):
        read_metrics(tmp_path)
    (tmp_path / "episodes.jsonl").touch()
    with pytest.raises(UnmeasuredRun, match=r"metrics.jsonl is missing: repeat the run's command"):
        read_metrics(tmp_path)


def test_damaged_metrics_are_named(tmp_path: Path):
    one = encode_line(measure(RECORD, episode_steps(), 0.05))
    path = tmp_path / "metrics.jsonl"
    path.write_text(one[:-5])
    with pytest.raises(RunFolderError, match=r"metrics.jsonl is truncated"):
        read_metrics(tmp_path)
    path.write_text(one + '{"episode":1}\n')
    with pytest.raises(RunFolderError, match=r"line 2 is damaged: control_s is missing; the fields are episode, cont"):
        read_metrics(tmp_path)
    path.write_text(one + one)
    with pytest.raises(RunFolderError, match=r"metrics.jsonl does not hold its episodes in order"):
        read_metrics(tmp_path)
