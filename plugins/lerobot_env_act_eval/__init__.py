"""Plugin of LeRobot: act_eval's environments as `--env.type=act_eval`. See docs/lerobot.md."""

try:
    import lerobot  # noqa: F401  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "lerobot_env_act_eval is a plugin of LeRobot, which is not installed here: pip install lerobot. "
        "`act-eval evaluate` evaluates without it",
        name="lerobot",
    ) from error

from lerobot_env_act_eval.configuration import ActEvalEnv

__all__ = ["ActEvalEnv"]
