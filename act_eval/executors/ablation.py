"""Ablations of a request's input to the policy, by `act_eval.timing.Shown`.

They never change which commands run. Nothing here depends on other slots, so an episode is the same in any batch.

Legend: `A` action dim · `J` joints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from act_eval.errors import TimingError, UsageError
from act_eval.seeding import Stream, stream
from act_eval.timing import CommittedPrefix, ExpertPrefix, PadPrefix, Schedule, ShuffledPrefix, WrongDelay
from act_eval.types import FloatArray, Request

Foresee = Callable[[int, int], FloatArray]
"""(slot, n) → (n, A) what the scripted expert would command in the next n steps of a slot's episode."""

_GRIPPER = -1
"""The gripper comes last among joints and commands."""


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """A request as the policy receives it."""

    estimated: int
    prefix: FloatArray
    """(told, A); NaN where it is hidden from the policy."""
    known: int
    """Commands of the prefix, counted from its beginning, that the policy may read."""
    joints: FloatArray
    """(J,) [rad]"""
    last_action: FloatArray
    """(A,)"""


class InputAblation:
    """Turns requests into policy inputs.

    Args:
        schedule: Method and ablation.
        foresee: Ground truth, for prefix `expert` alone.

    Raises:
        TimingError: if the prefix is `expert` and `foresee` is missing.
    """

    def __init__(self, schedule: Schedule, foresee: Foresee | None) -> None:
        self._shown = schedule.shown
        self._hands_over = schedule.method.hands_over_prefix
        self._streams: dict[int, np.random.Generator] = {}
        if isinstance(self._shown.prefix, ExpertPrefix) and foresee is None:
            raise TimingError("prefix 'expert' needs an environment that the scripted expert can foresee")
        self._foresee = foresee

    def reset(self, row: int, seed: int) -> None:
        """Begin a new episode in a slot."""
        self._streams[row] = stream(seed, Stream.PREFIX)

    def apply(self, row: int, request: Request, joints: FloatArray, last_action: FloatArray) -> PolicyInput:
        """Return the policy input of a request.

        Args:
            row: Slot.
            request: The request.
            joints: (J,) of its observation [rad].
            last_action: (A,) command before the observation.

        Raises:
            SimulationError: if the ground truth cannot be foreseen because physics break.
            UsageError: if joints are to be predicted and a command has another length.
        """
        if request.number == 0:
            return PolicyInput(0, request.prefix, 0, joints, last_action)
        if self._shown.predicts and request.estimated:
            joints, last_action = self._predicted(request, joints, last_action)
        if not self._hands_over:  # it needed the committed commands for the prediction alone
            return PolicyInput(0, request.prefix[:0], 0, joints, last_action)
        estimated, prefix = request.estimated + self._shown.offset, self._prefix(row, request)
        known = 0 if isinstance(self._shown.prefix, PadPrefix) else estimated
        return PolicyInput(estimated, prefix, known, joints, last_action)

    def _prefix(self, row: int, request: Request) -> FloatArray:
        own = request.prefix[: request.estimated]
        match self._shown.prefix:
            case CommittedPrefix():
                return own
            case WrongDelay(offset):
                return request.prefix[: request.estimated + offset]
            case PadPrefix():
                return np.full_like(own, np.nan)
            case ShuffledPrefix():
                return _shuffled(own, self._streams[row])
            case ExpertPrefix():
                assert self._foresee is not None
                return self._foresee(row, request.estimated) if request.estimated else own

    def _predicted(
        self, request: Request, joints: FloatArray, last_action: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the joints and the last action of the step at which the answer is expected to act."""
        last = request.prefix[request.estimated - 1]
        if joints.shape != last.shape:
            raise UsageError(
                f"predicted joints are the last command: agent_pos has shape {joints.shape}, a command {last.shape}"
            )
        expected = last.copy()
        if self._shown.proprio == "predicted":
            expected[_GRIPPER] = joints[_GRIPPER]
        # Under rtc the prefix begins at the observation, and with it whatever is relative to the action before.
        return expected, last_action if self._hands_over else last


def _shuffled(prefix: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the commands along a random cycle through all of them, so that none keeps its place; one alone does."""
    order = rng.permutation(len(prefix))
    shuffled = np.empty_like(prefix)
    shuffled[order] = prefix[np.roll(order, 1)]
    return shuffled
