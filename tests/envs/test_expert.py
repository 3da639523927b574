"""The scripted expert solves every environment, with and without the noise that demonstrations are collected with."""

import sys

import gymnasium as gym
import numpy as np
import pytest

from act_eval.envs.expert import Expert
from act_eval.envs.registration import ENVIRONMENTS, env_id
from act_eval.errors import UsageError
from act_eval.seeding import Purpose, episode_seeds

COLLECTING_NOISE = 0.03


def success_rate(name, noise, episodes):
    env = gym.make(env_id(name), action_noise=noise, disable_env_checker=True).unwrapped
    env.skip_cameras(True)
    expert = Expert(env)
    succeeded = 0
    for seed in episode_seeds(Purpose.USER, 11, episodes):
        env.reset(seed=seed)
        for _ in range(200):
            *_, terminated, _, _ = env.step(expert.act())
            if terminated:
                break
        succeeded += env.verdict().outcome == "success"
    return succeeded / episodes


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_expert_solves_the_environment(name):
    assert success_rate(name, 0.0, 12) == 1.0
    assert success_rate(name, COLLECTING_NOISE, 12) >= 11 / 12


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_expert_solves_nearly_all_of_500_seeds(name):
    assert success_rate(name, 0.0, 500) >= 0.99
    assert success_rate(name, COLLECTING_NOISE, 500) >= 0.97


def test_expert_stays_within_the_joint_limits_and_moves_smoothly():
    env = gym.make(env_id("confuser_pick"), disable_env_checker=True).unwrapped
    env.skip_cameras(True)
    expert = Expert(env)
    env.reset(seed=4)
    commands = []
    for _ in range(80):
        commands.append(expert.act())
        env.step(commands[-1])
    commands = np.array(commands)
    assert (commands >= env.action_space.low).all()
    assert (commands <= env.action_space.high).all()
    assert np.abs(np.diff(commands[:, :5], axis=0)).max() < 0.5


def test_without_dm_control_the_lines_that_install_it_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control.mujoco", None)
    env = gym.make(env_id("pick"), disable_env_checker=True).unwrapped
    with pytest.raises(UsageError, match=r"need dm_control, and dm_control\.mujoco is not installed: pip install dm-"):
        Expert(env)
