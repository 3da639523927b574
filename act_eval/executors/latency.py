"""Observations of earlier steps for requests (observation delay, history), and the actuation delay."""

from collections.abc import Sequence

import numpy as np

from act_eval.errors import UsageError
from act_eval.executors.slot import Hold, Slot
from act_eval.timing import Schedule
from act_eval.types import FloatArray, Observation, PolicySpec


class ObservationBuffer:
    """Keeps the observations of every slot that a request may still read.

    Args:
        schedule: Method and observation delay.
        spec: The policy's spec, with its history.
    """

    def __init__(self, schedule: Schedule, spec: PolicySpec) -> None:
        self._delay, self._spec = schedule.observation_delay, spec
        self.reach = self._delay + spec.history_reach
        """Steps from a request to the oldest observation that it reads; at 0 the buffer is not needed."""
        horizon = schedule.method.execution_horizon
        # Two requests are at least s steps apart, or the timeout if the answer to the first one is lost.
        self._gap = min(horizon, schedule.timeout or horizon)
        self._kept: dict[int, dict[int, Observation]] = {}

    def reset(self, row: int) -> None:
        """Begin a new episode in a slot."""
        self._kept[row] = {}

    def wants(self, slot: Slot, step: int) -> bool:
        """Return whether a slot's next request reads the observation of a step, or one after it may."""
        sent = slot.next_request
        read = self._spec.observed_steps(max(0, sent - self._delay))
        return step in read or step >= sent + self._gap - self.reach

    def put(self, row: int, step: int, observation: Observation) -> None:
        """Store a slot's observation, row `row` of `observation`."""
        kept = self._kept[row]
        for old in [one for one in kept if one < step - self.reach]:
            del kept[old]
        kept[step] = observation.take(np.array([row], np.int64))

    def read(self, rows: Sequence[int], steps: Sequence[int]) -> Observation:
        """Return what the requests of N slots read whose newest observations are those of `steps`."""
        kept = [
            [self._kept[row][at] for at in self._spec.observed_steps(s)] for row, s in zip(rows, steps, strict=True)
        ]
        return Observation.joined([Observation.over_time(one) for one in kept])


def delayed_command(slot: Slot, step: int, delay: int, agent_pos: FloatArray, hold: Hold) -> FloatArray:
    """Return the (A,) command that reaches the arm at a step, once the command of that step is decided.

    Args:
        slot: Holds the commands up to `step`.
        step: The current step.
        delay: a, actuation delay [steps].
        agent_pos: (J,) joints; at step 0 the arm holds them.
        hold: Runs until the first command reaches the arm.

    Raises:
        UsageError: if joints and commands differ in shape, so that there is no first hold action.
    """
    if step >= delay:
        return slot.commands[step - delay]
    command = slot.commands[step]
    if agent_pos.shape != command.shape:
        raise UsageError(
            f"an actuation delay holds the joints until the first command arrives: agent_pos has shape "
            f"{agent_pos.shape}, a command {command.shape}"
        )
    last = agent_pos.copy() if slot.resting is None else slot.resting
    resting = hold(last[None], np.array([slot.row], np.int64))[0]
    slot.resting = resting
    return resting
