"""Gymnasium ids of this room and the short names that the command line takes."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from act_eval.errors import UnknownName
from act_eval.scenes.workspace import HORIZON

ENVIRONMENTS: Mapping[str, str] = {
    "pick": "act_eval/Pick-v0",
    "confuser_pick": "act_eval/ConfuserPick-v0",
    "confuser_swap": "act_eval/ConfuserSwap-v0",
    "moving_pick": "act_eval/MovingPick-v0",
    "nudged_pick": "act_eval/NudgedPick-v0",
}
"""Short name → Gymnasium id."""

_ENTRY_POINTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pick": ("act_eval.envs.pick:PickEnv", {"confusers": 0}),
    "confuser_pick": ("act_eval.envs.pick:PickEnv", {"confusers": 1}),
    "confuser_swap": ("act_eval.envs.dynamic:ConfuserSwapEnv", {"confusers": 1}),
    "moving_pick": ("act_eval.envs.dynamic:MovingPickEnv", {"confusers": 1}),
    "nudged_pick": ("act_eval.envs.dynamic:NudgedPickEnv", {"confusers": 1}),
}


def register_all() -> None:
    """Register every environment with Gymnasium; calling it again changes nothing."""
    for name, env_id in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            entry_point, defaults = _ENTRY_POINTS[name]
            gym.register(env_id, entry_point=entry_point, max_episode_steps=HORIZON, kwargs=dict(defaults))


def env_id(name: str) -> str:
    """Return the Gymnasium id of a short name; an id of ours is returned as it is.

    Raises:
        UnknownName: listing the names that exist.
    """
    if name in ENVIRONMENTS.values():
        return name
    if name not in ENVIRONMENTS:
        raise UnknownName("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]
