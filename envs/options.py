"""Options of the pick-and-place environments."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from act_eval.errors import UnknownName, UsageError
from act_eval.scenes.meshes import ROOT_VARIABLE
from act_eval.scenes.rendering import MAX_SIDE
from act_eval.scenes.scene import SceneConfig
from act_eval.scenes.workspace import ANY_YAW

GoalInput = Literal["click", "exact", "none", "confuser", "random"]
Positions = Literal["continuous", "one", "two"]
ObsType = Literal["pixels_agent_pos", "state"]


@dataclass(frozen=True)
class PickOptions:
    """Options of every environment of this room."""

    confusers: int = 1
    """Blocks beside the target, 0 to 3."""
    identical: bool = True
    """Whether confusers look like the target; otherwise each has its own colour."""
    image_size: int = 96
    """Height and width of both cameras' images [px]."""
    action_noise: float = 0.0
    """Standard deviation of the noise that the environment adds to the five arm joints' commands, in a random half
    of the steps [rad]. Recorded and reported commands stay clean."""
    gripper_faults: float = 0.0
    """Probability per step of a gripper fault of 10 to 25 steps: the gripper opens on a close command and closes on an
    open command. Demonstrations collected with it contain recoveries from an empty or lost grasp."""
    goal_input: GoalInput = "exact"
    """Content of `environment_state`: the target's position at every step (`exact`), a click on the target at reset,
    and again when its role passes to another block, which misses the centre by an error and does not follow it
    (`click`), a confuser's position, a random position of the workspace fixed for the episode, or (`none`) the mean
    position of a target at reset."""
    max_yaw: float = 0.35
    """Largest turn of a block to either side at reset [rad]; a quarter of pi covers every orientation of a cube."""
    swap_blocks: bool = False
    """Whether target and first confuser exchange positions at reset."""
    positions: Positions = "continuous"
    """Where the target starts: anywhere in the workspace, always near the first of two places (`one`), or near either
    of them (`two`). The first confuser then starts near the other place."""
    label_noise: float = 0.0
    """Share of the episodes whose `exact` or `click` goal input is that of the first confuser: wrong labels."""
    robot_meshes: bool = False
    """Whether the arm shows its meshes, from a copy of MuJoCo Menagerie that `MENAGERIE_ROOT` names, instead of
    primitives. Physics does not change."""

    obs_type: ObsType = "pixels_agent_pos"
    """What a policy observes: both cameras, the joints and the goal input, or (`state`) no images, and everything that
    moves in `environment_state`: the target's position, yaw and velocity, and the joints' velocities."""

    _later: ClassVar[tuple[str, ...]] = ("positions", "label_noise", "robot_meshes", "max_yaw", "obs_type")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "PickOptions":
        """Return the options that are given by name, the others as they are by default.

        Raises:
            UnknownName: listing the options.
        """
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                raise UnknownName("option of the environment", name, names)
        return cls(**given)

    def facts(self) -> dict[str, Any]:
        """Return the options as a suite stores them.

        Options added later are stored only if they differ from their default, so that older suites keep their hash.
        """
        default = PickOptions()
        return {k: v for k, v in asdict(self).items() if k not in self._later or v != getattr(default, k)}

    def __post_init__(self) -> None:
        """Refuse values outside their range, by name."""
        for name, kind in (("goal_input", GoalInput), ("positions", Positions), ("obs_type", ObsType)):
            if (chosen := getattr(self, name)) not in get_args(kind):
                raise UnknownName(name, str(chosen), get_args(kind))
        if self.obs_type == "state" and self.goal_input != "exact":
            raise UsageError(
                f"obs_type 'state' hands over the target's position, but goal_input is {self.goal_input!r}; "
                "it needs goal_input='exact'"
            )
        if self.obs_type == "state" and self.label_noise:
            raise UsageError(
                f"obs_type 'state' hands over the target's position, but label_noise is {self.label_noise}; "
                "it needs label_noise=0"
            )
        if not 8 <= self.image_size <= MAX_SIDE:
            raise UsageError(f"image_size is {self.image_size}; 8 to {MAX_SIDE} pixels are allowed")
        if not 0 <= self.max_yaw <= ANY_YAW:
            raise UsageError(f"max_yaw is {self.max_yaw} rad; 0 to pi/4 = {ANY_YAW} are allowed: every turn of a cube")
        if not 0 <= self.action_noise <= 1:
            raise UsageError(f"action_noise is {self.action_noise} rad; 0 to 1 are allowed")
        if not 0 <= self.gripper_faults <= 1:
            raise UsageError(f"gripper_faults is {self.gripper_faults}; it is a probability per step, 0 to 1")
        if self.positions != "continuous" and self.confusers > 1:
            raise UsageError(f"positions {self.positions!r} leaves room for one confuser, got {self.confusers}")
        if not 0 <= self.label_noise <= 1:
            raise UsageError(f"label_noise is {self.label_noise}; it is a share of the episodes, 0 to 1")
        if not isinstance(self.robot_meshes, bool):
            raise UsageError(
                f"robot_meshes is {self.robot_meshes!r}; it is true or false; {ROOT_VARIABLE} names the meshes' folder"
            )
        SceneConfig(self.confusers, self.identical)
        for name, used in (
            ("goal_input='confuser'", self.goal_input == "confuser"),
            ("swap_blocks", self.swap_blocks),
            ("label_noise", self.label_noise > 0),
        ):
            if used and self.confusers == 0:
                raise UsageError(f"{name} needs a confuser; this environment has none")
