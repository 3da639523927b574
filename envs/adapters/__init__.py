"""Other people's environments in our engine: which entries are what, when it succeeded, what holding still means."""

from act_eval.envs.adapters.config import Declaration
from act_eval.envs.adapters.wrapper import AdaptedEnv

__all__ = ["AdaptedEnv", "Declaration"]
