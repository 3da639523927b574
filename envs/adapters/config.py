"""Declaration of an external environment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from act_eval.errors import UsageError


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
