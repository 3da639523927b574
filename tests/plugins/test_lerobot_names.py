"""Plugins without LeRobot: their names, the error without it, the environments."""

import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest

import act_eval
from act_eval.envs.expert import Expert
from act_eval.envs.registration import ENVIRONMENTS
from act_eval.errors import UnknownName

PLUGINS = Path(act_eval.__file__).resolve().parent.parent / "plugins"
MODULES = ("lerobot_env_act_eval", "lerobot_policy_act_rtc")
SEED = 4


@pytest.fixture(scope="module")
def registration() -> Iterator[ModuleType]:
    """The module that registers the environments, alone: its package imports LeRobot."""
    name = "registration_without_lerobot"
    spec = importlib.util.spec_from_file_location(name, PLUGINS / MODULES[0] / "registration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Gymnasium imports the wrapper by this name
    spec.loader.exec_module(module)
    module.register_all()
    yield module
    del sys.modules[name]
    for env in ENVIRONMENTS:
        del gym.registry[module.lerobot_id(env)]


def test_lerobot_finds_a_distribution_whose_name_is_a_module_of_ours():
    project = tomllib.loads((PLUGINS / "pyproject.toml").read_text())["project"]
    # LeRobot compares the name as it is written, underscores included, and imports the module of that name.
    assert project["name"].startswith("lerobot_policy_")
    assert (PLUGINS / project["name"] / "__init__.py").is_file()
    assert project["dependencies"] == ["act_eval"]
    assert project["version"] == act_eval.__version__


@pytest.mark.parametrize("name", MODULES)
def test_without_lerobot_the_plugin_says_what_is_missing(name: str):
    code = f"import sys; sys.modules['lerobot'] = None; sys.path.insert(0, {str(PLUGINS)!r}); import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {name} is a plugin of LeRobot, which is not installed here: pip")
    assert "act-eval evaluate" in last


def test_every_environment_has_an_id_for_lerobot(registration: ModuleType):
    registration.register_all()  # again, which changes nothing
    for name, ours in ENVIRONMENTS.items():
        spec = gym.spec(registration.lerobot_id(name))
        assert spec.id == registration.lerobot_id(ours) == f"lerobot_env_act_eval/{ours.partition('/')[2]}"
        assert (spec.entry_point, spec.kwargs) == (gym.spec(ours).entry_point, gym.spec(ours).kwargs)
    with pytest.raises(UnknownName, match=r"unknown environment 'juggle'.*confuser_pick"):
        registration.lerobot_id("juggle")


def test_a_vector_of_them_is_what_lerobots_loop_reads(registration: ModuleType):
    """LeRobot 0.4.4: `lerobot/scripts/lerobot_eval.py`, `lerobot/envs/utils.py`."""
    make = [lambda: gym.make(registration.lerobot_id("pick"), max_episode_steps=2)] * 2
    envs = gym.vector.SyncVectorEnv(make, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    seen, _ = envs.reset(seed=[1, 2])
    assert set(seen) == {"pixels", "agent_pos", "environment_state"}
    assert {(name, image.shape, image.dtype.name) for name, image in seen["pixels"].items()} == {
        ("overhead", (2, 96, 96, 3), "uint8"),
        ("wrist", (2, 96, 96, 3), "uint8"),
    }
    assert envs.call("_max_episode_steps") == (2, 2)
    assert all(hasattr(env, "task_description") for env in envs.envs)  # asked of the outermost wrapper
    assert set(envs.call("task")) == {"put the block at the given coordinates into the tray"}
    assert envs.metadata["render_fps"] == 20
    infos = [envs.step(seen["agent_pos"])[-1] for _ in range(2)]
    assert "final_info" not in infos[0]
    assert infos[1]["final_info"]["is_success"].tolist() == [False, False]
    envs.close()


def played(env: gym.Env) -> list[bool]:
    """Let the expert act, without cameras; return `is_success` of every step."""
    env.reset(seed=SEED)
    env.unwrapped.skip_cameras(True)  # pyright: ignore[reportAttributeAccessIssue]
    expert = Expert(env.unwrapped)  # pyright: ignore[reportArgumentType]
    said, over = [], False
    while not over:
        *_, terminated, truncated, info = env.step(expert.act())
        said.append(info["is_success"])
        over = terminated or truncated
    env.close()
    return said


def test_the_last_step_alone_tells_a_success_and_only_one_that_has_lasted(registration: ModuleType):
    ours = played(gym.make("act_eval/ConfuserPick-v1", disable_env_checker=True))
    first = int(np.argmax(ours))
    assert len(ours) - first == 10  # the hold time: the block is placed in each of the last steps
    name = registration.lerobot_id("confuser_pick")
    whole = played(gym.make(name, disable_env_checker=True))
    assert whole == [False] * (len(ours) - 1) + [True]
    # LeRobot counts any step, so a block that had just been placed when time was up must not show in one.
    assert not any(played(gym.make(name, max_episode_steps=first + 5, disable_env_checker=True)))
