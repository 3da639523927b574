"""Late answers, answers exactly at the timeout, and prefixes beyond the end of their chunk, by hand."""

import numpy as np
import pytest
from toy_policies import Tagged, blank

from act_eval.executors import ChunkExecutor
from act_eval.timing import (
    RTC,
    Constant,
    ConstantEstimate,
    DelayModel,
    Draw,
    Estimator,
    MaxOfLast,
    Method,
    Naive,
    Oracle,
    Schedule,
    Sync,
    Trace,
)
from act_eval.types import FloatArray, IntArray


def halve(last_command: FloatArray, slots: IntArray) -> FloatArray:
    """Hold by halving the last command, which no repetition imitates."""
    return last_command / 2


def run(
    method: Method,
    delay: DelayModel,
    steps: int,
    estimator: Estimator | None = None,
    timeout: int | None = None,
    length: int = 6,
) -> tuple[ChunkExecutor, Tagged, list[float]]:
    prefix = method.hands_over_prefix
    policy = Tagged(length, window="shifted" if prefix else "same", max_delay=length if prefix else None)
    schedule = Schedule(method=method, delay=delay, delay_estimator=estimator, timeout=timeout)
    executor = ChunkExecutor(policy, schedule, halve)
    executor.reset([0], [7])
    commands = [float(executor.act(np.array([t]), blank(1)).command[0, 0]) for t in range(steps)]
    return executor, policy, commands


def test_answers_that_come_after_an_estimate_of_0_are_late() -> None:
    executor, _, _ = run(RTC(3), Trace(steps=(2,)), 20, ConstantEstimate(0))
    counted = executor.statistics(0)
    assert counted.estimated_delays == (0,) * counted.requests
    assert counted.late == counted.requests - 1 > 3


def test_the_first_estimate_of_an_estimator_may_be_0_and_its_answer_late() -> None:
    executor, _, _ = run(RTC(3), Trace(steps=(2,)), 20, MaxOfLast(initial=0))
    counted = executor.statistics(0)
    assert counted.estimated_delays[:3] == (0, 0, 2)
    assert counted.late == 1


@pytest.mark.parametrize(("method", "estimator"), [(RTC(3), Oracle()), (RTC(3), ConstantEstimate(3)), (Naive(3), None)])
def test_answers_in_time_and_methods_without_an_estimate_have_no_late_ones(
    method: Method, estimator: Estimator | None
) -> None:
    executor, _, _ = run(method, Constant(2), 20, estimator)
    assert executor.statistics(0).late == 0


def test_a_delay_equal_to_the_timeout_is_not_lost() -> None:
    assert Draw(4).within(4) == Draw(4)
    assert Draw(5).within(4).lost
    for timeout in (None, 3):
        executor, _, commands = run(Naive(3), Constant(3), 9, timeout=timeout)
        assert commands == [0, 1, 2, 3, 4, 5, 103, 104, 105]
        assert executor.statistics(0).lost == 0


@pytest.mark.parametrize("clock", ["paused", "hold"])
def test_at_the_timeout_a_waiting_robot_still_gets_its_answer(clock: str) -> None:
    method = Sync(3, clock)  # pyright: ignore[reportArgumentType]
    in_time, _, commands = run(method, Trace(steps=(2,)), 12, timeout=2)
    assert in_time.statistics(0).lost == 0
    assert commands == run(method, Constant(2), 12)[2]
    too_late, _, _ = run(method, Trace(steps=(2, 3)), 30, timeout=2)
    assert too_late.statistics(0).lost > 1


def test_a_prefix_beyond_its_chunk_holds_what_the_hold_rule_will_run() -> None:
    # Chunk 0 ends at step 5. The request of step 1 is lost and given up at step 6; that of step 7 finds no chunk.
    executor, policy, commands = run(RTC(6), Trace((5,), {7: (None, 5)}), 14, ConstantEstimate(5), timeout=5)
    assert executor.statistics(0).lost == 1
    late = policy.requests[2]
    assert (int(late.steps[0]), int(late.estimated_delay[0])) == (7, 5)
    held = [5 / 2**k for k in range(1, 7)]  # of steps 6 to 11
    np.testing.assert_array_equal(late.prefix[0, :5, 0], np.float32(held[1:]))
    np.testing.assert_array_equal(np.float32(commands[6:12]), np.float32(held))


def test_a_prefix_that_leaves_its_chunk_midway_is_what_runs() -> None:
    # The answer to the request of step 3 comes at step 8 and covers 5 to 10; that of step 8 looks ahead to step 12.
    executor, policy, commands = run(RTC(3), Trace(steps=(5,)), 16, ConstantEstimate(2))
    assert executor.statistics(0).late > 0
    for request in policy.requests[1:3]:
        t, d = int(request.steps[0]), int(request.estimated_delay[0])
        np.testing.assert_array_equal(request.prefix[0, :d, 0], np.float32(commands[t : t + d]))
    assert commands[6:8] == [2.5, 1.25], "underrun until the late answer"
