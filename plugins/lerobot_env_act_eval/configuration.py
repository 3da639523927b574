"""`--env.type=act_eval`: environment, options, and LeRobot's names of its observations."""

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.types import FeatureType, PolicyFeature  # pyright: ignore[reportMissingImports]
from lerobot.envs.configs import EnvConfig  # pyright: ignore[reportMissingImports]

from act_eval.envs.options import PickOptions
from act_eval.envs.pick import CAMERAS
from act_eval.scenes.arm import JOINTS
from act_eval.scenes.workspace import CONTROL_HZ
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE
from lerobot_env_act_eval.registration import PACKAGE, lerobot_id, register_all


def _option(hint: Any) -> Any:
    """Return the type that LeRobot's parser reads an option as; it has no `Literal`."""
    return (str if typing.get_origin(hint) is typing.Literal else hint) | None


_HINTS = typing.get_type_hints(PickOptions)
_Options = dataclasses.make_dataclass(
    "_Options",
    [(f.name, _option(_HINTS[f.name]), field(default=None)) for f in dataclasses.fields(PickOptions)],
    bases=(EnvConfig,),
)


@EnvConfig.register_subclass("act_eval")
@dataclass
class ActEvalEnv(_Options):
    """One of act_eval's environments. Every option of `PickOptions` is a field; None keeps the default of the id."""

    task: str | None = "confuser_pick"
    """Short name or Gymnasium id."""
    fps: int = CONTROL_HZ
    render_mode: str = "rgb_array"

    def __post_init__(self) -> None:
        """Declare the observations under LeRobot's names.

        Raises:
            UnknownName: if there is no such environment.
            UsageError: naming the option out of range.
        """
        self.gym_id  # noqa: B018  # refuses an unknown name before anything is built
        PickOptions(**self._given())
        side = self._given().get("image_size", PickOptions.image_size)
        shown = {
            ACTION: (ACTION, PolicyFeature(FeatureType.ACTION, (len(JOINTS),))),
            "agent_pos": (STATE, PolicyFeature(FeatureType.STATE, (len(JOINTS),))),
            "environment_state": (ENVIRONMENT_STATE, PolicyFeature(FeatureType.ENV, (2,))),
        }
        for camera in CAMERAS:
            shown[f"pixels/{camera}"] = IMAGE_PREFIX + camera, PolicyFeature(FeatureType.VISUAL, (side, side, 3))
        self.features = {key: feature for key, (_, feature) in shown.items()}
        self.features_map = {key: name for key, (name, _) in shown.items()}

    @property
    def package_name(self) -> str:
        """Module that registers the ids."""
        return PACKAGE

    @property
    def gym_id(self) -> str:
        """Gymnasium id, registered on access, so that a new process has it too."""
        register_all()
        return lerobot_id(self.task or "")

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the environment."""
        return {"render_mode": self.render_mode, **self._given()}

    def _given(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(PickOptions)}
        return {name: value for name, value in values.items() if value is not None}
