"""Other people's environments in our engine: which entries are what, when it succeeded, what holding still means."""

from act_eval.envs.adapters.adapted import AdaptedEnv
from act_eval.envs.adapters.declaration import Declaration

__all__ = ["AdaptedEnv", "Declaration"]
