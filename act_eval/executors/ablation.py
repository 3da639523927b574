"""The policy input of a request, with the ablation of the condition (`act_eval.timing.Ablation`).

Ablations never change the commands that run. Each slot is independent, so an episode is the same in any batch.

Legend: `A` action dim · `J` joints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from act_eval.errors import TimingError, UsageError
from act_eval.seeding import Stream, stream
from act_eval.timing import CommittedPrefix, ExpertPrefix, PadPrefix, Schedule, ShuffledPrefix, WrongDelay
from act_eval.types import FloatArray, Request

Foresee = Callable[[int, int], FloatArray]
"""(slot, n) → (n, A) commands of the scripted expert for the next n steps of a slot's episode."""


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """A request as the policy receives it."""

    estimated: int
    prefix: FloatArray
    """(estimated, A); NaN where it is hidden from the policy."""
    known: int
    """Commands at the beginning of the prefix that the policy may read."""
    joints: FloatArray
    """(J,) [rad]"""
    last_action: FloatArray
    """(A,)"""


class InputAblation:
    """Makes the policy input of a request.

    Args:
        schedule: Method and ablation.
        foresee: Commands of the expert; needed for prefix `expert` alone.
        gripper_dims: Indices of the gripper among joints and commands; needed for joints `predicted` alone.

    Raises:
        TimingError: if what the ablation needs is missing.
    """

    def __init__(self, schedule: Schedule, foresee: Foresee | None, gripper_dims: Sequence[int] | None) -> None:
        self._ablation = schedule.ablation
        self._hands_over = schedule.method.hands_over_prefix
        self._streams: dict[int, np.random.Generator] = {}
        if isinstance(self._ablation.prefix, ExpertPrefix) and foresee is None:
            raise TimingError("prefix 'expert' needs an environment whose scripted expert can look ahead")
        if self._ablation.proprio == "predicted" and gripper_dims is None:
            raise TimingError(
                "joints 'predicted' keep the observed gripper, and the environment declares no gripper_dims (an "
                "attribute, as in [-1]); 'predicted-with-gripper' predicts all joints"
            )
        self._foresee, self._gripper = foresee, list(gripper_dims or ())

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
            SimulationError: if the simulation of the expert fails.
            UsageError: if joints are predicted and a command has another length.
        """
        if request.number == 0:
            return PolicyInput(0, request.prefix, 0, joints, last_action)
        if self._ablation.predicts and request.estimated:
            joints, last_action = self._predicted(request, joints, last_action)
        if not self._hands_over:  # the prefix served the prediction alone
            return PolicyInput(0, request.prefix[:0], 0, joints, last_action)
        estimated, prefix = request.estimated + self._ablation.offset, self._prefix(row, request)
        known = 0 if isinstance(self._ablation.prefix, PadPrefix) else estimated
        return PolicyInput(estimated, prefix, known, joints, last_action)

    def _prefix(self, row: int, request: Request) -> FloatArray:
        committed = request.prefix[: request.estimated]
        match self._ablation.prefix:
            case CommittedPrefix():
                return committed
            case WrongDelay(offset):
                return request.prefix[: request.estimated + offset]
            case PadPrefix():
                return np.full_like(committed, np.nan)
            case ShuffledPrefix():
                return _shuffled(committed, self._streams[row])
            case ExpertPrefix():
                assert self._foresee is not None
                return self._foresee(row, request.estimated) if request.estimated else committed

    def _predicted(
        self, request: Request, joints: FloatArray, last_action: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return joints and last action for the step at which the answer is expected to act."""
        last = request.prefix[request.estimated - 1]
        if joints.shape != last.shape:
            raise UsageError(
                f"predicted joints are the last command: agent_pos has shape {joints.shape}, a command {last.shape}"
            )
        expected = last.copy()
        if self._ablation.proprio == "predicted":
            expected[self._gripper] = joints[self._gripper]
        # Under rtc the prefix begins at the observation, and so does everything relative to the action before it.
        return expected, last_action if self._hands_over else last


def _shuffled(prefix: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the commands permuted along one random cycle, without a fixed point (a single command keeps its place)."""
    order = rng.permutation(len(prefix))
    shuffled = np.empty_like(prefix)
    shuffled[order] = prefix[np.roll(order, 1)]
    return shuffled
