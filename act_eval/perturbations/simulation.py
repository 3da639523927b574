"""The MuJoCo model behind an environment: how it is reached, and its fields by name."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.types.env_hooks import hooks_of

_STRUCTS = ("vis.headlight.ambient", "vis.headlight.diffuse", "vis.headlight.specular", "opt.gravity")
"""Arrays of the model's nested structures that perturbations may write."""
_NOT_FIELDS = ("signature",)
_DEPTH = 12
VISUAL = ("light_*", "cam_*", "geom_rgba", "geom_matid", "mat_*", "tex_*", "vis.*", "text_*")
"""Fields that no physics depends on."""


def simulation_of(env: Any) -> tuple[Any, Any] | None:
    """Return an environment's `mujoco.MjModel` and `mujoco.MjData`; None if they cannot be reached.

    They come from the hook `simulation`, from the attributes `model` and `data` (Gymnasium's and Gymnasium-Robotics'
    environments), or from a `physics` (dm_control, gym-aloha), of the environment or of what it wraps.
    """
    hook = hooks_of(env, ("simulation",)).simulation
    if hook is not None:
        return hook()
    waiting, seen = [env], set[int]()
    while waiting and len(seen) < _DEPTH:
        node = waiting.pop(0)
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if (found := _held(node)) is not None:
            return found
        waiting += [_attribute(node, name) for name in ("physics", "_physics", "unwrapped", "env", "_env")]
    return None


def model_fields(model: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model by name; they are views."""
    names = [name for name in dir(model) if not name.startswith("_") and name not in _NOT_FIELDS]
    found = {name: value for name in names if isinstance(value := getattr(model, name), np.ndarray)}
    return found | {name: value for name in _STRUCTS if (value := _nested(model, name)) is not None}


class ModelFields:
    """The declared fields of a model as they were; `restore` writes them back."""

    def __init__(self, model: Any, writes: Iterable[str]) -> None:
        self.model = model
        patterns = [field.removeprefix("model.") for field in writes if field.startswith("model.")]
        self._before = {
            name: (value, value.copy())
            for name, value in model_fields(model).items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        }

    def restore(self) -> None:
        """Write the fields as they were."""
        for value, before in self._before.values():
            value[...] = before


def is_visual(field: str) -> bool:
    """Return whether no physics depends on a field, `model.` included."""
    return any(fnmatchcase(field.removeprefix("model."), pattern) for pattern in VISUAL)


def _held(node: Any) -> tuple[Any, Any] | None:
    model, data = (_attribute(node, name) for name in ("model", "data"))
    model, data = (_attribute(one, "ptr") or one for one in (model, data))  # dm_control wraps both
    right = type(model).__name__ == "MjModel" and type(data).__name__ == "MjData"
    return (model, data) if right else None


def _attribute(node: Any, name: str) -> Any:
    try:
        return getattr(node, name, None)
    except Exception:  # a property of somebody's environment may raise anything
        return None


def _nested(model: Any, name: str) -> NDArray[Any] | None:
    for part in name.split("."):
        model = getattr(model, part, None)
    return model if isinstance(model, np.ndarray) else None
