"""Chunk switch jumps, overlap, spikes and jerk in closed form."""

import numpy as np
import pytest

from act_eval.metrics.smoothness import boundary_spike_ratio, jerk_rms, overlap_rmses, switch_jumps

NAN = np.nan


def chunk_switches(steps: int, *where: int) -> np.ndarray:
    return np.isin(np.arange(steps), where)


def test_a_switch_jump_is_the_largest_joint_difference_at_the_same_step():
    command = np.array([[0.0, 0.0], [1.0, 5.0], [2.0, 2.0]])
    replaced = np.array([[NAN, NAN], [1.5, 4.8], [NAN, NAN]])
    assert switch_jumps(command, replaced, chunk_switches(3, 1, 2)) == [pytest.approx(0.5), None]


def test_two_chunks_that_agree_have_a_jump_of_zero_and_no_switch_has_none():
    command = np.ones((4, 3))
    assert switch_jumps(command, command, chunk_switches(4, 2)) == [0.0]
    assert switch_jumps(command, command, chunk_switches(4)) == []


def test_overlap_takes_the_norm_over_joints():
    rmse = np.array([[NAN, NAN], [0.3, 0.4], [NAN, NAN]])
    assert overlap_rmses(rmse, chunk_switches(3, 1, 2)) == [pytest.approx(0.5), None]


def test_a_jump_in_a_parabola_gives_the_spike_that_arithmetic_says():
    steps, chunk_switch, jump, acceleration = 30, 15, 3.0, 0.5
    time = np.arange(steps)
    command = (acceleration / 2 * time**2 + jump * (time >= chunk_switch))[:, None]
    # Five second differences in the window: 0.5, but 0.5 + 3 one step before the chunk switch and 0.5 - 3 at it.
    near = (3 * acceleration + (jump + acceleration) + (jump - acceleration)) / 5
    assert boundary_spike_ratio(command, chunk_switches(steps, chunk_switch)) == pytest.approx(near / acceleration)


def test_where_switches_change_nothing_the_spike_ratio_is_one():
    command = np.arange(30.0)[:, None] ** 2 * [1.0, -2.0]
    assert boundary_spike_ratio(command, chunk_switches(30, 10, 20)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("steps", "where"),
    [(30, ()), (2, (1,)), (30, tuple(range(1, 30, 5))), (30, (29,))],
    ids=["no chunk switch", "too short", "chunk switches everywhere", "chunk switch at the end alone"],
)
def test_a_spike_ratio_without_both_sides_is_not_defined(steps: int, where: tuple[int, ...]):
    ratio = boundary_spike_ratio(np.random.default_rng(0).normal(size=(steps, 2)), chunk_switches(steps, *where))
    assert (ratio is None) == (where != (29,))


def test_still_commands_elsewhere_give_no_ratio():
    command = np.where(np.arange(30) >= 15, 1.0, 0.0)[:, None]
    assert boundary_spike_ratio(command, chunk_switches(30, 15)) is None


def test_the_jerk_of_a_cubic_is_its_third_derivative():
    control_s = 0.05
    time = control_s * np.arange(40)
    joints = np.stack([2.0 * time**3, -1.0 * time**3, 0.1 * time**2], axis=1)
    # Third derivatives 12, -6 and 0.
    assert jerk_rms(joints, control_s) == pytest.approx(np.sqrt((12**2 + 6**2) / 3), rel=1e-6)


def test_jerk_needs_four_finite_positions():
    assert jerk_rms(np.zeros((3, 2)), 0.05) is None
    assert jerk_rms(np.array([[0.0], [1.0], [NAN], [0.0]]), 0.05) is None
    assert jerk_rms(np.array([[0.0], [0.0], [0.0], [1.0]]), 0.5) == pytest.approx(8.0)
