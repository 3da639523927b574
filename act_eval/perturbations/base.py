"""What a perturbation is: one axis at one severity, the fields that it writes, and hooks into an episode.

Fields have names, which errors, manifests and the purity check use:

- `pixels`, `pixels.CAMERA`, `agent_pos`, `environment_state` (the goal): entries of the observation;
- `action`, `timing`: the command that the environment receives, and when it does;
- `state`: the simulator's state after reset;
- `model.FIELD`: an array of the MuJoCo model, as in `model.light_diffuse`; `*` stands for any part of a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.timing import snake_case, source_entry
from act_eval.types import FloatArray
from act_eval.types.scene import Variation

SEVERITIES = (1, 2, 3, 4, 5)
OBSERVED = ("pixels", "agent_pos", "environment_state")
"""Entries of an observation."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What an environment offers to perturbations."""

    label: str
    cameras: tuple[str, ...]
    has_goal: bool
    model: Any = None
    """Its `mujoco.MjModel`; None if it cannot be reached."""
    varies: bool = False
    """Whether it has the hook `vary`, as the built-in environments do."""


@dataclass
class Perturbation:
    """One axis at one severity.

    A subclass declares `writes` and overrides some of the hooks. Each environment slot has its own copy, so a hook may
    keep values on `self`. Draw random numbers from `self.rng`, best in `begin`: it is the episode's own stream.
    """

    severity: int
    """1 (weak) to 5 (strong)."""

    writes: ClassVar[tuple[str, ...]] = ()
    """The fields that it changes itself; consequences (darker images of a weaker light) need no mention."""
    every_frame: ClassVar[bool] = False
    """Whether it needs the images of every step, also of those at which no chunk is requested."""

    rng: np.random.Generator = field(init=False, repr=False, compare=False)
    """The episode's stream of this axis; set before `begin`."""
    offered: Offered = field(init=False, repr=False, compare=False)
    """Set before `begin`."""
    command_unit: FloatArray = field(init=False, repr=False, compare=False)
    """(A,) half of the width of the action space, 1 where it is unbounded; set before `begin`."""

    def __post_init__(self) -> None:
        """Check the severity."""
        if isinstance(self.severity, bool) or self.severity not in SEVERITIES:
            raise UsageError(f"perturbation {self.axis}: severity is {self.severity!r}; there are: 1, 2, 3, 4, 5")

    @property
    def axis(self) -> str:
        """Name of the axis: that of the class in snake case."""
        return snake_case(type(self).__name__)

    @property
    def options(self) -> dict[str, Any]:
        """The fields beside the severity that are not at their default."""
        own = [one for one in fields(self)[1:] if one.init]
        return {one.name: value for one in own if (value := getattr(self, one.name)) != _default(one)}

    @property
    def shipped(self) -> bool:
        """Whether it is part of act_eval."""
        return type(self).__module__.startswith("act_eval.")

    def level(self, values: Sequence[float]) -> float:
        """Return the value of the severity among five."""
        return values[self.severity - 1]

    def sign(self) -> float:
        """Draw -1 or 1."""
        return float(self.rng.integers(2)) * 2 - 1

    def refusal(self, offered: Offered) -> str | None:
        """Return why an environment cannot offer the axis; None if it can."""
        if any(name.startswith("pixels") for name in self.writes) and not offered.cameras:
            return f"{offered.label} shows no camera image"
        if "environment_state" in self.writes and not offered.has_goal:
            return f"{offered.label} has no goal input (environment_state)"
        if any(name.startswith("model.") for name in self.writes) and offered.model is None:
            return f"the MuJoCo model of {offered.label} cannot be reached"
        return None

    def begin(self) -> None:
        """Draw what is random in an episode, before the environment's reset."""

    def change_model(self, model: Any) -> None:
        """Write into the model's declared fields, which are as in the unperturbed environment, before the reset."""

    def variation(self) -> Variation | None:
        """Return a variation of the built-in scene, which `begin` has drawn."""
        return None

    def observation(self, observed: dict[str, Any], step: int) -> Mapping[str, Any]:
        """Return the changed observation.

        Args:
            observed: `{"pixels": {camera: (H, W, 3) uint8}, "agent_pos", "environment_state"}`; its arrays must be
                replaced, not written into. Without `pixels` at steps whose images nobody reads.
            step: control steps taken since the reset.
        """
        return observed

    def action(self, command: FloatArray, step: int) -> NDArray[np.floating]:
        """Return the command (A,) that the environment receives in place of `command`, at a step from 0 on."""
        return command


Perturbations = tuple[Perturbation, ...]
"""Those of one condition, in effect at once."""


def label_of(parts: Perturbations) -> str:
    """Return the end of a condition's name, as in `_light3_camera_pose2`; fit for a folder."""
    labels = []
    for part in parts:
        options = "".join(f"-{name}-{value}" for name, value in part.options.items())
        labels.append(f"_{part.axis}{part.severity}{re.sub(r'[^A-Za-z0-9.+]+', '-', options).rstrip('-')}")
    return "".join(labels)


def text_of(parts: Perturbations) -> str:
    """Return the text that a user writes, as in `light=3+camera_pose=2`, without options."""
    return "+".join(f"{part.axis}={part.severity}" for part in parts)


def perturbation_entry(parts: Perturbations) -> dict[str, Any]:
    """Return the entries of a perturbed condition in the manifest; none without a perturbation."""
    if not parts:
        return {}
    options = {part.axis: part.options for part in parts if part.options}
    sources = {part.axis: source_entry(type(part)) for part in parts if not part.shipped}
    return {
        "perturbation": {part.axis: part.severity for part in parts},
        "perturbation_writes": sorted({name for part in parts for name in part.writes}),
        **({"perturbation_options": options} if options else {}),
        **({"perturbation_sources": sources} if sources else {}),
    }


def check_together(parts: Perturbations) -> None:
    """Refuse axes that write the same field.

    Raises:
        UsageError: naming two axes and the field.
    """
    for number, first in enumerate(parts):
        for second in parts[number + 1 :]:
            for one in first.writes:
                for other in second.writes:
                    if overlap(one, other):
                        raise UsageError(
                            f"perturbation {text_of(parts)}: {first.axis} and {second.axis} both write "
                            f"{max(one, other, key=len)}; give them as two conditions, with a space between"
                        )


def overlap(one: str, other: str) -> bool:
    """Return whether two names of fields can mean the same field."""
    if fnmatchcase(one, other) or fnmatchcase(other, one):
        return True
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def declares(parts: Perturbations, name: str) -> bool:
    """Return whether a field, or the entry that it is a part of, is declared."""
    return any(
        fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") for part in parts for pattern in part.writes
    )


def _default(one: Any) -> Any:
    return one.default_factory() if one.default is MISSING and one.default_factory is not MISSING else one.default
