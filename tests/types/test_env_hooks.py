"""An environment's hooks are asked for in one place, once."""

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import HookedWalk, Walk

from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.types import env_hooks
from act_eval.types.env_hooks import HOOKS, EnvHooks, hooks_of

ROOT = Path(env_hooks.__file__).parents[1]


def test_hooks_are_found_behind_wrappers_and_bound_to_their_environment() -> None:
    env = HookedWalk()
    hooks = hooks_of(gym.wrappers.TimeLimit(env, 5))
    env.reset(seed=3)
    assert hooks.simulator_state is not None
    np.testing.assert_array_equal(hooks.simulator_state(), env.simulator_state())
    offered = {name for name in HOOKS if vars(hooks)[name] is not None}
    assert offered == {"skip_cameras", "simulator_state", "hold_action", "verdict"}


def test_an_environment_without_hooks_has_none() -> None:
    assert hooks_of(Walk()) == EnvHooks()
    assert hooks_of(object()) == EnvHooks()


def test_ours_have_every_hook_but_those_of_foreign_environments() -> None:
    hooks = vars(hooks_of(PickEnv(image_size=32)))
    missing = {name for name in HOOKS if hooks[name] is None}
    foreign = {"remarks", "smoke_test", "package_versions", "video_cameras", "max_episode_steps"}
    assert missing == foreign | {"begin_step"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("motion", 3, "a method"),
        ("render_state", "slow", "a method"),
        ("video_cameras", 7, "a sequence of camera names"),
        ("video_cameras", "front", "a sequence of camera names"),
        ("max_episode_steps", "many", "a number of control steps"),
        ("max_episode_steps", lambda: 5, "a number of control steps"),
    ],
)
def test_something_else_by_a_hooks_name_is_refused(name: str, value: Any, wanted: str) -> None:
    env = Walk()
    setattr(env, name, value)
    with pytest.raises(UsageError, match=rf"Walk\.{name} is .*must be {wanted}"):
        hooks_of(env)


def test_only_the_hooks_asked_for_are_looked_at() -> None:
    env = HookedWalk()
    env.stage = 4  # pyright: ignore[reportAttributeAccessIssue]  # a curriculum's, say
    hooks = hooks_of(env, ("verdict",))
    assert hooks.verdict is not None
    assert hooks.simulator_state is None


def test_nothing_else_looks_for_methods_on_environments() -> None:
    asking = re.compile(r"(?:has|get)attr\((?:\w+\.)*(?:env|base|unwrapped|bench\.envs\[0\])\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in (ROOT, ROOT / "envs", ROOT / "policies")
        for path in sorted(folder.rglob("*.py"))
        if path != Path(env_hooks.__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if asking.search(line)
    ]
    assert found == []
