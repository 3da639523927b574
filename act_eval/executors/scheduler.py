"""One event-driven clock for every method: at each step install, request, act.

At step t of an episode: an answer whose ready step has come is installed; if a request is due, it goes out, and an
answer without delay is installed at once; then the plan's command runs, or the hold action where no chunk covers
the step. Slots may stand at different steps and have different delays; the requests of one step are one prediction.
The prediction is made when it is requested and kept back until its time has come: nothing here reads the clock
of the wall, except to note how long predictions took, which decides their delay under `Measured` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from act_eval.errors import SimulationError, TimingError
from act_eval.executors.answers import ask
from act_eval.executors.plans import planned
from act_eval.executors.questions import Hold, pose, repeat_last, settle
from act_eval.executors.requests import batched, last_action_of
from act_eval.executors.seams import takeover
from act_eval.executors.shown import Foresee, Showing, Sight
from act_eval.executors.slot import Asked, Chunk, Slot
from act_eval.executors.taps import ObservationTap, reaching
from act_eval.timing import Draw, Measured, Schedule, draws
from act_eval.types import (
    Actions,
    BoolArray,
    ChunkPolicy,
    ExecutorStatistics,
    FloatArray,
    IntArray,
    Observation,
    Prediction,
    Takeover,
)

_NOWHERE = np.zeros(0, np.float32)

_Asking = tuple[Slot, int]
"""A slot and the step at which it asks."""


@dataclass(frozen=True)
class _Notes:
    """What the requests of one step came to, by slot."""

    predictions: dict[int, list[Prediction]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    invalid: dict[int, str] = field(default_factory=dict)

    def __contains__(self, row: int) -> bool:
        return row in self.errors or row in self.invalid


class ChunkExecutor:
    """Runs a policy's chunks under a schedule; implements `act_eval.types.Executor`.

    Args:
        policy: Predicts chunks.
        schedule: Method, delays, told delays.
        hold: What runs where no chunk covers the step; `act_eval.rollout.hold_of` gives the environments' own.
        control_ms: Δt, length of a control step [ms]; needed for measured delays alone.
        foresee: What the scripted expert would do; needed for prefix `expert` alone.

    Raises:
        TimingError: if the schedule cannot run with the policy, naming the bound and the value, or if it needs
            `control_ms` or `foresee` and that is not given.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        schedule: Schedule,
        hold: Hold = repeat_last,
        control_ms: float | None = None,
        foresee: Foresee | None = None,
    ) -> None:
        schedule.check(policy.spec)
        if isinstance(schedule.delay, Measured) and (control_ms is None or not control_ms > 0):
            raise TimingError(f"measured delays need the length of a control step; control_ms is {control_ms}")
        self.schedule = schedule
        self._policy = policy
        self._spec = policy.spec
        self._treated_as = schedule.treats(policy.spec)
        self._showing = Showing(schedule, foresee)
        self._hold = hold
        self._control_ms = control_ms
        self._tap = ObservationTap(schedule.observation_delay) if schedule.observation_delay else None
        self._slots: dict[int, Slot] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in `rows`."""
        for row, seed in zip(rows, seeds, strict=True):
            self._slots[row] = Slot(row, self.schedule.method, draws(self.schedule.delay, seed))
            self._showing.reset(row, seed)
        self._policy.reset(rows, seeds)

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        """Return for which slots `act` will look at the observation at these steps.

        Late observations are kept at every step, for requests that nobody foresees.
        """
        if self._tap is not None:
            return steps_B >= 0
        steps = steps_B.tolist()
        return np.array([t >= 0 and self._slots[row].is_due(t) for row, t in enumerate(steps)], np.bool_)

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
        notes = _Notes()
        requested = np.zeros(len(steps_B), np.bool_)
        asking = [(slot, t) for slot, t in active if slot.is_due(t)]
        # Again where the next request is due at once: after the first chunk, or a loss in a stopped world.
        while asking:
            self._request(asking, observation, notes)
            requested[[slot.row for slot, _ in asking]] = True
            asking = [(slot, t) for slot, t in asking if slot.row not in notes and slot.is_due(t)]
        if notes.errors or notes.invalid:
            active = [(slot, t) for slot, t in active if slot.row not in notes]
        return self._run(active, requested, notes, observation)

    def _request(self, asking: list[_Asking], observation: Observation, notes: _Notes) -> None:
        """Ask for all slots that are due, and note what goes wrong."""
        asked = [pose(slot, t, self.schedule, self._treated_as, self._hold) for slot, t in asking]
        rows = np.array([slot.row for slot, _ in asking], np.int64)
        steps = np.array([one.step for one in asked], np.int64)
        seen = observation.take(rows) if self._tap is None else self._tap.read(rows, steps)
        sights = self._sights(asking, asked, seen, notes)
        kept = list(sights)
        if len(kept) < len(asking):
            asking, asked, seen = (
                [asking[n] for n in kept],
                [asked[n] for n in kept],
                seen.take(np.array(kept, np.int64)),
            )
        if not asking:
            return
        request = batched([slot for slot, _ in asking], asked, list(sights.values()), seen, self._spec)
        begin = perf_counter()
        answers = ask(self._policy, request)
        elapsed_ms = 1e3 * (perf_counter() - begin)
        measured = self._measured(elapsed_ms)
        for n, ((slot, t), one, answer) in enumerate(zip(asking, asked, answers, strict=True)):
            slot.inference_ms.append(elapsed_ms)
            question = settle(slot, one, self.schedule, self._treated_as, measured)
            if isinstance(answer, str):
                notes.errors[slot.row] = answer
                continue
            slot.predicted_actions += len(answer)
            chunk = Chunk(question, answer, answer)
            slot.in_flight.append(chunk)
            notes.predictions.setdefault(slot.row, []).append(_prediction(chunk, seen.environment_state, n))
            slot.receive(t)

    def _sights(self, asking: list[_Asking], asked: list[Asked], seen: Observation, notes: _Notes) -> dict[int, Sight]:
        """Return place among those that ask → what is shown; none where the simulator fails to foresee it."""
        sights: dict[int, Sight] = {}
        for n, ((slot, _), one) in enumerate(zip(asking, asked, strict=True)):
            joints = seen.agent_pos[n]
            last_action = last_action_of(slot, one, joints, self._spec.action_dim)
            try:
                sights[n] = self._showing.sight(slot.row, one, joints, last_action)
            except SimulationError as error:
                notes.invalid[slot.row] = f"foreseeing the expert: {error}"
        return sights

    def _measured(self, elapsed_ms: float) -> Draw | None:
        if isinstance(self.schedule.delay, Measured) and self._control_ms is not None:
            return self.schedule.delay.draw(elapsed_ms, self._control_ms)
        return None

    def _run(self, active: list[_Asking], requested: BoolArray, notes: _Notes, observation: Observation) -> Actions:
        """Take each slot's planned command, or the hold action where there is none."""
        size = len(requested)
        command = np.zeros((size, self._spec.action_dim), np.float32)
        source = np.empty((5, size), np.int64)
        source.fill(-1)
        chunk, index, observed, told, actual = source
        in_flight = np.zeros(size, np.int64)
        seam = np.zeros(size, np.bool_)
        takeovers: dict[int, Takeover] = {}
        starving: list[Slot] = []
        for slot, t in active:
            row = slot.row
            if slot.in_flight:
                in_flight[row] = len(slot.in_flight)
            plan = planned(slot, t)
            if plan is None:
                starving.append(slot)
                continue
            question = plan.chunk.question
            command[row] = plan.command
            slot.commands.append(plan.command)
            source[:, row] = question.number, t - question.start, question.step, question.told, question.actual
            if 0 <= slot.last_chunk != question.number:
                seam[row] = True
                slot.seams += 1
                change = takeover(slot, plan.chunk, t)
                if change is not None:
                    takeovers[row] = change
            slot.last_chunk, slot.ran = question.number, slot.installed
            slot.used_actions += plan.contributions
        if starving:
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
            takeovers=takeovers,
            predictions=notes.predictions,
            errors=notes.errors,
            invalid=notes.invalid,
        )

    def _hold_still(self, starving: list[Slot], command: FloatArray) -> None:
        rows = np.array([slot.row for slot in starving], np.int64)
        held = self._hold(np.array([slot.last_command for slot in starving], np.float32), rows)
        for slot, action in zip(starving, held, strict=True):
            command[slot.row] = action
            slot.commands.append(action)
            slot.starved_steps += 1
            slot.ran = []

    def _reaching(self, active: list[_Asking], command: FloatArray, observation: Observation) -> FloatArray:
        ran = np.zeros_like(command)
        for slot, t in active:
            ran[slot.row] = reaching(
                slot, t, self.schedule.actuation_delay, observation.agent_pos[slot.row], self._hold
            )
        return ran


def _prediction(chunk: Chunk, coordinates: FloatArray | None, row: int) -> Prediction:
    """Return what observers are told of an answer, with the coordinates of its row of the request."""
    question = chunk.question
    return Prediction(
        sent=question.sent,
        observation_step=question.step,
        start=question.start,
        ready=question.ready,
        told=question.told,
        actual=question.actual,
        lost=question.lost,
        actions=chunk.predicted,
        coordinates=_NOWHERE if coordinates is None else coordinates[row],
    )
