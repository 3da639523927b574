"""Gymnasium environments: registration, observations, outcomes and the scripted expert."""

if not __name__.startswith("act_eval."):
    raise ImportError("import `act_eval.envs`; the folder `envs` is not a package of its own")

from act_eval.envs.registration import ENVIRONMENTS, register_all
from act_eval.scenes.backend import check_backend

check_backend()  # the import of MuJoCo would fail with a traceback
register_all()

__all__ = ["ENVIRONMENTS", "register_all"]
