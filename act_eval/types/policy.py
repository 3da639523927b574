"""The interface of policies: observations, requests and chunks.

Legend: `B` environment slots · `N` rows of one request · `C` chunk length · `P` longest prefix · `A` action dim ·
`J` joints · `H`, `W` image height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from act_eval.errors import UsageError
from act_eval.types.arrays import FloatArray, ImageArray, IntArray

Window = Literal["same", "shifted"]
"""Which steps a chunk covers: `same` starts at the observation's step t, `shifted` at t + estimated delay."""

STATE = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"
IMAGE_PREFIX = "observation.images."
ACTION = "action"
LAST_ACTION = "last_action"
"""The command (A,) before the observation; the joints of the observation at the first step."""


@dataclass(frozen=True)
class Observation:
    """The observations of a batch of environments, one row per environment."""

    pixels: Mapping[str, ImageArray]
    """Camera name → RGB images, (B, H, W, 3) uint8."""
    agent_pos: FloatArray
    """Joint angles, (B, J) [rad]."""
    environment_state: FloatArray | None
    """Goal input, here the target's (B, 2) coordinates [m]; None without one."""

    def take(self, rows: IntArray) -> "Observation":
        """Return the observation of some rows, in the order given."""
        return Observation(
            pixels={name: images[rows] for name, images in self.pixels.items()},
            agent_pos=self.agent_pos[rows],
            environment_state=None if self.environment_state is None else self.environment_state[rows],
        )


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """The properties of a policy that executors and environments need."""

    chunk: int
    """C, actions in one prediction."""
    action_dim: int
    """A."""
    window: Window
    """Which steps a chunk covers."""
    takes_prefix: bool
    """Whether the committed prefix and the estimated delay are inputs."""
    max_delay: int
    """Largest estimated delay that the policy was trained for; 0 for a policy without a prefix."""
    inputs: Mapping[str, tuple[int, ...]]
    """Declared inputs with their shapes: `observation.state`, `observation.environment_state`,
    `observation.images.NAME` as (H, W, 3)."""
    overhead_projection: tuple[float, ...] | None = None
    """The policy's projection of the table into the overhead image, if it crops there: a homography (9,),
    row by row, (x, y, 1) [m] to (u, v, 1) from 0 to 1."""
    n_action_steps: int | None = None
    """Actions of a chunk that its checkpoint runs before it predicts again; None: it does not say."""
    temporal_ensemble_coeff: float | None = None
    """Coefficient with which its checkpoint averages its chunks; None: it does not average."""

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.action_dim < 1 or self.max_delay < 0:
            raise UsageError(f"a policy needs chunk >= 1, action_dim >= 1 and max_delay >= 0, got {self}")

    @property
    def checkpoint_timing(self) -> str | None:
        """What its checkpoint says of the execution of its chunks, under LeRobot's names; None: nothing."""
        if self.n_action_steps is None:
            return None
        coeff = self.temporal_ensemble_coeff
        return f"n_action_steps {self.n_action_steps}" + (
            "" if coeff is None else f", temporal_ensemble_coeff {coeff:g}"
        )

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras among the declared inputs."""
        return tuple(k.removeprefix(IMAGE_PREFIX) for k in self.inputs if k.startswith(IMAGE_PREFIX))


@dataclass(frozen=True, kw_only=True)
class ChunkRequest:
    """A batched request to a policy: one row per environment that is due."""

    rows: IntArray
    """(N,) environment slots, for policies with a state per row."""
    steps: IntArray
    """(N,) step of the observation: t minus the observation delay."""
    observation: Observation
    """N rows."""
    estimated_delay: IntArray
    """(N,) delay d that the policy is to be conditioned on."""
    prefix: FloatArray
    """(N, P, A) committed commands a_t … a_{t+d-1}; entries from d on are zero and unused."""
    prefix_known: IntArray | None = None
    """(N,) number of the d commands, from the first on, that the policy may read; the others are NaN and must be
    replaced by padding. None: all."""
    last_action: FloatArray
    """(N, A) a_{t-1}, or the joint angles of the observation at t = 0 (NaN unless they are A numbers)."""


@dataclass(frozen=True)
class ActionChunks:
    """A policy's answer."""

    actions: FloatArray
    """(N, C, A) absolute commands; output 0 belongs to step t (`same`) or t + estimated delay (`shifted`)."""


class ChunkPolicy(Protocol):
    """Predicts chunks, without a clock."""

    @property
    def spec(self) -> PolicySpec: ...

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Reset the state of `rows`; their next episodes have these seeds."""
        ...

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Answer every row of a request; a row's answer must not depend on the other rows."""
        ...
