"""The outcome rules, on logs written by hand: one for each outcome, and the order in which they match."""

import numpy as np
import pytest

from act_eval.envs.outcomes import (
    CLEAR_DISTANCE,
    HOLD_STEPS,
    EpisodeLog,
    grasp_choice,
    grasp_step,
    held_until_end,
    judge,
    placed,
)
from act_eval.scenes.arm import GRIPPER_CLOSED, GRIPPER_OPEN
from act_eval.scenes.workspace import BLOCK_SIDE, TRAY, TRAY_FLOOR

TABLE_Z, TRAY_Z = BLOCK_SIDE / 2, TRAY_FLOOR + BLOCK_SIDE / 2
TARGET, CONFUSER = np.array([0.20, 0.10, TABLE_Z]), np.array([0.20, 0.0, TABLE_Z])
IN_TRAY = np.array([*TRAY.centre, TRAY_Z])
HIGH = np.array([0.15, 0.05, 0.15])
T = 30


def make_log(steps=T, **changes):
    """A quiet episode: blocks lie, the gripper waits high up and open."""
    parts = {
        "block_pos": np.tile(np.stack([TARGET, CONFUSER]), (steps + 1, 1, 1)),
        "pinch_pos": np.tile(HIGH, (steps + 1, 1)),
        "jaw_contact": np.zeros((steps + 1, 2), bool),
        "commands": np.tile(np.array([0, 0, 0, 0, 0, GRIPPER_OPEN], np.float32), (steps, 1)),
        "target": np.zeros(steps + 1, int),
    }
    return EpisodeLog(**(parts | changes))


def closing_at(xy, steps=T, at=5):
    """The gripper goes down at `xy` and is commanded to close there from step `at` on."""
    log = make_log(steps)
    log.pinch_pos[at:] = [*xy, TABLE_Z]
    log.commands[at:, -1] = GRIPPER_CLOSED
    return log


def carried(block, end, steps=T):
    """A block is grasped, lifted 6 cm, and lies at `end` from half time on, with the gripper away."""
    log = closing_at(log_xy(block), steps)
    log.block_pos[8:12, block, 2] = TABLE_Z + 0.06
    log.jaw_contact[5:12, block] = True
    log.block_pos[12:, block] = end
    log.pinch_pos[12:] = HIGH
    log.commands[12:, -1] = GRIPPER_OPEN
    return log


def log_xy(block):
    return (TARGET if block == 0 else CONFUSER)[:2]


def test_target_released_in_the_tray_is_success_with_index_zero():
    verdict = judge(carried(0, IN_TRAY))
    assert verdict.outcome == "success"
    assert verdict.grasp_choice == pytest.approx(0, abs=1e-9)


def test_confuser_in_the_tray_is_wrong_block_with_index_one():
    verdict = judge(carried(1, IN_TRAY))
    assert verdict.outcome == "wrong_block"
    assert verdict.grasp_choice == pytest.approx(1, abs=1e-9)


def test_closing_halfway_is_between():
    verdict = judge(closing_at((TARGET[:2] + CONFUSER[:2]) / 2))
    assert (verdict.outcome, verdict.grasp_choice) == ("between", pytest.approx(0.5))


@pytest.mark.parametrize(
    ("share", "outcome"), [(0.24, "missed"), (0.26, "between"), (0.74, "between"), (0.76, "missed")]
)
def test_between_ends_at_a_quarter_and_three_quarters(share, outcome):
    xy = TARGET[:2] + share * (CONFUSER[:2] - TARGET[:2])
    assert judge(closing_at(xy)).outcome == outcome


def test_lifted_and_fallen_outside_the_tray_is_dropped():
    assert judge(carried(0, [0.25, -0.05, TABLE_Z])).outcome == "dropped"


def test_lifted_and_still_held_is_timeout():
    log = carried(0, [0.25, -0.05, 0.08])
    log.jaw_contact[12:, 0] = True
    assert judge(log).outcome == "timeout"


def test_closing_beside_everything_is_missed_without_an_index():
    verdict = judge(closing_at(TARGET[:2] + [0.0, 0.2]))
    assert (verdict.outcome, verdict.grasp_choice) == ("missed", None)


def test_no_motion_is_timeout_without_an_index():
    verdict = judge(make_log())
    assert (verdict.outcome, verdict.grasp_choice) == ("timeout", None)


def test_target_in_the_tray_but_still_touched_is_no_success():
    log = carried(0, IN_TRAY)
    log.jaw_contact[12:, 0] = True
    assert judge(log).outcome == "timeout"


def test_target_in_the_tray_with_the_gripper_around_it_is_no_success():
    log = carried(0, IN_TRAY)
    log.pinch_pos[12:] = IN_TRAY + [0, 0, CLEAR_DISTANCE - 0.001]
    assert judge(log).outcome == "timeout"
    log.pinch_pos[12:] = IN_TRAY + [0, 0, CLEAR_DISTANCE + 0.001]
    assert judge(log).outcome == "success"


@pytest.mark.parametrize(("rest", "outcome"), [(HOLD_STEPS, "success"), (HOLD_STEPS - 1, "timeout")])
def test_success_must_last_the_hold_time_exactly(rest, outcome):
    log = carried(0, IN_TRAY)
    moving = T + 1 - rest
    log.block_pos[moving - 1, 0, 2] = TRAY_Z + 0.06  # in the air before; first resting state comes one step later
    log.block_pos[moving - 2, 0, 2] = TRAY_Z + 0.06
    log.block_pos[12 : moving - 2, 0] = [*TRAY.centre, TRAY_Z + 0.06]
    assert held_until_end(placed(log)[:, 0]) == rest - 1  # the step of arrival is not at rest
    log = make_log()
    log.block_pos[-(rest + 1) :, 0] = IN_TRAY
    log.jaw_contact[5, 0] = True
    log.block_pos[3:5, 0, 2] = 0.1
    assert held_until_end(placed(log)[:, 0]) == rest
    assert judge(log).outcome == outcome


def test_success_wins_over_wrong_block():
    log = carried(0, IN_TRAY)
    log.block_pos[12:, 1] = IN_TRAY + [0.03, 0, 0]
    assert judge(log).outcome == "success"


def test_non_finite_command_is_a_policy_error_whatever_else_happened():
    log = carried(0, IN_TRAY)
    log.commands[3, 2] = np.nan
    assert judge(log).outcome == "policy_error"


def test_non_finite_physics_is_invalid():
    log = carried(0, IN_TRAY)
    log.block_pos[20, 0, 0] = np.inf
    assert judge(log).outcome == "invalid"


def test_contact_comes_before_the_command_to_close():
    log = closing_at(TARGET[:2], at=9)
    log.jaw_contact[4, 1] = True
    assert grasp_step(log) == 4
    assert judge(log).detail["first_contact"] == 1


def test_a_closing_command_high_above_the_table_is_not_closing():
    log = make_log()
    log.commands[:, -1] = GRIPPER_CLOSED
    assert grasp_step(log) is None


def test_index_needs_a_confuser_and_follows_the_roles():
    log = closing_at(CONFUSER[:2])
    assert grasp_choice(log, 5) == pytest.approx(1)
    exchanged = closing_at(CONFUSER[:2])
    exchanged.target[:] = 1
    assert grasp_choice(exchanged, 5) == pytest.approx(0)
    alone = make_log(block_pos=np.tile(TARGET, (T + 1, 1, 1)), jaw_contact=np.zeros((T + 1, 1), bool))
    assert grasp_choice(alone, 5) is None


def test_of_several_confusers_the_nearest_counts():
    far = np.array([0.15, 0.16, TABLE_Z])
    log = make_log(
        block_pos=np.tile(np.stack([TARGET, far, CONFUSER]), (T + 1, 1, 1)), jaw_contact=np.zeros((T + 1, 3), bool)
    )
    log.pinch_pos[5:] = CONFUSER
    log.commands[5:, -1] = GRIPPER_CLOSED
    assert grasp_choice(log, 5) == pytest.approx(1)
