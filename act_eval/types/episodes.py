"""Records of steps and episodes, and their observers, which change nothing.

Legend: `A` action dim · `S` size of a simulator state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from act_eval.types.arrays import FloatArray
from act_eval.types.execution import ChunkSwitch, Prediction

OUTCOMES = ("invalid", "policy_error", "success", "wrong_block", "dropped", "between", "missed", "timeout")
"""Every outcome, first match wins. `invalid` is outside the rate, every other one but `success` is a failure."""

_COLOURS = ("#c9c9c4", "#16181b", "#58ad8a", "#b23c00", "#8a5a00", "#9c3170", "#1f6396", "#57606b")
OUTCOME_COLOURS: Mapping[str, str] = {OUTCOMES[i]: _COLOURS[i] for i in range(len(OUTCOMES))}
"""Outcome → its colour in figures, in videos and on the review page, whose dark theme lightens it."""

BETWEEN = (0.25, 0.75)
"""Grasp choices that count as between the blocks."""
INVALID, POLICY_ERROR, SUCCESS = OUTCOMES[:3]
OUTSIDE = "outside_action_space"
"""Key in a record's `detail`: steps whose command lies outside the action space, and the entry farthest outside."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One control step of one episode, as observers see it (before the step is taken)."""

    episode: int
    seed: int
    step: int
    command: FloatArray
    """(A,) decided for this step."""
    ran: FloatArray | None = None
    """(A,) command that reaches the arm at this step under an actuation delay; None: `command`."""
    chunk: int
    index: int
    observed: int
    requested: bool
    estimated_delay: int
    actual_delay: int
    in_flight: int
    chunk_switch: bool
    chunk_switch_effect: ChunkSwitch | None = None
    """See `Actions.chunk_switch_effects`."""
    predictions: Sequence[Prediction] = ()
    """See `Actions.predictions`."""
    state: NDArray[np.float64]
    """(S,) simulator state before the step."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One finished episode, independent of the wall clock."""

    episode: int
    """Number within the suite."""
    seed: int
    outcome: str
    """One of `act_eval.results.records.OUTCOMES`."""
    steps: int
    """Control steps taken."""
    stopped_steps: int = 0
    """Control steps of stopped time (`sync_paused`)."""
    grasp_choice: float | None = None
    """Grasp position on the segment target → confuser: 0 target, 1 confuser."""
    chunk_switches: int = 0
    underrun_steps: int = 0
    requests: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Further measurements of this episode (JSON values), named in docs/file-formats.md."""
    error: str | None = None
    """The error of `policy_error` and `invalid`."""

    @property
    def initial_state(self) -> str | None:
        """Digest of the state in which the episode began; None if it was not recorded."""
        return self.detail.get("initial_state")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The wall-clock times of one episode."""

    episode: int
    wall_s: float
    """From reset to end, interleaved episodes included [s]."""
    inference_ms: tuple[float, ...] = ()
    """Each batched prediction that the episode took part in [ms]."""
    video_s: float = 0.0
    """Rendering and encoding its video [s]."""
    worker: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An environment's outcome of the episode so far."""

    outcome: str
    """One of `act_eval.results.records.OUTCOMES`."""
    grasp_choice: float | None = None
    """See `EpisodeRecord.grasp_choice`."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Further measurements (JSON values)."""


class Observer(Protocol):
    """Watches a rollout and changes nothing."""

    def on_step(self, record: StepRecord) -> None: ...

    def on_episode_end(self, record: EpisodeRecord) -> None: ...


@runtime_checkable
class EndStateObserver(Observer, Protocol):
    """An observer that also takes the final state of an episode, for instance for the last frame."""

    def on_end_state(self, episode: int, state: NDArray[np.float64]) -> None:
        """Take the (S,) simulator state after the last step; called before `on_episode_end`.

        It is NaN if a failed environment cannot provide it, and empty if the episode never began.
        """
        ...
