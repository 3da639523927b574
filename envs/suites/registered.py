"""Tasks that a package registers with Gymnasium."""

from importlib import import_module
from typing import Any

import gymnasium as gym

from act_eval.envs.suites import NamedSuite


def tasks(suite: NamedSuite) -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(suite.ids)


def make(task: str, *, film: bool, suite: NamedSuite, **options: Any) -> gym.Env[Any, Any]:
    """Return a task as its package makes it; the engine cuts its episodes off."""
    import_module(suite.module)  # registers its tasks
    more = {"render_mode": "rgb_array"} if film and "render_mode" not in options else {}
    return gym.make(suite.ids[task], disable_env_checker=True, max_episode_steps=-1, **more, **options)
