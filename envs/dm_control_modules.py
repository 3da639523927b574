"""dm_control, which is not installed with act_eval on Python 3.13: its requirement labmaze has no wheel there."""

import warnings
from importlib import import_module
from types import ModuleType

from act_eval.errors import UsageError


def dm_control_module(name: str) -> ModuleType:
    """Import a module of dm_control.

    Raises:
        UsageError: if it is not installed, with the lines that install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks for a window system at import and warns where there is none
            return import_module(f"dm_control.{name}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the scripted expert and dm_control's tasks need dm_control, and {error.name} is not installed: "
            "pip install dm-control; on Python 3.13 first pip install --no-deps dm-control, then pip install dm-env "
            "dm-tree lxml glfw pyopengl absl-py requests pyparsing protobuf tqdm"
        ) from error
