"""One event-driven clock for every method: at each step install, request, act.

At step t of an episode the executor installs the answers that are ready, sends a request if one is due, and installs an
answer without delay at once. Then the command of the installed chunks runs, or the hold action if no chunk covers the
step. Slots may differ in step and delay; the requests of one step are one batched prediction. A prediction is computed
with its request and withheld until its ready step. The wall clock only measures predictions, and sets their delay
under `Measured` alone.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from act_eval.errors import SimulationError, TimingError
from act_eval.executors.ablation import Foresee, InputAblation, PolicyInput
from act_eval.executors.guard import GuardedMethod
from act_eval.executors.latency import ObservationBuffer, delayed_command
from act_eval.executors.request import (
    Sent,
    batch_requests,
    call_policy,
    committed_commands,
    last_action_of,
    make_request,
    resolve_timing,
)
from act_eval.executors.slot import Hold, Slot
from act_eval.timing import Draw, Ensemble, Measured, Schedule, draws, extremes, is_shipped
from act_eval.timing.custom import CustomExecutor
from act_eval.types import (
    Actions,
    BoolArray,
    Chunk,
    ChunkPolicy,
    ChunkSwitch,
    Executor,
    ExecutorStatistics,
    FloatArray,
    IntArray,
    Observation,
    Prediction,
    Request,
)
from act_eval.user_code import Fault, user_code

_NO_STATE = np.zeros(0, np.float32)

_Due = tuple[Slot, int]
"""A slot and its step."""


@dataclass(frozen=True)
class _Notes:
    """Results of the requests of one step, by slot."""

    predictions: dict[int, list[Prediction]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    invalid: dict[int, str] = field(default_factory=dict)

    def __contains__(self, row: int) -> bool:
        return row in self.errors or row in self.invalid


class ChunkExecutor:
    """Runs a policy's chunks under a schedule; implements `act_eval.types.Executor`.

    Args:
        policy: Predicts chunks.
        schedule: Method, delays, estimated delays.
        hold: Command for steps that no chunk covers: `act_eval.rollout.hold_of(envs)`, the environments' own rule.
            `repeat_last` is correct for absolute positions only: a repeated velocity continues the motion.
        control_ms: Δt, length of a control step [ms]; needed for measured delays alone.
        foresee: Returns the scripted expert's next commands; needed for prefix `expert` alone.
        gripper_dims: The environment's declaration (`EnvHooks.gripper_dims`), for `ensemble` and predicted joints.

    Raises:
        TimingError: if the schedule cannot run with the policy, naming the bound and the value, or if a required
            `control_ms` or `foresee` is missing.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        schedule: Schedule,
        hold: Hold,
        control_ms: float | None = None,
        foresee: Foresee | None = None,
        gripper_dims: Sequence[int] | None = None,
    ) -> None:
        schedule.check(policy.spec)
        if isinstance(schedule.delay, Measured) and (control_ms is None or not control_ms > 0):
            raise TimingError(f"measured delays need the length of a control step; control_ms is {control_ms}")
        self.schedule = schedule
        method = schedule.method
        if isinstance(method, Ensemble) and method.newest_only is None:
            method = replace(method, newest_only=tuple(gripper_dims or ()))
        self._method = method if is_shipped(method) else GuardedMethod(method.execution_horizon, method)
        self._policy = policy
        self._spec = policy.spec
        self._effective_spec = schedule.treats(policy.spec)
        self._ablation = InputAblation(schedule, foresee, gripper_dims)
        self._hold = hold
        self._control_ms = control_ms
        _remark_on_hold(schedule, hold)
        past = ObservationBuffer(schedule, policy.spec)
        self._past = past if past.reach else None
        self._slots: dict[int, Slot] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self._slots[row] = Slot(row, self._method, draws(self.schedule.delay, seed), self.schedule.estimates_delay)
            self._ablation.reset(row, seed)
            if self._past is not None:
                self._past.reset(row)
        self._policy.reset(rows, seeds)

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        if self._past is None:
            return self.wants_request(steps_B)
        steps = steps_B.tolist()
        return np.array([t >= 0 and self._past.wants(self._slots[row], t) for row, t in enumerate(steps)], np.bool_)

    def wants_request(self, steps_B: IntArray) -> BoolArray:
        """Return which slots will send a request at these steps."""
        steps = steps_B.tolist()
        return np.array([t >= 0 and self._slots[row].is_due(t) for row, t in enumerate(steps)], np.bool_)

    def statistics(self, row: int) -> ExecutorStatistics:
        return self._slots[row].statistics()

    def inference_ms(self, row: int) -> tuple[float, ...]:
        return tuple(self._slots[row].inference_ms)

    def planned(self, row: int, count: int) -> FloatArray:
        """Return the commands (count, A) of a slot from the step of the last `act` on, as they are planned now."""
        slot = self._slots[row]
        step = len(slot.commands)
        return committed_commands(slot, step, step - 1, count, self._spec.action_dim, self._hold)

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        active = [(self._slots[row], t) for row, t in enumerate(steps_B.tolist()) if t >= 0]
        for slot, t in active:
            if self._past is not None and self._past.wants(slot, t):
                self._past.put(slot.row, t, observation)
            slot.receive(t)
        notes = _Notes()
        requested = np.zeros(len(steps_B), np.bool_)
        due = [(slot, t) for slot, t in active if slot.is_due(t)]
        # Repeat while the next request is due at once: after the first chunk, or after a loss in a stopped world.
        while due:
            self._request(due, observation, notes)
            requested[[slot.row for slot, _ in due]] = True
            due = [(slot, t) for slot, t in due if slot.row not in notes and slot.is_due(t)]
        if notes.errors or notes.invalid:
            active = [(slot, t) for slot, t in active if slot.row not in notes]
        return self._run(active, requested, notes, observation)

    def _request(self, due: list[_Due], observation: Observation, notes: _Notes) -> None:
        """Send the requests of all slots that are due; record answers and errors in `notes`."""
        requests: list[Request] = []
        for slot, t in list(due):
            try:
                requests.append(make_request(slot, t, self.schedule, self._effective_spec, self._hold))
            except SimulationError as error:
                notes.invalid[slot.row] = Fault.of(error)
                due.remove((slot, t))
        if not due:
            return
        rows = [slot.row for slot, _ in due]
        if self._past is None:
            seen = observation.take(np.array(rows, np.int64))
        else:
            seen = self._past.read(rows, [request.observation_step for request in requests])
        inputs = [
            self._policy_input(slot, request, joints, notes)
            for (slot, _), request, joints in zip(due, requests, seen.latest().agent_pos, strict=True)
        ]
        sent = [
            Sent(slot, t, request, given)
            for (slot, t), request, given in zip(due, requests, inputs, strict=True)
            if given is not None
        ]
        if not sent:
            return
        if len(sent) < len(due):
            seen = seen.take(np.array([n for n, given in enumerate(inputs) if given is not None], np.int64))
        batch = batch_requests(sent, seen, self._spec, self.schedule.method.hands_over_prefix)
        newest = seen.latest().environment_state
        goals = None if newest is None else newest.copy()  # the policy may change what it is given
        begin = perf_counter()
        answers = call_policy(self._policy, batch)
        elapsed_ms = 1e3 * (perf_counter() - begin)
        measured = self._measured(elapsed_ms)
        for n, ((slot, t, request, _), answer) in enumerate(zip(sent, answers, strict=True)):
            slot.inference_ms.append(elapsed_ms)
            resolve_timing(slot, request, self.schedule, self._effective_spec, measured)
            if isinstance(answer, str):
                notes.errors[slot.row] = answer
                continue
            slot.predicted_actions += len(answer)
            slot.in_flight.append(Chunk(request, answer, answer))
            notes.predictions.setdefault(slot.row, []).append(_prediction(request, answer, goals, n))
            slot.receive(t)

    def _policy_input(self, slot: Slot, request: Request, joints: FloatArray, notes: _Notes) -> PolicyInput | None:
        """Return a request's policy input; None, with a note, if the simulation of the expert fails."""
        last_action = last_action_of(slot, request, joints, self._spec.action_dim)
        try:
            return self._ablation.apply(slot.row, request, joints, last_action)
        except SimulationError as error:
            notes.invalid[slot.row] = f"looking ahead with the expert: {error}"
            return None

    def _measured(self, elapsed_ms: float) -> Draw | None:
        if isinstance(self.schedule.delay, Measured) and self._control_ms is not None:
            return self.schedule.delay.draw(elapsed_ms, self._control_ms)
        return None

    def _run(self, active: list[_Due], requested: BoolArray, notes: _Notes, observation: Observation) -> Actions:
        """Return each slot's command, or the hold action if no chunk covers its step."""
        size = len(requested)
        command = np.zeros((size, self._spec.action_dim), np.float32)
        source = np.empty((5, size), np.int64)
        source.fill(-1)
        chunk, index, observed, estimated, actual = source
        in_flight = np.zeros(size, np.int64)
        chunk_switch = np.zeros(size, np.bool_)
        chunk_switch_effects: dict[int, ChunkSwitch] = {}
        underrun: list[Slot] = []
        for slot, t in active:
            row = slot.row
            if slot.in_flight:
                in_flight[row] = len(slot.in_flight)
            planned = slot.action_at(t)
            if planned is None:
                underrun.append(slot)
                continue
            request = planned.chunk.request
            command[row] = planned.command
            slot.commands.append(planned.command)
            source[:, row] = (
                request.number,
                t - request.start,
                request.observation_step,
                request.estimated,
                request.actual,
            )
            if 0 <= slot.last_chunk != request.number:
                chunk_switch[row] = True
                slot.chunk_switches += 1
                change = slot.switch_change(planned.chunk, t)
                if change is not None:
                    chunk_switch_effects[row] = change
            slot.last_chunk, slot.ran = request.number, slot.installed
            slot.used_actions += planned.contributions
        if underrun:
            self._hold_underrun(underrun, command, notes)
        return Actions(
            command=command,
            ran=self._delayed(active, command, observation, notes) if self.schedule.actuation_delay else None,
            chunk=chunk,
            index=index,
            observed=observed,
            requested=requested,
            estimated_delay=estimated,
            actual_delay=actual,
            in_flight=in_flight,
            chunk_switch=chunk_switch,
            chunk_switch_effects=chunk_switch_effects,
            predictions=notes.predictions,
            errors=notes.errors,
            invalid=notes.invalid,
        )

    def _hold_underrun(self, underrun: list[Slot], command: FloatArray, notes: _Notes) -> None:
        for slot in underrun:
            try:
                action = self._hold(np.array([slot.last_command], np.float32), np.array([slot.row], np.int64))[0]
            except SimulationError as error:
                notes.invalid[slot.row] = Fault.of(error)
                continue
            command[slot.row] = action
            slot.commands.append(action)
            slot.underrun_steps += 1
            slot.ran = []

    def _delayed(self, active: list[_Due], command: FloatArray, observation: Observation, notes: _Notes) -> FloatArray:
        ran, delay = np.zeros_like(command), self.schedule.actuation_delay
        for slot, t in (one for one in active if one[0].row not in notes):
            try:
                ran[slot.row] = delayed_command(slot, t, delay, observation.agent_pos[slot.row], self._hold)
            except SimulationError as error:
                notes.invalid[slot.row] = Fault.of(error)
        return ran


def _remark_on_hold(schedule: Schedule, hold: Hold) -> None:
    name = getattr(hold, "undeclared", None)
    if name is not None and extremes(schedule.delay)[1] != 0:
        print(
            f"{name} declares no hold rule: while a robot waits for its chunk, the last command is repeated, which is "
            "right for absolute positions only. A method hold_action(last_command) declares another rule.",
            file=sys.stderr,
        )


def _prediction(request: Request, actions: FloatArray, environment_states: FloatArray | None, row: int) -> Prediction:
    """Return the observers' record of a request, with its row of the observation's `environment_state`."""
    return Prediction(
        sent=request.sent,
        observation_step=request.observation_step,
        start=request.start,
        ready=request.ready,
        estimated=request.estimated,
        actual=request.actual,
        lost=request.lost,
        actions=actions,
        goal_input=_NO_STATE if environment_states is None else environment_states[row],
    )


def make_executor(
    policy: ChunkPolicy,
    schedule: Schedule,
    hold: Hold,
    control_ms: float | None,
    foresee: Foresee | None = None,
    gripper_dims: Sequence[int] | None = None,
) -> Executor:
    """Return the executor of a schedule: a `ChunkExecutor`, or the user-defined one.

    Raises:
        TimingError: as `ChunkExecutor`.
        UsageError: if a user-defined executor cannot be built.
    """
    method = schedule.method
    if not isinstance(method, CustomExecutor):
        return ChunkExecutor(policy, schedule, hold, control_ms, foresee, gripper_dims)
    schedule.check(policy.spec)
    with user_code(f"executor {method.name}: building it raised"):
        return method.factory(policy, schedule, hold, control_ms, **method.options)
