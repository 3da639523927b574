"""Gymnasium ids of this room and the short names that the command line takes.

A short name is version 1, which gives the policy a click on the target, and blocks at any yaw, so that a policy has to
look (docs/environments.md); `NAME-v0` is version 0, with the target's exact position in every step. `moving_pick` and
`nudged_pick` have no confuser unless one is asked for: which of two identical blocks has moved since the click, no
policy without memory can know.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from act_eval.errors import UnknownName
from act_eval.scenes.workspace import ANY_YAW, HORIZON

_BY_CLICK: Mapping[str, Any] = {"goal_input": "click", "max_yaw": ANY_YAW}

_TASKS: Mapping[str, tuple[str, str, int, int]] = {  # title, entry point, confusers in version 0 and in version 1
    "pick": ("Pick", "act_eval.envs.pick:PickEnv", 0, 0),
    "confuser_pick": ("ConfuserPick", "act_eval.envs.pick:PickEnv", 1, 1),
    "confuser_swap": ("ConfuserSwap", "act_eval.envs.dynamic:ConfuserSwapEnv", 1, 1),
    "moving_pick": ("MovingPick", "act_eval.envs.dynamic:MovingPickEnv", 1, 0),
    "nudged_pick": ("NudgedPick", "act_eval.envs.dynamic:NudgedPickEnv", 1, 0),
}

ENVIRONMENTS: Mapping[str, str] = {name: f"act_eval/{title}-v1" for name, (title, *_) in _TASKS.items()} | {
    f"{name}-v0": f"act_eval/{title}-v0" for name, (title, *_) in _TASKS.items()
}
"""Short name → Gymnasium id."""
_VERSION_1: Mapping[str, str] = {f"{name}-v1": ENVIRONMENTS[name] for name in _TASKS}


def register_all() -> None:
    """Register every environment with Gymnasium; calling it again changes nothing."""
    for title, entry_point, *confusers in _TASKS.values():
        for version, options in enumerate(({}, _BY_CLICK)):
            env_id = f"act_eval/{title}-v{version}"
            if env_id not in gym.registry:
                kwargs = {"confusers": confusers[version], **options}
                gym.register(env_id, entry_point=entry_point, max_episode_steps=HORIZON, kwargs=kwargs)


def env_id(name: str) -> str:
    """Return the Gymnasium id of a short name; an id of ours is returned as it is.

    Raises:
        UnknownName: listing the names that exist.
    """
    if name in ENVIRONMENTS.values():
        return name
    known = {**ENVIRONMENTS, **_VERSION_1}
    if name not in known:
        raise UnknownName("environment", name, known)
    return known[name]


def make(env_id: str, options: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Return a new environment of an id of ours, whichever its version.

    Raises:
        TypeError: if it does not take an option.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)  # version 0 is another task
        return gym.make(env_id, disable_env_checker=True, **options)
