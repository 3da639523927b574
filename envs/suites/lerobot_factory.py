"""What LeRobot's own factory makes: `lerobot:TYPE/TASK`, and `lerobot:TYPE/TASK/NUMBER` if TASK is a suite of several.

TYPE and the options are those of `lerobot-eval`'s `--env.type` and `--env.…`. LeRobot's processors of observations
belong to its policies and are not applied here.
"""

from importlib import import_module
from typing import Any

import gymnasium as gym

from act_eval.errors import UsageError


class LeRobotTask(gym.Wrapper[Any, Any, Any, Any]):
    """An environment of LeRobot's factory, with the control rate of its configuration."""

    def __init__(self, env: gym.Env[Any, Any], fps: float, horizon: int | None) -> None:
        super().__init__(env)
        self.metadata = {**env.metadata, "render_fps": fps}
        self.max_episode_steps = horizon


def make(task: str, *, film: bool, **options: Any) -> LeRobotTask:
    """Return an environment.

    Args:
        task: As in `pusht/PushT-v0` or `libero/libero_spatial/3`.
        film: Not used: LeRobot's environments render.
        options: Of the type's configuration.

    Raises:
        UsageError: if LeRobot has no such type, option, or task.
    """
    factory = import_module("lerobot.envs.factory")
    _import_plugins()
    kind, _, name = task.partition("/")
    name, number = _number(name)
    try:
        config = factory.make_env_config(kind, **({"task": name} if name else {}), **options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"lerobot:{task}: {error}") from error
    made = [one for of_suite in factory.make_env(config, n_envs=1).values() for one in of_suite.items()]
    vectors = dict(made)
    if number is None and len(vectors) > 1:
        raise UsageError(
            f"lerobot:{task} has {len(vectors)} tasks: add one's number, as in lerobot:{task}/{made[0][0]}"
        )
    number = made[0][0] if number is None else number
    if number not in vectors:
        raise UsageError(f"lerobot:{task}: there is no task {number}; there are {', '.join(map(str, sorted(vectors)))}")
    env = vectors[number].envs[0]
    return LeRobotTask(env, config.fps, _horizon(env, config))


def _import_plugins() -> None:
    """Let installed plugins register their types, where this version of LeRobot has plugins."""
    register = getattr(import_module("lerobot.utils.import_utils"), "register_third_party_plugins", None)
    if register is not None:
        register()


def _number(name: str) -> tuple[str, int | None]:
    first, slash, last = name.rpartition("/")
    return (first, int(last)) if slash and last.isdigit() else (name, None)


def _horizon(env: gym.Env[Any, Any], config: Any) -> int | None:
    registered = None if env.spec is None else env.spec.max_episode_steps
    own = vars(env.unwrapped).get("_max_episode_steps")
    return registered or own or getattr(config, "episode_length", None)
