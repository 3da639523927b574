"""Declaration of an external environment, and its hold rule: the command of steps that no chunk covers.

The right rule depends on the controller. Absolute position targets: the last command again. Velocities and
displacements: zero; repeating them continues the motion. Torques: neither holds; zero lets the robot go limp.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from act_eval.errors import UsageError
from act_eval.types import FloatArray
from act_eval.types.env_hooks import HoldActionHook

REPEAT, ZERO, OWN = "repeat", "zero", "hold_action of the environment"


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Meaning of an environment's entries. None: found by default names, or taken from the environment."""

    images: Mapping[str, str] | None = None
    """Camera name → place of its image, as in `pixels.top`; `render()` is the image that the environment renders."""
    state: tuple[str, ...] | None = None
    """Places of the robot's state; several are joined in this order. A part of a vector: `observation[0:7]`."""
    environment_state: tuple[str, ...] | None = None
    """Places of further state of the scene, such as a goal."""
    success: str | None = None
    """Success rule, such as `info.is_success`, `reward>=4`, `return>=475`, `terminated`."""
    hold: str | None = None
    """Command of steps that no chunk covers: `repeat`, `zero`, or one entry per action dim: `0,0,0,repeat`."""
    horizon: int | None = None
    """Control steps after which an episode is cut off."""
    control_ms: float | None = None
    """Length of a control step [ms]."""

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < 1:
            raise UsageError(f"horizon is {self.horizon}; it must be at least 1 control step")
        if self.control_ms is not None and not 0 < self.control_ms < math.inf:
            raise UsageError(f"control_ms is {self.control_ms}; it must be finite and above 0")

    def over(self, defaults: "Declaration") -> "Declaration":
        """Return this declaration, completed by `defaults`."""
        return replace(defaults, **{name: value for name, value in vars(self).items() if value is not None})


def hold_rule(declared: str | None, own: HoldActionHook | None, action_dim: int) -> tuple[str, HoldActionHook]:
    """Return the name of the rule, and the rule: last command (A,) → command (A,).

    Args:
        declared: `repeat`, `zero`, or one entry per action dim; None: the environment's method `hold_action`, or
            `repeat` without one.
        own: That method, if there is one.
        action_dim: A.

    Raises:
        UsageError: if the text is none of these.
    """
    if declared is None and own is not None:
        return OWN, own
    if declared in (None, REPEAT):
        return REPEAT, lambda last_command: last_command.copy()
    entries = ["0"] * action_dim if declared == ZERO else [entry.strip() for entry in declared.split(",")]
    fixed = np.array([_entry(entry, declared) for entry in entries], np.float32)
    if len(fixed) != action_dim:
        raise UsageError(f"hold is {declared!r}, which has {len(fixed)} entries; an action has {action_dim}")

    def hold(last_command: FloatArray) -> FloatArray:
        return np.where(np.isnan(fixed), last_command, fixed).astype(np.float32)

    return declared, hold


def _entry(text: str, declared: str) -> float:
    """Return a fixed value, NaN for `repeat`."""
    if text == REPEAT:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(
            f"hold is {declared!r}; allowed: {REPEAT} (absolute positions), {ZERO} (velocities, displacements), or "
            "one entry per action dim with commas between, each a number or 'repeat'"
        )
    return value
