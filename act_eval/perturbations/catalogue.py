"""The shipped axes by name, and the environments that they are for."""

from difflib import get_close_matches

from act_eval.perturbations.base import Perturbation
from act_eval.perturbations.images import (
    Blur,
    Brightness,
    CameraOff,
    Colour,
    Contrast,
    DroppedFrames,
    ImageNoise,
    Jpeg,
    LateFrames,
    Occlusion,
    ShuffledFrames,
)
from act_eval.perturbations.model import (
    ActuatorGain,
    CameraFov,
    CameraPose,
    Damping,
    Friction,
    GeomColour,
    GeomTexture,
    Light,
    LightColour,
    LightDirection,
    LightStrength,
    Mass,
)
from act_eval.perturbations.scene import BlockSize, Distractors, StartPose, TableHeight, TablePattern, TrayPlace
from act_eval.perturbations.signals import (
    CommandNoise,
    CommandOffset,
    CommandScale,
    GoalError,
    JointBias,
    JointDelay,
    JointNoise,
    RateJitter,
)
from act_eval.timing import snake_case

_KINDS: dict[str, tuple[type[Perturbation], ...]] = {
    "environments with cameras": (
        *(ImageNoise, Blur, Jpeg, Brightness, Contrast, Colour, Occlusion),
        *(CameraOff, DroppedFrames, LateFrames, ShuffledFrames),
    ),
    "any environment": (JointNoise, JointBias, JointDelay, CommandNoise, CommandScale, CommandOffset, RateJitter),
    "environments with a goal input": (GoalError,),
    "MuJoCo environments whose model can be reached": (
        *(Light, LightDirection, LightStrength, LightColour, CameraPose, CameraFov, GeomColour, GeomTexture),
        *(Mass, Friction, Damping, ActuatorGain),
    ),
    "built-in environments": (Distractors, BlockSize, TableHeight, StartPose, TrayPlace, TablePattern),
}

AXES: dict[str, type[Perturbation]] = {snake_case(kind.__name__): kind for kinds in _KINDS.values() for kind in kinds}
"""Name → class."""


def axes_text() -> str:
    """Return the axes that exist and the environments that they are for."""
    groups = (f"{', '.join(snake_case(kind.__name__) for kind in kinds)} ({env})" for env, kinds in _KINDS.items())
    return f"there are: {'; '.join(groups)}; and module:Name of your own; each at severities 1, 2, 3, 4, 5"


def suggestion(name: str) -> str:
    """Return the axis of the most similar name as a question, to stand before `axes_text`; empty without one."""
    close = get_close_matches(name, AXES, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
