"""Latency outside inference: observation delay and actuation delay."""

import numpy as np

from act_eval.errors import UsageError
from act_eval.executors.slot import Hold, Slot
from act_eval.types import FloatArray, IntArray, Observation


class ObservationBuffer:
    """Keeps the last observations of every slot, so that a request can read an earlier one.

    Args:
        delay: k, observation delay, at least 1 [steps].
    """

    def __init__(self, delay: int) -> None:
        self._kept = delay + 1
        self._ring: list[Observation] = []

    def put(self, steps_B: IntArray, observation: Observation) -> None:
        """Store the observations of these steps; -1 marks an idle slot."""
        if not self._ring:
            every = np.arange(len(steps_B))
            self._ring = [observation.take(every) for _ in range(self._kept)]
        for row, step in enumerate(steps_B.tolist()):
            if step >= 0:
                _copy(observation, self._ring[step % self._kept], row)

    def read(self, rows: IntArray, steps: IntArray) -> Observation:
        """Return the observation of each of N slots at its own step; `rows` and `steps` are (N,)."""
        seen = [self._ring[step % self._kept].take(rows[[n]]) for n, step in enumerate(steps.tolist())]
        states = [one.environment_state for one in seen if one.environment_state is not None]
        return Observation(
            pixels={name: np.concatenate([one.pixels[name] for one in seen]) for name in seen[0].pixels},
            agent_pos=np.concatenate([one.agent_pos for one in seen]),
            environment_state=np.concatenate(states) if states else None,
        )


def _copy(source: Observation, target: Observation, row: int) -> None:
    for name, images in source.pixels.items():
        target.pixels[name][row] = images[row]
    target.agent_pos[row] = source.agent_pos[row]
    if source.environment_state is not None and target.environment_state is not None:
        target.environment_state[row] = source.environment_state[row]


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
