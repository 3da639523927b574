"""External environments in the engine: observation mapping, success rule, hold rule."""

from act_eval.envs.adapters.config import Declaration
from act_eval.envs.adapters.wrapper import AdaptedEnv

__all__ = ["AdaptedEnv", "Declaration"]
