"""The expert's next commands, computed in a copy of the environment."""

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import HookedWalk

from act_eval.envs.expert import Expert
from act_eval.envs.expert_executor import ExpertLookahead
from act_eval.envs.registration import ENVIRONMENTS, env_id
from act_eval.errors import UsageError

STEPS, AHEAD = 50, 8
EVERY_ENV = pytest.mark.parametrize("name", sorted(ENVIRONMENTS))


def disturbed(name):
    """An environment in which random numbers of the episode decide what commands do."""
    env = gym.make(
        env_id(name), action_noise=0.05, gripper_faults=0.05, image_size=32, disable_env_checker=True
    ).unwrapped
    env.skip_cameras(True)
    return env


def wandering(env, seed, foresee):
    """Let the arm wander about its way to the target; return states, commands and what was foreseen on the way."""
    rng, expert = np.random.default_rng(seed), Expert(env)
    env.reset(seed=seed)
    states, commands, foreseen = [env.simulator_state()], [], {}
    for t in range(STEPS):
        if foresee is not None and t % 6 == 0:
            foreseen[t] = foresee(0, 1 + t % 8)
        commands.append(expert.act() + rng.normal(0, 0.03, 6).astype(np.float32))
        env.step(commands[-1])
        states.append(env.simulator_state())
    return np.array(states), np.array(commands), foreseen


@EVERY_ENV
def test_it_is_what_the_expert_commands_when_it_takes_over(name):
    env = disturbed(name)
    foresee = ExpertLookahead([env])
    env.reset(seed=5)
    expert, foreseen, commands = Expert(env), {}, []
    for t in range(STEPS):
        if t % 7 == 0:
            foreseen[t] = foresee(0, AHEAD)
        commands.append(expert.act())
        env.step(commands[-1])
    whole = {t: ahead for t, ahead in foreseen.items() if t + AHEAD <= STEPS}
    assert len(whole) >= 6
    for t, ahead in whole.items():
        np.testing.assert_array_equal(ahead, np.array(commands[t : t + AHEAD]))


@EVERY_ENV
def test_the_episode_is_the_same_to_the_last_bit_with_and_without_it(name):
    env = disturbed(name)
    states, commands, foreseen = wandering(env, 9, ExpertLookahead([env]))
    verdict, observation = env.verdict(), env._observation()
    assert {len(ahead) for ahead in foreseen.values()} == {1, 3, 5, 7}
    other = disturbed(name)
    plain_states, plain_commands, _ = wandering(other, 9, None)
    np.testing.assert_array_equal(states, plain_states)
    np.testing.assert_array_equal(commands, plain_commands)
    assert other.verdict() == verdict
    np.testing.assert_array_equal(other._observation()["agent_pos"], observation["agent_pos"])
    # The next episode that draws its own seed draws the same one too.
    env.reset()
    other.reset()
    np.testing.assert_array_equal(env.simulator_state(), other.simulator_state())


def test_every_slot_is_foreseen_by_itself():
    envs = [disturbed("moving_pick"), disturbed("moving_pick")]
    foresee = ExpertLookahead(envs)
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    expected = [ExpertLookahead([env])(0, 4) for env in envs]
    for slot in (1, 0, 1):
        np.testing.assert_array_equal(foresee(slot, 4), expected[slot])
    assert not np.array_equal(*expected)


def test_a_fork_renders_nothing_and_has_a_future_of_its_own():
    env = gym.make(env_id("pick"), image_size=32, render_mode="rgb_array", disable_env_checker=True).unwrapped
    env.reset(seed=1)
    pixels = {camera: image.copy() for camera, image in env._observation()["pixels"].items()}
    before, twin = env.simulator_state(), env.fork()
    for _ in range(5):
        seen = twin.step(np.zeros(6, np.float32))[0]
    assert twin.render() is None
    assert not np.array_equal(twin.simulator_state(), before)
    np.testing.assert_array_equal(env.simulator_state(), before)
    for camera, image in pixels.items():
        np.testing.assert_array_equal(seen["pixels"][camera], image)
    assert env.render() is not None


def test_an_environment_without_an_expert_is_refused():
    with pytest.raises(UsageError, match="no scripted expert to look ahead with"):
        ExpertLookahead([HookedWalk()])
