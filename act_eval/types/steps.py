"""The steps of a whole episode as arrays.

Legend: `T` control steps taken · `A` action dim · `S` size of the simulator state · `N` requests · `C` chunk length ·
`K` coordinates · `M` blocks · `J` joints.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from act_eval.types.arrays import BoolArray, FloatArray, IntArray


def _no_integers() -> IntArray:
    return np.zeros(0, np.int64)


def _no_floats(*shape: int) -> Callable[[], FloatArray]:
    return lambda: np.zeros(shape, np.float32)


@dataclass(frozen=True, kw_only=True)
class EpisodeSteps:
    """The steps of one episode; see `act_eval.types.Actions` for the meaning of each field.

    Fields without a comment have shape (T,). Fields with a default are empty if policy or environment do not provide
    them.
    """

    command: FloatArray
    """(T, A) decided for each step; (0,) without a step"""
    ran: FloatArray
    """(T, A) command that reached the arm at each step: `command`, without an actuation delay"""
    chunk: IntArray
    index: IntArray
    observed: IntArray
    requested: BoolArray
    estimated_delay: IntArray
    actual_delay: IntArray
    in_flight: IntArray
    chunk_switch: BoolArray
    replaced: FloatArray
    """(T, A) see `act_eval.types.ChunkSwitch`; NaN at other steps, or without a replaced command"""
    overlap_rmse: FloatArray
    """(T, A) see `act_eval.types.ChunkSwitch`; NaN as `replaced`"""
    state: NDArray[np.float64]
    """(T + 1, S) simulator states, the terminal one last."""
    sent: IntArray = field(default_factory=_no_integers)
    """(N,) step at which each request went out; the answer to the n-th is chunk n"""
    observation_step: IntArray = field(default_factory=_no_integers)
    """(N,) step of the observation that it read"""
    start: IntArray = field(default_factory=_no_integers)
    """(N,) step of the answer's first action"""
    ready: IntArray = field(default_factory=_no_integers)
    """(N,) first step at which the answer may act"""
    estimated: IntArray = field(default_factory=_no_integers)
    """(N,) estimated delay"""
    actual: IntArray = field(default_factory=_no_integers)
    """(N,) actual delay, 0 for a lost answer"""
    lost: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    predicted: FloatArray = field(default_factory=_no_floats(0, 0, 0))
    """(N, C, A) the policy's answers, absolute commands"""
    goal_input: FloatArray = field(default_factory=_no_floats(0, 0))
    """(N, K) the observation's `environment_state` in the policy's input"""
    joints: FloatArray = field(default_factory=_no_floats(0, 0))
    """(T + 1, J) joint positions [rad]"""
    gripper_xyz: FloatArray = field(default_factory=_no_floats(0, 3))
    """(T + 1, 3) point between the jaws [m]"""
    blocks_xyz: FloatArray = field(default_factory=_no_floats(0, 0, 3))
    """(T + 1, M, 3) centres of the blocks [m]"""
    target: IntArray = field(default_factory=_no_integers)
    """(T + 1,) number of the block that is the target"""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.command)
