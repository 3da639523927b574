"""The interface of policies: observations, requests and chunks.

Legend: `B` environment slots · `N` rows of one request · `O` observations of a history · `C` chunk length · `P` longest
prefix · `A` action dim · `J` joints · `H`, `W` image height and width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

import numpy as np

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
PAST_ACTIONS = "past_actions"
"""The commands (K, A) before the observation, newest last. Before the episode's start the first command is repeated,
and at the first step the joints."""


MOST_HISTORY_BYTES = 2**30
"""Largest memory for the observations of one environment that a policy with a history may still read."""


@dataclass(frozen=True)
class Observation:
    """The observations of a batch of environments, one row per environment.

    In a request to a policy with a history of O > 1 observations, every array has a time axis after the rows,
    (N, O, …), oldest first.
    """

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

    def latest(self) -> "Observation":
        """Return the newest observation of each row, without a time axis."""
        return _merged([self], lambda arrays: arrays[0][:, -1]) if self.agent_pos.ndim == 3 else self

    @staticmethod
    def over_time(moments: Sequence["Observation"]) -> "Observation":
        """Return O observations of the same N rows, oldest first, as one with a time axis; a single one stays as is."""
        return _merged(moments, lambda arrays: np.stack(arrays, axis=1)) if len(moments) > 1 else moments[0]

    @staticmethod
    def joined(parts: Sequence["Observation"]) -> "Observation":
        """Return the rows of several observations as one batch, in order."""
        return _merged(parts, np.concatenate)


def _merged(parts: Sequence[Observation], merge: Callable[[list[np.ndarray]], np.ndarray]) -> Observation:
    states = [part.environment_state for part in parts if part.environment_state is not None]
    return Observation(
        pixels={name: merge([part.pixels[name] for part in parts]) for name in parts[0].pixels},
        agent_pos=merge([part.agent_pos for part in parts]),
        environment_state=merge(states) if states else None,
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
    min_delay: int = 0
    """Smallest delay that a policy with a prefix can be conditioned on: smaller estimates are raised to it, and the
    answer waits until then, as any early one. Requests without a prefix still have an estimated delay of 0."""
    past_actions: int = 0
    """K, commands before the observation that a request contains."""
    planned_actions: int = 0
    """L, commands from the observation on, as planned at the request, that a request with a prefix contains."""
    inputs: Mapping[str, tuple[int, ...]]
    """Declared inputs with their shapes: `observation.state`, `observation.environment_state`,
    `observation.images.NAME` as (H, W, 3). Shapes of one observation, whatever `history` is."""
    history: int = 1
    """O, observations that a request contains: that of its step and O - 1 earlier ones."""
    history_spacing: int = 1
    """Control steps between two of them."""
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
        if not 0 <= self.min_delay <= self.max_delay or self.past_actions < 0 or self.planned_actions < 0:
            raise UsageError(
                f"a policy needs 0 <= min_delay <= max_delay, past_actions >= 0 and planned_actions >= 0, got {self}"
            )
        for name in ("history", "history_spacing"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name} of a policy is {value!r}; it must be a whole number, at least 1")
        kept = self.history_reach * sum(
            prod(s) * (1 if n.startswith(IMAGE_PREFIX) else 4) for n, s in self.inputs.items()
        )
        if kept > MOST_HISTORY_BYTES:
            raise UsageError(
                f"history {self.history} with history_spacing {self.history_spacing} keeps {self.history_reach} "
                f"observations, {kept / 2**20:,.0f} MiB for each environment; at most "
                f"{MOST_HISTORY_BYTES // 2**20:,} MiB are allowed"
            )

    @property
    def history_reach(self) -> int:
        """Control steps from the oldest observation of a request to its newest."""
        return (self.history - 1) * self.history_spacing

    def observed_steps(self, step: int) -> list[int]:
        """Return the steps of the O observations of a request whose newest is that of `step`, oldest first.

        Before the episode's start, its first observation is repeated.
        """
        return [max(0, step - back) for back in range(self.history_reach, -1, -self.history_spacing)]

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
    """(N,) step of the newest observation: t minus the observation delay."""
    observation: Observation
    """N rows, with a time axis if the policy's `history` is above 1."""
    estimated_delay: IntArray
    """(N,) delay d that the policy is to be conditioned on."""
    prefix: FloatArray
    """(N, P, A) committed commands a_t … a_{t+d-1}; entries from d on are zero and unused."""
    prefix_known: IntArray | None = None
    """(N,) number of the d commands, from the first on, that the policy may read; the others are NaN and must be
    replaced by padding. None: all."""
    last_action: FloatArray
    """(N, A) a_{t-1}, or the joint angles of the observation at t = 0 (NaN unless they are A numbers)."""
    past_actions: FloatArray | None = None
    """(N, K, A) a_{t-K} … a_{t-1}, NaN before the episode's start; None if the policy declares none."""
    planned_actions: FloatArray | None = None
    """(N, L, A) a_t …, executed or planned when the request is sent, NaN where no chunk covers a step and in requests
    without a prefix; None if the policy declares none. Its first entries are the committed ones, also if an ablation
    changes the prefix."""

    @staticmethod
    def without_prefix(
        spec: PolicySpec, rows: IntArray, steps: IntArray, observation: Observation, last_action: FloatArray
    ) -> "ChunkRequest":
        """Return a request with estimated delay 0 and no command but the last one, as at an episode's start."""

        def none(count: int) -> FloatArray | None:
            return np.full((len(rows), count, spec.action_dim), np.nan, np.float32) if count else None

        return ChunkRequest(
            rows=rows,
            steps=steps,
            observation=observation,
            estimated_delay=np.zeros(len(rows), np.int64),
            prefix=np.zeros((len(rows), spec.max_delay, spec.action_dim), np.float32),
            prefix_known=np.zeros(len(rows), np.int64),
            last_action=last_action,
            past_actions=none(spec.past_actions),
            planned_actions=none(spec.planned_actions),
        )


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
