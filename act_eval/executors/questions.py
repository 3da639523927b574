"""What a request reads and is told, which commands will run meanwhile, and when its answer may act."""

from collections.abc import Callable

import numpy as np

from act_eval.errors import TimingError
from act_eval.executors.plans import planned
from act_eval.executors.slot import Asked, Question, Slot
from act_eval.timing import Draw, Oracle, Schedule, Sync, first_request, told_delay
from act_eval.types import FloatArray, IntArray, PolicySpec

Hold = Callable[[FloatArray, IntArray], FloatArray]
"""(last commands (n, A), slots (n,)) → (n, A) what runs where no chunk covers the step."""

_NO_PREFIX = np.zeros((0, 0), np.float32)


def repeat_last(last_command: FloatArray, slots: IntArray) -> FloatArray:
    """Hold absolute targets: the last command again."""
    return last_command


def pose(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec, hold: Hold) -> Asked:
    """Decide what a slot asks at a step: of which observation, told which delay, after which prefix."""
    observed = max(0, step - schedule.observation_delay)
    told, prefix = 0, _NO_PREFIX
    if slot.questions and schedule.estimates_delay:
        told = _within(slot, step - observed + _estimate(slot, schedule), schedule, spec)
        count = told + max(0, schedule.shown.offset)
        prefix = _committed(slot, step, observed, count, spec.action_dim, hold) if count else _NO_PREFIX
    return Asked(len(slot.questions), step, observed, told, prefix)


def settle(slot: Slot, asked: Asked, schedule: Schedule, spec: PolicySpec, measured: Draw | None = None) -> Question:
    """Decide when the answer to a request may act, and when the next request is due.

    Args:
        slot: Has sent the request.
        asked: The request.
        schedule: Method and delays.
        spec: The policy's.
        measured: Fate of the request where the wall clock decides it, None where the delay model does.
    """
    if asked.number == 0:
        question = _question(asked, start=asked.step, ready=asked.sent, draw=Draw(0))
        slot.next_due = _first_due(slot, asked.sent, schedule, spec)
    else:
        draw = (slot.draw() if measured is None else measured).within(schedule.timeout)
        if isinstance(schedule.method, Sync):
            question = _settle_sync(slot, asked, draw, schedule.method, schedule.timeout)
        else:
            question = _settle_async(slot, asked, draw, schedule, spec)
    slot.questions.append(question)
    return question


def _estimate(slot: Slot, schedule: Schedule) -> int:
    """Return the estimated steps from the next request to its answer; only the oracle looks ahead."""
    oracle = isinstance(schedule.estimator, Oracle)
    happening = slot.peek().within(schedule.timeout).steps if oracle else 0
    return told_delay(schedule.estimator, happening, slot.arrived)


def _first_due(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec) -> int:
    if isinstance(schedule.method, Sync):
        return step + schedule.method.execute
    return step + first_request(schedule, spec, lambda: _estimate(slot, schedule))


def _question(asked: Asked, *, start: int, ready: int, draw: Draw) -> Question:
    actual = 0 if draw.lost else asked.sent - asked.step + draw.steps
    return Question(asked.number, asked.sent, asked.step, start, ready, asked.told, actual, draw.lost)


def _settle_sync(slot: Slot, asked: Asked, draw: Draw, method: Sync, timeout: int | None) -> Question:
    slot.installed = []
    spent = timeout or 0 if draw.lost else draw.steps
    begins = asked.sent if method.clock == "frozen" else asked.sent + spent
    slot.stopped_steps += asked.sent + spent - begins
    slot.next_due = begins if draw.lost else begins + method.execute
    return _question(asked, start=begins, ready=begins, draw=draw)


def _settle_async(slot: Slot, asked: Asked, draw: Draw, schedule: Schedule, spec: PolicySpec) -> Question:
    slot.next_due = asked.sent + schedule.method.execute
    start = asked.step + asked.told if spec.window == "shifted" else asked.step
    expected = asked.step + asked.told  # an early answer waits for it
    ready = asked.sent + (schedule.timeout or 0) if draw.lost else max(expected, asked.sent + draw.steps)
    return _question(asked, start=start, ready=ready, draw=draw)


def _within(slot: Slot, told: int, schedule: Schedule, spec: PolicySpec) -> int:
    if told <= spec.max_delay:
        return told
    slot.beyond_max_delay += 1
    match schedule.beyond_max_delay:
        case "clip":
            return spec.max_delay
        case "naive":
            return 0
        case "error":
            raise TimingError(f"told delay {told} is above the policy's max_delay = {spec.max_delay}")


def _committed(slot: Slot, step: int, observed: int, count: int, action_dim: int, hold: Hold) -> FloatArray:
    """Return the (count, A) commands from `observed` on: decided ones, from `step` on planned ones, then held ones."""
    prefix = np.zeros((count, action_dim), np.float32)
    last = slot.last_command
    for ahead in range(count):
        at = observed + ahead
        plan = planned(slot, at) if at >= step else None
        if at < step:
            last = slot.commands[at]
        elif plan is not None:
            last = plan.command
        elif last is not None:
            last = hold(last[None], np.array([slot.row]))[0]
        prefix[ahead] = last
    return prefix
