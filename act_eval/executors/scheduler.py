"""One event-driven clock for every method: at each step install, request, act.

At step t of an episode: an answer whose ready step has come is installed; if a request is due, it goes out, and an
answer without delay is installed at once; then the plan's command runs, or the hold action where no chunk covers
the step. Slots may stand at different steps and have different delays; the requests of one step are one prediction.
The prediction is made when it is requested and kept back until its time has come: nothing here reads the clock
of the wall, except to note how long predictions took, which decides their delay under `Measured` alone.
"""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from act_eval.errors import TimingError
from act_eval.executors.answers import ask
from act_eval.executors.plans import planned
from act_eval.executors.questions import Hold, pose, repeat_last, settle
from act_eval.executors.slot import Asked, Chunk, Slot
from act_eval.executors.taps import ObservationTap, reaching
from act_eval.timing import Draw, Measured, Schedule, draws
from act_eval.types import (
    Actions,
    BoolArray,
    ChunkPolicy,
    ChunkRequest,
    ExecutorStatistics,
    FloatArray,
    IntArray,
    Observation,
)

_Asking = tuple[Slot, int]
"""A slot and the step at which it asks."""


class ChunkExecutor:
    """Runs a policy's chunks under a schedule; implements `act_eval.types.Executor`.

    Args:
        policy: Predicts chunks.
        schedule: Method, delays, told delays.
        hold: What runs where no chunk covers the step; `act_eval.rollout.hold_of` gives the environments' own.
        control_ms: Δt, length of a control step [ms]; needed for measured delays alone.

    Raises:
        TimingError: if the schedule cannot run with the policy, naming the bound and the value, or if it measures
            delays and `control_ms` is not given.
    """

    def __init__(
        self, policy: ChunkPolicy, schedule: Schedule, hold: Hold = repeat_last, control_ms: float | None = None
    ) -> None:
        schedule.check(policy.spec)
        if isinstance(schedule.delay, Measured) and (control_ms is None or not control_ms > 0):
            raise TimingError(f"measured delays need the length of a control step; control_ms is {control_ms}")
        self.schedule = schedule
        self._policy = policy
        self._spec = policy.spec
        self._hold = hold
        self._control_ms = control_ms
        self._tap = ObservationTap(schedule.observation_delay) if schedule.observation_delay else None
        self._slots: dict[int, Slot] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in `rows`."""
        for row, seed in zip(rows, seeds, strict=True):
            self._slots[row] = Slot(row, self.schedule.method, draws(self.schedule.delay, seed))
        self._policy.reset(rows, seeds)

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return for which slots `act` will look at the observation at these steps.

        Late observations are kept at every step, for requests that nobody foresees.
        """
        if self._tap is not None:
            return steps_B >= 0
        return np.array([t >= 0 and self._slots[row].is_due(t) for row, t in enumerate(steps_B.tolist())], np.bool_)

    def statistics(self, row: int) -> ExecutorStatistics:
        """Return what was counted in the present episode of a slot."""
        return self._slots[row].statistics()

    def inference_ms(self, row: int) -> tuple[float, ...]:
        """Return the wall-clock time of each prediction in the present episode of a slot [ms]."""
        return tuple(self._slots[row].inference_ms)

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        """Return the commands of this step. Slots may be at different steps; -1 marks an idle slot."""
        active = [(self._slots[row], t) for row, t in enumerate(steps_B.tolist()) if t >= 0]
        if self._tap is not None:
            self._tap.put(steps_B, observation)
        for slot, t in active:
            slot.receive(t)
        errors: dict[int, str] = {}
        requested = np.zeros(len(steps_B), np.bool_)
        asking = [(slot, t) for slot, t in active if slot.is_due(t)]
        while (
            asking
        ):  # again where the next request is due at once: after the first chunk, or a loss in a stopped world
            errors |= self._request(asking, observation)
            requested[[slot.row for slot, _ in asking]] = True
            asking = [(slot, t) for slot, t in asking if slot.row not in errors and slot.is_due(t)]
        return self._run([(slot, t) for slot, t in active if slot.row not in errors], requested, errors, observation)

    def _request(self, asking: list[_Asking], observation: Observation) -> dict[int, str]:
        """Ask for all slots that are due; return slot → what went wrong."""
        asked = [pose(slot, t, self.schedule, self._spec, self._hold) for slot, t in asking]
        request = self._batched(asking, asked, observation)
        begin = perf_counter()
        answers = ask(self._policy, request)
        elapsed_ms = 1e3 * (perf_counter() - begin)
        errors: dict[int, str] = {}
        measured = self._measured(elapsed_ms)
        for (slot, t), one, answer in zip(asking, asked, answers, strict=True):
            slot.inference_ms.append(elapsed_ms)
            question = settle(slot, one, self.schedule, self._spec, measured)
            if isinstance(answer, str):
                errors[slot.row] = answer
                continue
            slot.predicted_actions += len(answer)
            slot.in_flight.append(Chunk(question, answer))
            slot.receive(t)
        return errors

    def _measured(self, elapsed_ms: float) -> Draw | None:
        if isinstance(self.schedule.delay, Measured) and self._control_ms is not None:
            return self.schedule.delay.draw(elapsed_ms, self._control_ms)
        return None

    def _batched(self, asking: list[_Asking], asked: list[Asked], observation: Observation) -> ChunkRequest:
        rows = np.array([slot.row for slot, _ in asking], np.int64)
        steps = np.array([one.step for one in asked], np.int64)
        seen = observation.take(rows) if self._tap is None else self._tap.read(rows, steps)
        prefix = np.zeros((len(rows), self._spec.max_delay, self._spec.action_dim), np.float32)
        last_action = np.empty((len(rows), self._spec.action_dim), np.float32)
        for n, ((slot, _), one) in enumerate(zip(asking, asked, strict=True)):
            if one.told:
                prefix[n, : one.told] = one.prefix
            begins = one.step == 0
            last_action[n] = (
                _joints(seen.agent_pos[n], self._spec.action_dim) if begins else slot.commands[one.step - 1]
            )
        return ChunkRequest(
            rows=rows,
            steps=steps,
            observation=seen,
            told_delay=np.array([one.told for one in asked], np.int64),
            prefix=prefix,
            last_action=last_action,
        )

    def _run(
        self, active: list[_Asking], requested: BoolArray, errors: dict[int, str], observation: Observation
    ) -> Actions:
        """Take each slot's planned command, or the hold action where there is none."""
        size = len(requested)
        command = np.zeros((size, self._spec.action_dim), np.float32)
        chunk, index, observed, told, actual = np.full((5, size), -1, np.int64)
        in_flight = np.zeros(size, np.int64)
        seam = np.zeros(size, np.bool_)
        starving: list[Slot] = []
        for slot, t in active:
            row = slot.row
            in_flight[row] = len(slot.in_flight)
            plan = planned(slot, t)
            if plan is None:
                starving.append(slot)
                continue
            source = plan.chunk.question
            command[row] = plan.command
            slot.commands.append(plan.command)
            chunk[row], index[row], observed[row] = source.number, t - source.start, source.step
            told[row], actual[row] = source.told, source.actual
            seam[row] = 0 <= slot.last_chunk != source.number
            slot.seams += int(seam[row])
            slot.last_chunk = source.number
            slot.used_actions += plan.contributions
        self._hold_still(starving, command)
        return Actions(
            command=command,
            ran=self._reaching(active, command, observation) if self.schedule.actuation_delay else None,
            chunk=chunk,
            index=index,
            observed=observed,
            requested=requested,
            told_delay=told,
            actual_delay=actual,
            in_flight=in_flight,
            seam=seam,
            errors=errors,
        )

    def _hold_still(self, starving: list[Slot], command: FloatArray) -> None:
        if not starving:
            return
        rows = np.array([slot.row for slot in starving], np.int64)
        held = self._hold(np.array([slot.last_command for slot in starving], np.float32), rows)
        for slot, action in zip(starving, held, strict=True):
            command[slot.row] = action
            slot.commands.append(action)
            slot.starved_steps += 1

    def _reaching(self, active: list[_Asking], command: FloatArray, observation: Observation) -> FloatArray:
        ran = np.zeros_like(command)
        for slot, t in active:
            ran[slot.row] = reaching(
                slot, t, self.schedule.actuation_delay, observation.agent_pos[slot.row], self._hold
            )
        return ran


def _joints(agent_pos: FloatArray, action_dim: int) -> FloatArray:
    """Return the joints as the command before the first one; NaN, which no policy survives, where they do not fit."""
    return agent_pos if agent_pos.shape == (action_dim,) else np.full(action_dim, np.nan, np.float32)
