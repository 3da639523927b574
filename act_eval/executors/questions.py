"""When a request's answer may act, which delay it is told, and which commands will run meanwhile."""

from collections.abc import Callable

import numpy as np

from act_eval.errors import TimingError
from act_eval.executors.plans import planned
from act_eval.executors.slot import Question, Slot
from act_eval.timing import RTC, Draw, Schedule, Sync, first_request, told_delay
from act_eval.types import FloatArray, IntArray, PolicySpec

Hold = Callable[[FloatArray, IntArray], FloatArray]
"""(last commands (n, A), slots (n,)) → (n, A) what runs where no chunk covers the step."""


def repeat_last(last_command: FloatArray, slots: IntArray) -> FloatArray:
    """Hold absolute targets: the last command again."""
    return last_command


def pose(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec, hold: Hold) -> Question:
    """Decide everything about the request that a slot sends at a step, and when the one after it is due."""
    if not slot.questions:
        question = _question(slot, step, start=step, ready=step, draw=Draw(0))
        slot.next_due = _first_due(slot, step, schedule, spec)
    elif isinstance(schedule.method, Sync):
        question = _pose_sync(slot, step, schedule.method, schedule.timeout)
    else:
        question = _pose_async(slot, step, schedule, spec, hold)
    slot.questions.append(question)
    return question


def _first_due(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec) -> int:
    if isinstance(schedule.method, Sync):
        return step + schedule.method.execute

    def estimate() -> int:
        return told_delay(schedule.told, slot.peek().within(schedule.timeout).steps, slot.arrived)

    return step + first_request(schedule, spec, estimate)


def _question(
    slot: Slot, step: int, *, start: int, ready: int, draw: Draw, told: int = 0, prefix: FloatArray | None = None
) -> Question:
    if prefix is None:
        prefix = np.zeros((0, 0), np.float32)
    return Question(len(slot.questions), step, start, ready, told, draw.steps, draw.lost, prefix)


def _pose_sync(slot: Slot, step: int, method: Sync, timeout: int | None) -> Question:
    slot.installed.clear()
    draw = slot.draw().within(timeout)
    spent = timeout or 0 if draw.lost else draw.steps
    begins = step if method.clock == "frozen" else step + spent
    slot.stopped_steps += step + spent - begins
    slot.next_due = begins if draw.lost else begins + method.execute
    return _question(slot, step, start=begins, ready=begins, draw=draw)


def _pose_async(slot: Slot, step: int, schedule: Schedule, spec: PolicySpec, hold: Hold) -> Question:
    draw = slot.draw().within(schedule.timeout)
    told = 0
    if isinstance(schedule.method, RTC):
        told = _within(slot, told_delay(schedule.told, draw.steps, slot.arrived), schedule, spec)
    slot.next_due = step + schedule.method.execute
    start = step + told if spec.window == "shifted" else step
    ready = step + (schedule.timeout or 0 if draw.lost else max(told, draw.steps))
    prefix = _committed(slot, step, told, spec.action_dim, hold) if told else None
    return _question(slot, step, start=start, ready=ready, draw=draw, told=told, prefix=prefix)


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


def _committed(slot: Slot, step: int, told: int, action_dim: int, hold: Hold) -> FloatArray:
    """Return the (told, A) commands of `step … step + told - 1`, hold commands where the chunk runs out."""
    prefix = np.zeros((told, action_dim), np.float32)
    last = slot.last_command
    for ahead in range(told):
        plan = planned(slot, step + ahead)
        if plan is not None:
            last = plan.command
        elif last is not None:
            last = hold(last[None], np.array([slot.row]))[0]
        prefix[ahead] = last
    return prefix
