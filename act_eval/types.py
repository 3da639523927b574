"""The words that every room shares, as types: observations, requests, chunks, actions, and three protocols.

A policy predicts chunks and knows nothing of time. An executor decides which action runs now and knows nothing
of tensors. An observer watches and changes nothing.

Legend: `B` environment slots · `N` rows of one request · `C` chunk length · `P` longest prefix · `A` action dim ·
`H`, `W` image height and width. All counts of time are in control steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ImageArray = NDArray[np.uint8]

Window = Literal["same", "shifted"]
"""Which steps a chunk covers: `same` starts at the observation's step t, `shifted` at t + told delay."""

STATE = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"
IMAGE_PREFIX = "observation.images."
ACTION = "action"


@dataclass(frozen=True)
class Observation:
    """What the policies of a batch of environments may see, one row per environment."""

    pixels: Mapping[str, ImageArray]
    """Camera name → RGB images, (B, H, W, 3) uint8."""
    agent_pos: FloatArray
    """Joint angles, (B, J) [rad]."""
    environment_state: FloatArray | None
    """Coordinates of the target, (B, 2) [m]; None where the environment has none."""

    def take(self, rows: IntArray) -> "Observation":
        """Return the observation of some rows, in the order given."""
        return Observation(
            pixels={name: images[rows] for name, images in self.pixels.items()},
            agent_pos=self.agent_pos[rows],
            environment_state=None if self.environment_state is None else self.environment_state[rows],
        )


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """What an executor and an environment must know of a policy."""

    chunk: int
    """C, actions in one prediction."""
    action_dim: int
    """A."""
    window: Window
    """Which steps a chunk covers."""
    takes_prefix: bool
    """Whether the committed prefix and the told delay are inputs."""
    max_delay: int
    """Largest told delay that the policy was trained for; 0 for a policy without a prefix."""
    inputs: Mapping[str, tuple[int, ...]]
    """Declared inputs with their shapes: `observation.state`, `observation.environment_state`,
    `observation.images.NAME` as (H, W, 3)."""
    overhead_projection: tuple[float, ...] | None = None
    """Where the policy believes that places on the table appear in the overhead image, for one that cuts it there: a
    homography (9,), row by row, (x, y, 1) [m] to (u, v, 1) from 0 to 1."""

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.action_dim < 1 or self.max_delay < 0:
            raise UsageError(f"a policy needs chunk >= 1, action_dim >= 1 and max_delay >= 0, got {self}")

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras among the declared inputs."""
        return tuple(k.removeprefix(IMAGE_PREFIX) for k in self.inputs if k.startswith(IMAGE_PREFIX))


@dataclass(frozen=True, kw_only=True)
class ChunkRequest:
    """A batched question to a policy: one row per environment that is due."""

    rows: IntArray
    """(N,) environment slots, for policies that keep something per row."""
    steps: IntArray
    """(N,) step of the observation: t, less what observations are late."""
    observation: Observation
    """N rows."""
    told_delay: IntArray
    """(N,) delay d that the policy is to be conditioned on."""
    prefix: FloatArray
    """(N, P, A) committed commands a_t … a_{t+d-1}; entries from d on are zero and mean nothing."""
    prefix_known: IntArray | None = None
    """(N,) how many of the d commands, from the first on, the policy may read; the others are NaN, and padding is to
    stand in their place. None: all of them."""
    last_action: FloatArray
    """(N, A) a_{t-1}, or the joint angles of the observation at t = 0 (NaN where they are not A numbers)."""


@dataclass(frozen=True)
class ActionChunks:
    """A policy's answer."""

    actions: FloatArray
    """(N, C, A) absolute commands; output 0 belongs to step t (`same`) or t + told delay (`shifted`)."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a new chunk changes where it takes over from chunks that could have gone on."""

    replaced: FloatArray
    """(A,) command that would have run at this step if the new chunk had not come."""
    overlap_rmse: FloatArray
    """(A,) root mean square over the steps from this one on that both cover of the new chunk, as the policy predicted
    it before anything was blended or averaged, less what would have run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """A request and what the policy answered, noted when it goes out; steps count from the episode's begin."""

    sent: int
    """Step at which the request went out."""
    observation_step: int
    """Step of the observation that it read."""
    start: int
    """Step of the answer's first action."""
    ready: int
    """First step at which the answer may act; for a lost one the step at which it is given up."""
    told: int
    """Told delay."""
    actual: int
    """Actual delay, 0 for a lost answer."""
    lost: bool
    actions: FloatArray
    """(C, A) what the policy answered."""
    coordinates: FloatArray
    """(K,) the observation's `environment_state` as the policy was shown it; K = 0 without one."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)


@dataclass(frozen=True, kw_only=True)
class Actions:
    """What runs now, with where it came from. Every array has one entry per slot; idle slots hold -1 and zeros."""

    command: FloatArray
    """(B, A) commands for this step."""
    ran: FloatArray | None = None
    """(B, A) what reaches the arms at this step where commands are late; None: the commands of this step."""
    chunk: IntArray
    """(B,) number of the chunk within the episode, -1 where the hold action runs."""
    index: IntArray
    """(B,) index within the chunk, -1 where the hold action runs."""
    observed: IntArray
    """(B,) step of the observation behind the action, -1 where the hold action runs."""
    requested: BoolArray
    """(B,) whether a request was sent at this step."""
    told_delay: IntArray
    """(B,) told delay of the running chunk, -1 without one."""
    actual_delay: IntArray
    """(B,) actual delay of the running chunk, -1 without one."""
    in_flight: IntArray
    """(B,) requests that have no answer yet after this step's bookkeeping."""
    seam: BoolArray
    """(B,) whether this is the first step of a chunk that replaces another."""
    takeovers: Mapping[int, Takeover] = field(default_factory=dict)
    """Slot → what its seam changes; none at a seam where the chunks of the step before do not reach."""
    predictions: Mapping[int, Sequence[Prediction]] = field(default_factory=dict)
    """Slot → the requests of this step with their answers."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Slot → what its policy did wrong; its command means nothing and its episode is over."""
    invalid: Mapping[int, str] = field(default_factory=dict)
    """Slot → what its environment could not do for a request; its command means nothing and its episode is over."""

    @property
    def starved(self) -> BoolArray:
        """(B,) whether no chunk covers this step, so that the hold action runs."""
        return self.chunk < 0


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One control step of one episode, as observers see it (before the step is taken)."""

    episode: int
    seed: int
    step: int
    command: FloatArray
    """(A,) decided for this step."""
    ran: FloatArray | None = None
    """(A,) what reaches the arm at this step where commands are late; None: the command."""
    chunk: int
    index: int
    observed: int
    requested: bool
    told_delay: int
    actual_delay: int
    in_flight: int
    seam: bool
    takeover: Takeover | None = None
    """See `Actions.takeovers`."""
    predictions: Sequence[Prediction] = ()
    """See `Actions.predictions`."""
    state: NDArray[np.float64]
    """(S,) simulator state before the step."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One finished episode. Nothing here depends on the clock."""

    episode: int
    """Number within the suite."""
    seed: int
    outcome: str
    """One of `act_eval.records.OUTCOMES`."""
    steps: int
    """Control steps taken."""
    stopped_steps: int = 0
    """Control steps' worth of time for which the world stood still (`sync` frozen)."""
    collapse_index: float | None = None
    """Closing position of the gripper on the segment target → confuser: 0 target, 1 confuser."""
    seams: int = 0
    starved_steps: int = 0
    requests: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Further measurements of this episode (JSON values), named in docs/file-formats.md."""
    error: str | None = None
    """What went wrong, for `policy_error` and `invalid`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an environment says of the episode so far, by its outcome rules."""

    outcome: str
    """One of `act_eval.records.OUTCOMES`."""
    collapse_index: float | None = None
    """See `EpisodeRecord.collapse_index`."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Further measurements (JSON values)."""


@dataclass(frozen=True)
class Motion:
    """How an arm moved through N states; what environments say of logged states with `motion(states)`."""

    joints: NDArray[np.float64]
    """(N, J) joint positions in the order of the action dimensions [rad]."""
    gripper_xyz: NDArray[np.float64]
    """(N, 3) point between the jaws [m]."""
    gripper_joint: int | None = None
    """Which joint opens and closes the jaws: measures of smoothness leave it out."""


@dataclass(frozen=True, kw_only=True)
class ExecutorStatistics:
    """What the executor counted in one episode so far. Nothing here depends on the clock."""

    requests: int
    """Questions to the policy, the first chunk of the episode included."""
    seams: int
    starved_steps: int
    stopped_steps: int
    """See `EpisodeRecord.stopped_steps`; the first chunk, for which the world always stops, is not counted."""
    told_delays: tuple[int, ...]
    """Told delay of each request, in order."""
    actual_delays: tuple[int | None, ...]
    """Steps until each answer was there; None for a lost one."""
    lost: int
    """Answers that were lost, or came after the timeout."""
    late: int
    """Answers that came later than told and dropped what was already past (`rtc`)."""
    observation_ages: tuple[int, ...] = ()
    """Steps from the observation that each request read to the request, contained in its told and actual delay."""
    beyond_max_delay: int
    """Requests whose told delay was above the policy's `max_delay`: clipped or asked without a prefix."""
    predicted_actions: int
    discarded_actions: int
    """Predicted actions that were never run."""


NOTHING_COUNTED = ExecutorStatistics(
    requests=0,
    seams=0,
    starved_steps=0,
    stopped_steps=0,
    told_delays=(),
    actual_delays=(),
    lost=0,
    late=0,
    beyond_max_delay=0,
    predicted_actions=0,
    discarded_actions=0,
)
"""The statistics of an episode in which nothing was requested of a policy."""


class ChunkPolicy(Protocol):
    """Predicts chunks; knows nothing of time."""

    @property
    def spec(self) -> PolicySpec: ...

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Forget everything about `rows`; their next episodes have these seeds."""
        ...

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Answer every row of a request; a row's answer must not depend on the other rows."""
        ...


class Executor(Protocol):
    """Decides which action runs now; knows nothing of tensors."""

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in `rows`."""
        ...

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return for which slots `act` will look at the observation at these steps."""
        ...

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        """Return the commands of this step. Slots may be at different steps; -1 marks an idle slot."""
        ...

    def statistics(self, row: int) -> ExecutorStatistics:
        """Return what was counted in the present episode of a slot."""
        ...

    def inference_ms(self, row: int) -> tuple[float, ...]:
        """Return the wall-clock time of each prediction in the present episode of a slot [ms]."""
        ...


class Observer(Protocol):
    """Watches a rollout and changes nothing."""

    def on_step(self, record: StepRecord) -> None: ...

    def on_episode_end(self, record: EpisodeRecord) -> None: ...


@runtime_checkable
class EndStateObserver(Observer, Protocol):
    """An observer that also wants the state in which an episode ended, for instance for the last frame."""

    def on_end_state(self, episode: int, state: NDArray[np.float64]) -> None:
        """Take the (S,) simulator state after the last step; called before `on_episode_end`.

        It is NaN where a failed environment cannot give it, and empty where the episode never began.
        """
        ...
