"""Plan, progress and result of a collection."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from act_eval.datasets import Attempt, ImageStorage
from act_eval.errors import UnknownName, UsageError
from act_eval.seeding import Purpose, episode_seeds

LabelPrefix = Literal["own", "expert"]

DEMONSTRATED: Mapping[str, Any] = {"action_noise": 0.03, "gripper_faults": 0.008, "image_size": 96}
"""Options of the environments that demonstrations are collected in by default."""


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """Whom the expert corrects, and when. Every field determines the content of each episode."""

    policy: str
    """As it was named."""
    weights: str
    """Digest of the policy."""
    executor: str = "rtc"
    execution_horizon: int = 10
    delay: str = "uniform:0,8"
    between: float = 0.2
    """Share of the steps without a request that are labelled too, with a delay drawn uniformly."""
    prefix: LabelPrefix = "own"
    """Whose commands run in the simulator's copy during the delay: the policy's own ones, or the expert's."""

    def __post_init__(self) -> None:
        if self.prefix not in get_args(LabelPrefix):
            raise UnknownName("prefix of a label", self.prefix, get_args(LabelPrefix))
        if not 0 <= self.between <= 1:
            raise UsageError(f"between is {self.between}; it is a share of the steps, 0 to 1")


@dataclass(frozen=True, kw_only=True)
class CollectPlan:
    """What to collect. Every field but the number of episodes determines the content of each episode."""

    env: str
    """Gymnasium id of a built-in environment, or the name of another one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the environment (JSON values), action noise among them."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """What users declared of an environment that is not built in (JSON values)."""
    recovery: float = 0.0
    """Share of the episodes in which the expert picks an imagined block first; recording begins when it turns to
    the real one."""
    seed: int = 0
    """Determines the episode seeds."""
    episodes: int = 400
    """Successful episodes in the data set."""
    images: ImageStorage = "image"
    """Storage of the images."""
    corrections: Corrections | None = None
    """A policy acts, and the expert's corrections are kept; None: the expert acts."""
    task: str = "put the block at the given coordinates into the tray"
    """Task string of every frame."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UsageError(f"episodes is {self.episodes}; it must be at least 1")
        if self.images not in ("image", "video"):
            raise UsageError(f"images is {self.images!r}; allowed: image (PNG), video (H.264)")
        if not 0 <= self.recovery <= 1:
            raise UsageError(f"recovery is {self.recovery}; it is a share of the episodes, 0 to 1")
        episode_seeds(Purpose.COLLECT, self.seed, 0)

    def identity(self) -> dict[str, Any]:
        """Return the fields that must be equal for attempts to belong to the same collection."""
        fields = {key: value for key, value in asdict(self).items() if key != "episodes"}
        return {key: value for key, value in fields.items() if value or key not in ("corrections", "declared")}


@dataclass(frozen=True)
class CollectProgress:
    """Progress of a collection."""

    episodes: int
    """Successful attempts so far."""
    discarded: Mapping[str, int]
    """Outcome → discarded attempts."""


@dataclass(frozen=True)
class Collected:
    """A finished data set."""

    root: Path
    episodes: int
    frames: int
    attempts: int
    """Attempts made, discarded ones included."""
    discarded: Mapping[str, int]
    """Outcome → discarded attempts."""
    existed: bool
    """Whether the data set existed already."""


def progress_of(attempts: Iterable[Attempt]) -> CollectProgress:
    """Count attempts by outcome."""
    outcomes = Counter(attempt.outcome for attempt in attempts)
    episodes = outcomes.pop("success", 0)
    return CollectProgress(episodes, dict(sorted(outcomes.items())))
