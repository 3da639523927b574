"""Plugin of LeRobot: ACT-RTC as `--policy.type=act_rtc`, and act_eval's environments beside it. See docs/lerobot.md."""

try:
    import lerobot  # noqa: F401  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "lerobot_policy_act_rtc is a plugin of LeRobot, which is not installed here: pip install lerobot. "
        "`act-eval train` and `act-eval evaluate` work without it",
        name="lerobot",
    ) from error

from lerobot_env_act_eval import ActEvalEnv  # LeRobot 0.4 finds policies by itself, but no environments
from lerobot_policy_act_rtc.configuration_act_rtc import ACTRTCConfig
from lerobot_policy_act_rtc.modeling_act_rtc import ACTRTCPolicy
from lerobot_policy_act_rtc.processor_act_rtc import make_act_rtc_pre_post_processors

__all__ = ["ACTRTCConfig", "ACTRTCPolicy", "ActEvalEnv", "make_act_rtc_pre_post_processors"]
