"""Gymnasium ids for LeRobot: act_eval's environments with LeRobot's additions to Gymnasium's API.

Nothing here needs LeRobot.
"""

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from act_eval.collect.plan import CollectPlan
from act_eval.envs.registration import ENVIRONMENTS, env_id
from act_eval.envs.registration import register_all as register_environments
from act_eval.types import SUCCESS

PACKAGE = "lerobot_env_act_eval"


class ForLeRobot(gym.Wrapper[Any, Any, Any, Any]):
    """Adds the task description, and the outcome of the episode to its last step."""

    def __init__(self, env: gym.Env[Any, Any], task: str) -> None:
        super().__init__(env)
        self.task = task
        self.task_description = task

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Run one step. `is_success` is true in the last step alone, if the outcome of the episode is success.

        LeRobot counts an episode with `is_success` in any step, but a block may lie in the tray and be pushed out.
        """
        observation, reward, terminated, truncated, info = super().step(action)
        over = terminated or truncated
        info["is_success"] = over and self.get_wrapper_attr("verdict")().outcome == SUCCESS
        return observation, reward, terminated, truncated, info


def lerobot_id(name: str) -> str:
    """Return the Gymnasium id for LeRobot of an environment's short name or id.

    Raises:
        UnknownName: listing the names that exist.
    """
    return f"{PACKAGE}/{env_id(name).partition('/')[2]}"


def register_all() -> None:
    """Register every environment under its id for LeRobot; calling it again changes nothing."""
    register_environments()
    for name, ours in ENVIRONMENTS.items():
        if lerobot_id(name) in gym.registry:
            continue
        spec = gym.spec(ours)
        words = WrapperSpec("ForLeRobot", f"{__name__}:ForLeRobot", {"task": CollectPlan.task})
        gym.register(
            lerobot_id(name),
            entry_point=spec.entry_point,
            max_episode_steps=spec.max_episode_steps,
            kwargs=dict(spec.kwargs),
            additional_wrappers=(words,),
        )
