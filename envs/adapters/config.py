"""What a user declares of an environment that is not ours."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from act_eval.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Which entries of an environment are what. None: found by the usual names, or said by the environment."""

    images: Mapping[str, str] | None = None
    """Camera name → place of its image, as in `pixels.top`; `render()` is what the environment renders."""
    state: tuple[str, ...] | None = None
    """Places of the robot's state; several are joined in this order. A part of a vector: `observation[0:7]`."""
    environment_state: tuple[str, ...] | None = None
    """Places of what else is known of the scene, such as a goal."""
    success: str | None = None
    """When an episode has succeeded, as in `info.is_success`, `reward>=4`, `return>=475`, `terminated`."""
    hold: str | None = None
    """What runs where no chunk covers a step: `repeat`, `zero`, or one entry per action dim: `0,0,0,repeat`."""
    horizon: int | None = None
    """Control steps after which an episode is cut off."""
    control_ms: float | None = None
    """Length of a control step [ms]."""

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < 1:
            raise UsageError(f"horizon is {self.horizon}; it must be at least 1 control step")
        if self.control_ms is not None and not 0 < self.control_ms < math.inf:
            raise UsageError(f"control_ms is {self.control_ms}; it must be finite and above 0")

    def over(self, usual: "Declaration") -> "Declaration":
        """Return this declaration with `usual` where it says nothing."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(usual, **said)
