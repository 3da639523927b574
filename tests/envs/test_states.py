"""What-if questions to a scene: kinematics, changed states, and that asking changes nothing."""

import gymnasium as gym
import numpy as np
import pytest

from act_eval.envs.registration import env_id
from act_eval.errors import UsageError


@pytest.fixture(scope="module")
def env():
    made = gym.make(env_id("confuser_pick"), goal_input="exact", disable_env_checker=True, image_size=48).unwrapped
    made.reset(seed=3)
    return made


@pytest.fixture
def moment(env):
    """An observation after five steps, with the state that it was made in."""
    observed, _ = env.reset(seed=3)
    for _ in range(5):
        observed, *_ = env.step(observed["agent_pos"] + np.float32(0.03))
    return observed, env.simulator_state()


def test_gripper_position_of_the_observed_joints_is_where_the_gripper_is(env, moment):
    observed, _ = moment
    np.testing.assert_allclose(env.gripper_position(observed["agent_pos"]), env.privileged().pinch_pos, atol=1e-6)


def test_gripper_positions_keep_the_shape_of_their_commands_and_mark_broken_ones(env, moment):
    observed, _ = moment
    commands = np.tile(observed["agent_pos"], (3, 4, 1))
    commands[1, 2, 0] = np.nan
    positions = env.gripper_position(commands)
    assert positions.shape == (3, 4, 3)
    assert np.isnan(positions).all(axis=-1).sum() == 1
    assert np.isnan(positions[1, 2]).all()
    np.testing.assert_array_equal(positions[0, 0], positions[2, 3])


def test_turning_the_pan_joint_turns_the_gripper_about_the_base(env, moment):
    observed, _ = moment
    turned = observed["agent_pos"].copy()
    turned[0] += 0.2
    before, after = env.gripper_position(observed["agent_pos"]), env.gripper_position(turned)
    assert after[2] == pytest.approx(before[2], abs=1e-6)
    assert np.linalg.norm(after - before) > 0.01


@pytest.mark.parametrize("camera", ["overhead", "wrist"])
def test_a_logged_state_renders_to_what_was_observed(env, moment, camera):
    observed, state = moment
    np.testing.assert_array_equal(env.render_state(state, camera, 48, 48), observed["pixels"][camera])


def test_block_positions_are_those_of_the_scene(env, moment):
    observed, state = moment
    positions = env.block_positions(state)
    assert positions.shape == (2, 3)
    np.testing.assert_allclose(positions[0, :2], observed["environment_state"], atol=1e-6)


def test_exchanged_blocks_stand_in_each_other_s_place_and_back_again(env, moment):
    _, state = moment
    exchanged = env.with_blocks_exchanged(state)
    np.testing.assert_array_equal(env.block_positions(exchanged), env.block_positions(state)[::-1])
    np.testing.assert_array_equal(env.with_blocks_exchanged(exchanged), state)
    images = [env.render_state(one, "overhead", 48, 48) for one in (state, exchanged)]
    np.testing.assert_array_equal(*images)  # identical blocks


def test_a_hidden_confuser_leaves_the_picture_and_the_target_stays(env, moment):
    _, state = moment
    hidden = env.without_confusers(state)
    np.testing.assert_array_equal(env.block_positions(hidden)[0], env.block_positions(state)[0])
    alone = gym.make(env_id("pick"), disable_env_checker=True, image_size=48).unwrapped
    reds = [_red(env.render_state(one, "overhead", 96, 96)) for one in (state, hidden)]
    alone.reset(seed=3)
    assert 0 < reds[1] < 0.7 * reds[0]
    assert reds[1] == pytest.approx(_red(alone.render_state(alone.simulator_state(), "overhead", 96, 96)), rel=0.35)


def _red(image):
    r, g, b = image.astype(int).transpose(2, 0, 1)
    return int(((r > 150) & (g < 90) & (b < 90)).sum())


def test_asking_leaves_the_episode_alone(env, moment):
    _, state = moment
    env.with_blocks_exchanged(state), env.without_confusers(state), env.block_positions(state)
    env.gripper_position(np.zeros(6, np.float32))
    np.testing.assert_array_equal(env.simulator_state(), state)


def test_blocks_cannot_be_exchanged_where_there_is_one():
    alone = gym.make(env_id("pick"), disable_env_checker=True).unwrapped
    alone.reset(seed=0)
    with pytest.raises(UsageError, match="this environment has no confuser"):
        alone.with_blocks_exchanged(alone.simulator_state())
