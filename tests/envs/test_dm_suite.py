"""dm_control's tasks as Gymnasium environments, on the real suite."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from act_eval.envs.adapters import Declaration
from act_eval.errors import UnknownName, UsageError
from act_eval.sources.external_envs import make_adapted

TASK = "dm_control:cartpole/balance"
RULE = Declaration(success="reward>=0.9")


def test_a_task_tells_its_own_facts_and_all_its_entries_are_state():
    env = make_adapted(TASK, {}, RULE, film=False)
    assert env.observation_space["agent_pos"].shape == (5,)
    assert (env.max_episode_steps, env.metadata["render_fps"], env.hold) == (1000, 100, "zero")
    shown, _ = env.reset(seed=4)
    assert len(env.simulator_state()) == 4
    assert env.observation_space.contains(shown)
    assert make_adapted("dm_control:reacher/easy", {}, RULE, film=False).observation_space["agent_pos"].shape == (6,)


def test_equal_seeds_give_equal_episodes_in_any_instance():
    def episode(env):
        shown = [env.reset(seed=3 << 40)[0]["agent_pos"]]
        return np.array(shown + [env.step(np.full(1, 0.3, np.float32))[0]["agent_pos"] for _ in range(20)])

    first, second = (make_adapted(TASK, {}, RULE, film=False) for _ in range(2))
    reference = episode(first)
    second.reset(seed=9)
    np.testing.assert_array_equal(episode(second), reference)
    np.testing.assert_array_equal(episode(first), reference)


def test_the_suites_time_limit_truncates():
    env = make_adapted("dm_control:point_mass/easy", {}, Declaration(success="reward>=2"), film=False)
    env.reset(seed=1)
    for step in range(env.max_episode_steps):
        _, _, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
        assert (terminated, truncated) == (False, step == env.max_episode_steps - 1)


def test_cameras_are_those_of_the_model_and_may_be_skipped():
    env = make_adapted(TASK, {"cameras": ["fixed"], "image_size": 32}, RULE, film=False)
    before, _ = env.reset(seed=1)
    assert before["pixels"]["fixed"].shape == (32, 32, 3)
    env.skip_cameras(True)
    assert np.array_equal(env.step(np.ones(1, np.float32))[0]["pixels"]["fixed"], before["pixels"]["fixed"])
    env.skip_cameras(False)
    assert not np.array_equal(env.step(np.ones(1, np.float32))[0]["pixels"]["fixed"], before["pixels"]["fixed"])


@pytest.mark.filterwarnings("ignore:.*(symmetric and normalized|is -?infinity|initializing the environment)")
def test_gymnasiums_contract_holds():
    check_env(make_adapted(TASK, {}, RULE, film=False), skip_render_check=True)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("dm_control:cartpole/balanc", {}, UnknownName, "Did you mean 'cartpole/balance'"),
        (TASK, {"cameras": ["front"]}, UnknownName, "unknown camera 'front'; there are: fixed"),
        (TASK, {"cameras": [7]}, UsageError, "camera 7 does not exist; the task has 2"),
        (TASK, {"camera": 1}, UsageError, "does not take the options"),
    ],
)
def test_what_is_not_there_is_refused_by_name(name, options, error, message):
    with pytest.raises(error, match=message):
        make_adapted(name, options, RULE, film=False)
