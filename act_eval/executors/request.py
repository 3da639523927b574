"""Requests: made, timed, batched over slots and answered by the policy.

An exception of user code becomes a result in two places, the environment's step in `act_eval.rollout` and the call of
the policy here: a policy that raises ends its episode as `policy_error`.

Legend: `N` slots of one batch · `C` chunk length · `A` action dim.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from act_eval.errors import RemoteError, TimingError, UsageError
from act_eval.executors.ablation import PolicyInput
from act_eval.executors.slot import Hold, Slot
from act_eval.timing import Draw, Oracle, Schedule, Sync, estimated_delay, first_request
from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, FloatArray, Observation, PolicySpec, Request
from act_eval.user_code import Fault

_NO_PREFIX = np.zeros((0, 0), np.float32)

Answer = FloatArray | str
"""(C, A) absolute commands, or the description of an error."""


class Sent(NamedTuple):
    """A request on its way to the policy."""

    slot: Slot
    step: int
    request: Request
    input: PolicyInput


def make_request(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec, hold: Hold) -> Request:
    """Return a slot's request at a step, with its observation step, estimated delay and committed prefix."""
    observed = max(0, step - schedule.observation_delay)
    estimated, prefix = 0, _NO_PREFIX
    if slot.requests and schedule.estimates_delay:
        estimated = max(spec.min_delay, step - observed + _estimate(slot, schedule))
        estimated = _within_max_delay(slot, estimated, schedule, spec)
        count = estimated + max(0, schedule.ablation.offset)
        prefix = committed_commands(slot, step, observed, count, spec.action_dim, hold) if count else _NO_PREFIX
    return Request(number=len(slot.requests), sent=step, observation_step=observed, estimated=estimated, prefix=prefix)


def resolve_timing(
    slot: Slot, request: Request, schedule: Schedule, spec: PolicySpec, measured: Draw | None = None
) -> None:
    """Set the steps at which an answer starts and may act, and the step of the slot's next request.

    Args:
        slot: The slot that sent the request.
        request: Receives `start`, `ready`, `actual` and `lost`.
        schedule: Method and delays.
        spec: The policy's spec.
        measured: Delay of the request by the wall clock; None if the delay model draws it.
    """
    if request.number == 0:
        request.start, request.ready, request.actual = request.observation_step, request.sent, request.age
        slot.next_due = _first_due(slot, request.sent, schedule, spec)
    else:
        draw = (slot.draw() if measured is None else measured).within(schedule.timeout)
        request.lost = draw.lost
        request.actual = 0 if draw.lost else request.age + draw.steps
        if isinstance(schedule.method, Sync):
            _time_waiting(slot, request, draw, schedule.method, schedule.timeout)
        else:
            _time_running(slot, request, draw, schedule, spec)
    slot.requests.append(request)


def _estimate(slot: Slot, schedule: Schedule) -> int:
    """Return the estimated steps from the next request to its answer; only the oracle reads the next draw."""
    oracle = isinstance(schedule.estimator, Oracle)
    actual = slot.peek().within(schedule.timeout).steps if oracle else 0
    return estimated_delay(schedule.estimator, actual, slot.arrived)


def _first_due(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec) -> int:
    if isinstance(schedule.method, Sync):
        return step + schedule.method.execution_horizon
    return step + first_request(schedule, spec, lambda: _estimate(slot, schedule))


def _time_waiting(slot: Slot, request: Request, draw: Draw, method: Sync, timeout: int | None) -> None:
    slot.installed = []
    spent = timeout or 0 if draw.lost else draw.steps
    begins = request.sent if method.clock == "paused" else request.sent + spent
    slot.stopped_steps += request.sent + spent - begins
    slot.next_due = begins if draw.lost else begins + method.execution_horizon
    request.start = request.ready = begins


def _time_running(slot: Slot, request: Request, draw: Draw, schedule: Schedule, spec: PolicySpec) -> None:
    slot.next_due = request.sent + schedule.method.execution_horizon
    expected = request.observation_step + request.estimated  # an early answer waits until then
    request.start = expected if spec.window == "shifted" else request.observation_step
    request.ready = request.sent + (schedule.timeout or 0) if draw.lost else max(expected, request.sent + draw.steps)


def _within_max_delay(slot: Slot, estimated: int, schedule: Schedule, spec: PolicySpec) -> int:
    if estimated <= spec.max_delay:
        return estimated
    slot.beyond_max_delay += 1
    match schedule.beyond_max_delay:
        case "clip":
            return spec.max_delay
        case "naive":
            return 0
        case "error":
            raise TimingError(f"estimated delay {estimated} is above the policy's max_delay = {spec.max_delay}")


def committed_commands(slot: Slot, step: int, observed: int, count: int, action_dim: int, hold: Hold) -> FloatArray:
    """Return the (count, A) commands from `observed` on: executed ones, from `step` on planned ones, then held ones."""
    prefix = np.zeros((count, action_dim), np.float32)
    last = slot.last_command
    for ahead in range(count):
        at = observed + ahead
        planned = slot.action_at(at) if at >= step else None
        if at < step:
            last = slot.commands[at]
        elif planned is not None:
            last = planned.command
        elif last is not None:
            last = hold(last[None], np.array([slot.row]))[0]
        prefix[ahead] = last
    return prefix


def _past_commands(slot: Slot, request: Request, count: int, action_dim: int) -> FloatArray:
    """Return the (count, A) commands before a request's observation, NaN before the episode's start."""
    past = np.full((count, action_dim), np.nan, np.float32)
    for back in range(1, min(count, request.observation_step) + 1):
        past[-back] = slot.commands[request.observation_step - back]
    return past


def _planned_commands(slot: Slot, request: Request, count: int, action_dim: int) -> FloatArray:
    """Return the (count, A) commands from a request's observation on, NaN where no chunk covers a step."""
    plan = np.full((count, action_dim), np.nan, np.float32)
    for ahead in range(count):
        at = request.observation_step + ahead
        planned = slot.action_at(at) if at >= request.sent else None
        if at < request.sent:
            plan[ahead] = slot.commands[at]
        elif planned is not None:
            plan[ahead] = planned.command
    return plan


def last_action_of(slot: Slot, request: Request, agent_pos: FloatArray, action_dim: int) -> FloatArray:
    """Return the (A,) command before a request's observation: the joints at step 0, NaN if they are no command."""
    if request.observation_step > 0:
        return slot.commands[request.observation_step - 1]
    return at_rest(agent_pos, (action_dim,))


def at_rest(agent_pos: FloatArray, action_shape: tuple[int, ...] | None) -> FloatArray:
    """Return the (A,) command before an episode's first step: the joints, NaN if they differ in shape from a command.

    NaN makes a policy that reads it fail visibly.
    """
    return agent_pos if action_shape in (None, agent_pos.shape) else np.full(action_shape, np.nan, np.float32)


def batch_requests(
    sent: Sequence[Sent], observation: Observation, spec: PolicySpec, hands_over_prefix: bool
) -> ChunkRequest:
    """Return N requests as one, with N rows of `observation`."""
    slots, requests, inputs = ([getattr(one, name) for one in sent] for name in ("slot", "request", "input"))
    both, past, planned = list(zip(slots, requests, strict=True)), None, None
    if spec.past_actions:
        past = np.stack([_past_commands(*one, spec.past_actions, spec.action_dim) for one in both])
    if spec.planned_actions:
        planned = np.stack([_planned_commands(*one, spec.planned_actions, spec.action_dim) for one in both])
        planned[[not hands_over_prefix or request.number == 0 for request in requests]] = np.nan
    if observation.agent_pos.ndim == 2:  # with a history, joints are never predicted
        observation = replace(observation, agent_pos=np.array([one.joints for one in inputs], np.float32))
    prefix = np.zeros((len(slots), spec.max_delay, spec.action_dim), np.float32)
    for n, one in enumerate(inputs):
        if one.estimated:
            prefix[n, : one.estimated] = one.prefix
    return ChunkRequest(
        rows=np.array([slot.row for slot in slots], np.int64),
        steps=np.array([request.observation_step for request in requests], np.int64),
        observation=observation,
        estimated_delay=np.array([one.estimated for one in inputs], np.int64),
        prefix=prefix,
        prefix_known=np.array([one.known for one in inputs], np.int64),
        last_action=np.array([one.last_action for one in inputs], np.float32),
        past_actions=past,
        planned_actions=planned,
    )


def call_policy(policy: ChunkPolicy, request: ChunkRequest) -> list[Answer]:
    """Return the policy's answer to each row of a request, or the description of that row's error.

    A prediction that raises is repeated row by row, so that only the faulty rows fail.

    Raises:
        UsageError: if the policy refuses the request itself, which concerns every episode.
        RemoteError: if the connection to the policy's server is lost, which is no episode's fault.
    """
    count = len(request.rows)
    try:
        return _checked(policy.predict(request), count, policy.spec)
    except (UsageError, RemoteError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # user code may raise anything
        if count == 1:
            return [Fault.of(error)]
    return [call_policy(policy, _rows(request, [row]))[0] for row in range(count)]


def _checked(chunks: ActionChunks, count: int, spec: PolicySpec) -> list[Answer]:
    kind = np.asarray(chunks.actions).dtype
    if kind.kind not in "fiu":  # numpy would parse text and drop imaginary parts
        return [f"the policy answered with actions of type {kind}, expected floating-point numbers"] * count
    with np.errstate(over="ignore"):  # values too large for float32 become infinite and are refused below
        actions = np.array(chunks.actions, dtype=np.float32)  # a copy: policies may reuse their buffers
    expected = (count, spec.chunk, spec.action_dim)
    if actions.shape != expected:
        return [f"the policy answered with actions of shape {actions.shape}, expected {expected}"] * count
    if np.isfinite(actions).all():
        return list(actions)
    return [_finite(chunk) for chunk in actions]


def _finite(chunk: FloatArray) -> Answer:
    bad = np.argwhere(~np.isfinite(chunk))
    if len(bad) == 0:
        return chunk
    index, dim = bad[0]
    return f"the policy answered with a non-finite action: {chunk[index, dim]} at index {index}, dimension {dim}"


def _rows(request: ChunkRequest, rows: Sequence[int]) -> ChunkRequest:
    take = np.asarray(rows, dtype=np.int64)
    arrays = {name: value[take] for name, value in vars(request).items() if isinstance(value, np.ndarray)}
    return replace(request, observation=request.observation.take(take), **arrays)
