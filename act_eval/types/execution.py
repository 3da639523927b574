"""The interface of executors: requests, chunks, the actions of a step, statistics. NumPy only.

Legend: `B` environment slots · `C` chunk length · `A` action dim · `K` coordinates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from act_eval.types.arrays import BoolArray, FloatArray, IntArray
from act_eval.types.policy import Observation


@dataclass(slots=True, kw_only=True)
class Request:
    """A request to the policy: `number` to `prefix` are set when it is made, the others once its delay is known.

    Steps count from the beginning of the episode.
    """

    number: int
    """Number of the chunk within the episode."""
    sent: int
    """Step at which the request goes out."""
    observation_step: int
    """Step of the observation that it reads: `sent`, minus the observation delay."""
    estimated: int
    """Estimated delay: from the observation to the first step that the answer is expected to act."""
    prefix: FloatArray
    """(estimated, A) commands from the observation on: executed ones, then planned ones. Longer for an ablation that
    adds to the estimated delay."""
    start: int = 0
    """Step of the answer's first action."""
    ready: int = 0
    """First step at which the answer may act; for a lost answer the step at which it is given up."""
    actual: int = 0
    """Actual delay, counted from the observation; 0 for a lost answer."""
    lost: bool = False

    @property
    def age(self) -> int:
        """Steps from the observation to the request."""
        return self.sent - self.observation_step


@dataclass(frozen=True, slots=True)
class Chunk:
    """An answer of the policy."""

    request: Request
    actions: FloatArray
    """(C, A) actions that the executor runs; the first one belongs to step `request.start`."""
    predicted: FloatArray
    """(C, A) actions as the policy predicted them, before any merging with an older chunk."""

    def covers(self, step: int) -> bool:
        """Return whether the chunk has an action for a step."""
        return 0 <= step - self.request.start < len(self.actions)

    def at(self, step: int) -> FloatArray:
        """Return the (A,) action for a step that the chunk covers."""
        return self.actions[step - self.request.start]

    def since(self, step: int) -> FloatArray:
        """Return the (n, A) actions from a step that the chunk covers to its end."""
        return self.actions[step - self.request.start :]


@dataclass(frozen=True, slots=True)
class ChunkSwitch:
    """The change at a chunk switch, if the previous chunks reach beyond it."""

    replaced: FloatArray
    """(A,) command of this step without the new chunk."""
    overlap_rmse: FloatArray
    """(A,) root mean square difference between the predicted new chunk, before any merging, and the commands without
    it, over the steps from this one on that both cover."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """A request and its answer, recorded when the request goes out; steps count from the beginning of the episode."""

    sent: int
    """Step at which the request went out."""
    observation_step: int
    """Step of the observation that it read."""
    start: int
    """Step of the answer's first action."""
    ready: int
    """First step at which the answer may act; for a lost answer the step at which it is given up."""
    estimated: int
    """Estimated delay."""
    actual: int
    """Actual delay, 0 for a lost answer."""
    lost: bool
    actions: FloatArray
    """(C, A) the policy's answer."""
    goal_input: FloatArray
    """(K,) the observation's `environment_state` in the policy's input; K = 0 without one."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)


@dataclass(frozen=True, kw_only=True)
class Actions:
    """The commands of a step and their origin. Every array has one entry per slot; idle slots hold -1 and zeros."""

    command: FloatArray
    """(B, A) commands for this step."""
    ran: FloatArray | None = None
    """(B, A) commands that reach the robots at this step under an actuation delay; None: the commands of this step."""
    chunk: IntArray
    """(B,) number of the chunk within the episode, -1 under the hold action."""
    index: IntArray
    """(B,) index within the chunk, -1 under the hold action."""
    observed: IntArray
    """(B,) step of the observation behind the action, -1 under the hold action."""
    requested: BoolArray
    """(B,) whether a request was sent at this step."""
    estimated_delay: IntArray
    """(B,) estimated delay of the running chunk, -1 without one."""
    actual_delay: IntArray
    """(B,) actual delay of the running chunk, -1 without one."""
    in_flight: IntArray
    """(B,) requests without an answer at the end of this step."""
    chunk_switch: BoolArray
    """(B,) whether this is the first step of a chunk that replaces another."""
    chunk_switch_effects: Mapping[int, ChunkSwitch] = field(default_factory=dict)
    """Slot → the change at its chunk switch; absent if the chunks of the step before do not reach it."""
    predictions: Mapping[int, Sequence[Prediction]] = field(default_factory=dict)
    """Slot → the requests of this step with their answers."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Slot → error of its policy; the command is undefined and the episode over."""
    invalid: Mapping[int, str] = field(default_factory=dict)
    """Slot → error of its environment during a request; the command is undefined and the episode over."""

    @property
    def underrun(self) -> BoolArray:
        """(B,) whether no chunk covers this step, so that the hold action runs."""
        return self.chunk < 0


@dataclass(frozen=True, kw_only=True)
class ExecutorStatistics:
    """The executor's counts in one episode so far, independent of the wall clock."""

    requests: int
    """Requests to the policy, the first chunk of the episode included."""
    chunk_switches: int
    underrun_steps: int
    stopped_steps: int
    """See `EpisodeRecord.stopped_steps`; the first chunk, for which the world always stops, is not counted."""
    estimated_delays: tuple[int, ...]
    """Estimated delay of each request, in order."""
    actual_delays: tuple[int | None, ...]
    """Actual delay of each answer; None for a lost one."""
    lost: int
    """Answers that were lost or arrived after the timeout."""
    late: int
    """Answers later than estimated, whose past actions were dropped (`rtc`)."""
    observation_ages: tuple[int, ...] = ()
    """Steps from the observation that each request read to the request, part of its estimated and actual delay."""
    beyond_max_delay: int
    """Requests whose estimated delay was above the policy's `max_delay`: clipped or sent without a prefix."""
    predicted_actions: int
    discarded_actions: int
    """Predicted actions that never ran."""


_COUNTS = (
    "requests", "chunk_switches", "underrun_steps", "stopped_steps", "lost", "late", "beyond_max_delay",
    "predicted_actions", "discarded_actions",
)  # fmt: skip
NOTHING_COUNTED = ExecutorStatistics(estimated_delays=(), actual_delays=(), **dict.fromkeys(_COUNTS, 0))
"""The statistics of an episode without requests."""


class Executor(Protocol):
    """Decides the commands of every step; NumPy only."""

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in `rows`."""
        ...

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return for which slots `act` will read the observation at these steps."""
        ...

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        """Return the commands of this step. Slots may be at different steps; -1 marks an idle slot."""
        ...

    def statistics(self, row: int) -> ExecutorStatistics:
        """Return the counts of the current episode of a slot."""
        ...

    def inference_ms(self, row: int) -> tuple[float, ...]:
        """Return the wall-clock time of each prediction in the current episode of a slot [ms]."""
        ...
