"""The environments in which something happens by itself."""

import numpy as np
import pytest

from act_eval.envs.dynamic import (
    DRIFT_LANE,
    DRIFT_SPEED,
    NUDGE_DISTANCE,
    NUDGE_STEPS,
    NUDGE_TRIGGER,
    SWAP_STEPS,
    ConfuserSwapEnv,
    MovingPickEnv,
    NudgedPickEnv,
)
from act_eval.envs.expert import Expert
from act_eval.errors import UsageError
from act_eval.scenes.arm import HOME
from act_eval.scenes.workspace import BLOCKS, CONTROL_HZ

AT_HOME = np.array(HOME, np.float32)


def waiting(env, steps):
    """Return the goal input (steps + 1, 2) while the arm stays at home."""
    goals = [env.reset(seed=3)[0]["environment_state"]]
    env.skip_cameras(True)
    return np.array(goals + [env.step(AT_HOME)[0]["environment_state"] for _ in range(steps)])


def test_the_target_drifts_with_its_fixed_speed_and_turns_at_the_edges():
    goals = waiting(MovingPickEnv(), 199)
    moves = np.diff(goals, axis=0)
    assert np.abs(moves[:, 0]).max() < 1e-4
    assert np.abs(moves[:, 1]) == pytest.approx(DRIFT_SPEED / CONTROL_HZ, abs=1e-4)
    assert np.abs(np.diff(np.sign(moves[:, 1]))).sum() >= 2  # it turned
    margin = DRIFT_SPEED / CONTROL_HZ + 1e-3
    assert goals[:, 1].max() < BLOCKS.high[1] + margin
    assert goals[:, 1].min() > BLOCKS.low[1] - margin


def test_the_confuser_stands_still_and_beside_the_lane():
    env = MovingPickEnv()
    for seed in range(20):
        env.reset(seed=seed)
        detail = env.verdict().detail
        assert abs(detail["confuser_xy"][0][0] - detail["target_xy"][0]) >= DRIFT_LANE
    before = env.verdict().detail["confuser_xy"]
    for _ in range(100):
        env.step(AT_HOME)
    assert env._block_xy(1) == pytest.approx(before[0], abs=1e-4)


def test_the_nudge_comes_once_when_the_gripper_is_near_and_moves_the_target_as_far_as_it_says():
    for seed in range(6):
        env = NudgedPickEnv()
        goals = [env.reset(seed=seed)[0]["environment_state"]]
        env.skip_cameras(True)
        expert = Expert(env)
        pinch = []
        while (event := env.verdict().detail["event_step"]) is None or len(goals) <= event + NUDGE_STEPS:
            pinch.append(env.privileged().pinch_pos[:2])
            goals.append(env.step(expert.act())[0]["environment_state"])
        moved = np.linalg.norm(goals[event + NUDGE_STEPS] - goals[event])
        assert NUDGE_DISTANCE[0] - 2e-3 < moved < NUDGE_DISTANCE[1] + 2e-3
        assert np.linalg.norm(pinch[event] - goals[event]) < NUDGE_TRIGGER
        assert np.array_equal(goals[0], goals[event]) or np.linalg.norm(goals[0] - goals[event]) < 1e-4
        assert BLOCKS.contains(np.asarray(goals[event + NUDGE_STEPS], float)[None] * [1, 1]).all() or moved > 0
        detail = env.verdict().detail
        assert detail["event_from_xy"] == pytest.approx(goals[event], abs=1e-6)
        assert detail["event_to_xy"] == pytest.approx(goals[event + NUDGE_STEPS], abs=1e-6)


def test_without_a_gripper_near_nothing_is_nudged():
    env = NudgedPickEnv()
    goals = waiting(env, 30)
    assert np.ptp(goals, axis=0).max() < 1e-4
    detail = env.verdict().detail
    assert [detail[f"event_{what}"] for what in ("step", "from_xy", "to_xy")] == [None] * 3


def test_roles_are_exchanged_once_and_the_coordinates_name_the_other_block():
    steps = set()
    for seed in range(12):
        env = ConfuserSwapEnv()
        observation, _ = env.reset(seed=seed)
        env.skip_cameras(True)
        detail = env.verdict().detail
        goals = [observation["environment_state"]] + [env.step(AT_HOME)[0]["environment_state"] for _ in range(20)]
        event = env.verdict().detail["event_step"]
        steps.add(event)
        assert SWAP_STEPS[0] <= event <= SWAP_STEPS[1]
        assert goals[event] == pytest.approx(detail["target_xy"], abs=1e-3)
        assert goals[event + 1] == pytest.approx(detail["confuser_xy"][0], abs=1e-3)
        assert goals[-1] == pytest.approx(detail["confuser_xy"][0], abs=1e-3)
        assert env.verdict().detail["event_from_xy"] == pytest.approx(goals[event], abs=1e-6)
        assert env.verdict().detail["event_to_xy"] == pytest.approx(goals[event + 1], abs=1e-6)
    assert len(steps) > 1


def test_after_the_swap_the_first_target_is_the_wrong_block():
    env = ConfuserSwapEnv()
    env.reset(seed=1)
    env.skip_cameras(True)
    stale = StaleView(env)
    expert = Expert(stale)
    for _ in range(200):
        *_, terminated, _, _ = env.step(expert.act())
        if terminated:
            break
    assert env.verdict().outcome == "wrong_block"


class StaleView:
    """Privileged view of a policy that never notices the swap."""

    def __init__(self, env):
        self._env = env

    def privileged(self):
        present, self._env._target = self._env._target, 0
        try:
            return self._env.privileged()
        finally:
            self._env._target = present


def test_a_swap_needs_a_confuser():
    with pytest.raises(UsageError, match="confuser_swap needs a confuser to exchange roles with; confusers is 0"):
        ConfuserSwapEnv(confusers=0).reset(seed=0)
