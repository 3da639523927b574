"""What a request contains beside its prefix: past and planned commands; and a smallest delay that a policy takes."""

import re
from typing import Any

import numpy as np
import pytest
from toy_policies import HOLD, Ramp, Tagged, run, traced

from act_eval.errors import TimingError, UsageError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import RTC, Ablation, Constant, Lossy, MaxOfLast, Naive, Schedule, Trace, Uniform, WrongDelay
from act_eval.types import PolicySpec

STEPS = 40


class Asking(Ramp):
    """Knows the future, and asks for commands."""

    def __init__(self, length: int, *, past: int = 0, planned: int = 0, least: int = 0, most: int = 6) -> None:
        super().__init__(length, window="shifted", max_delay=most)
        fields = {"past_actions": past, "planned_actions": planned, "min_delay": least}
        self.spec = PolicySpec(**{**vars(self.spec), **fields})


class AskingTagged(Tagged):
    """Tells its chunks apart, and takes no delay below 1."""

    def __init__(self, length: int, *, planned: int = 0) -> None:
        super().__init__(length, window="shifted", max_delay=4)
        self.spec = PolicySpec(**{**vars(self.spec), "min_delay": 1, "planned_actions": planned})


def rtc(s: int, delay: Any, **fields: Any) -> Schedule:
    return Schedule(method=RTC(s), delay=delay, **fields)


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("d", [0, 2])
def test_a_request_contains_the_commands_before_and_after_its_observation(d: int, k: int) -> None:
    policy = Asking(10, past=3, planned=7)
    traced(policy, rtc(4, Constant(d), observation_delay=k), STEPS)
    assert len(policy.requests) > 5
    for number, request in enumerate(policy.requests):
        t = int(request.steps[0])
        assert request.past_actions is not None
        assert request.planned_actions is not None
        expected = [t - 3, t - 2, t - 1]
        found = request.past_actions[0, :, 0]
        assert np.where(np.isnan(found), -1, found).tolist() == [max(step, -1) for step in expected]
        plan = request.planned_actions[0, :, 0]
        known = plan[~np.isnan(plan)]
        if number == 0:
            assert len(known) == 0  # no plan before the first chunk
            continue
        assert known.tolist() == list(range(t, t + len(known)))
        # chunk n - 1 begins at its observation + k + d, has 10 actions, and this request's observation is s later
        before = 10 if number == 1 else int(policy.requests[number - 1].steps[0]) + k + d + 10
        assert len(known) == min(7, before - t)
        assert len(known) >= d + k


def test_other_executors_hand_no_plan_over_and_policies_that_ask_for_nothing_get_nothing() -> None:
    policy = Asking(10, past=2, planned=4)
    traced(policy, Schedule(method=Naive(4), delay=Constant(2)), STEPS)
    for request in policy.requests:
        assert request.planned_actions is not None
        assert np.isnan(request.planned_actions).all()
        assert request.past_actions is not None
        assert np.isnan(request.past_actions).any() == (request.steps[0] < 2)
    bare = Asking(10)
    traced(bare, rtc(4, Constant(2)), STEPS)
    assert all(request.past_actions is None and request.planned_actions is None for request in bare.requests)


def test_a_plan_is_of_the_chunk_that_runs_after_an_answer_was_lost() -> None:
    policy = AskingTagged(8, planned=8)
    schedule = rtc(3, Trace(episodes={0: (1, None, *[1] * 40)}), timeout=3, beyond_max_delay="clip")
    actions, _ = traced(policy, schedule, 20)
    lost = next(n for a in actions for p in a.predictions.get(0, ()) for n in [p] if p.lost)
    after = next(request for request in policy.requests if request.steps[0] > lost.observation_step)
    assert after.planned_actions is not None
    plan = after.planned_actions[0, :, 0]
    assert set((plan[~np.isnan(plan)] // 100).tolist()) == {1.0}  # chunk 2 was lost


def test_an_estimate_below_the_smallest_delay_is_raised_and_its_answer_waits() -> None:
    # At d = 0 the chunk of a request at t acts from t + 1 on: until then the old one runs.
    assert run(AskingTagged(8), rtc(3, Constant(0)), 9) == [0, 1, 2, 3, 100, 101, 102, 200, 201]
    assert run(AskingTagged(8), rtc(3, Constant(1)), 9) == [0, 1, 2, 3, 100, 101, 102, 200, 201]
    policy = Asking(8, least=2)
    actions, executor = traced(policy, rtc(4, Uniform(0, 3)), STEPS)
    counted = executor.statistics(0)
    assert counted.estimated_delays == (0, *(max(2, d) for d in counted.actual_delays[1:] if d is not None))
    assert {0, 1} & set(counted.actual_delays[1:])
    assert [float(a.command[0, 0]) for a in actions] == list(range(STEPS))
    assert not counted.underrun_steps
    ours = Schedule(method=Naive(3), delay=Constant(1))  # without a prefix there is nothing to condition on
    assert run(AskingTagged(8), ours, 7) == [0, 1, 2, 3, 101, 102, 103]
    estimated = rtc(4, Lossy(0.3, Uniform(0, 2)), timeout=6, delay_estimator=MaxOfLast(3), beyond_max_delay="clip")
    policy = Asking(12, least=2)
    actions, executor = traced(policy, estimated, STEPS)
    assert min(executor.statistics(0).estimated_delays[1:]) == 2
    assert HOLD not in [float(a.command[0, 0]) for a in actions]


def test_bounds_and_ablations_know_the_smallest_delay() -> None:
    assert rtc(1, Constant(0)).refusal(Asking(8, least=2).spec) is not None  # the switch is 2 steps after the request
    assert rtc(2, Constant(0)).refusal(Asking(8, least=2).spec) is None
    early = rtc(4, Constant(1), ablation=Ablation(prefix=WrongDelay(-1)))
    text = "prefix 'wrong_delay:-1' gives estimated delay 0; the policy takes 1 .. 4"
    with pytest.raises(TimingError, match=re.escape(text)):
        ChunkExecutor(AskingTagged(8), early, repeat_last)


@pytest.mark.parametrize("fields", [{"min_delay": 5}, {"min_delay": -1}, {"past_actions": -1}, {"planned_actions": -2}])
def test_a_spec_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    text = "a policy needs 0 <= min_delay <= max_delay, past_actions >= 0 and planned_actions >= 0"
    with pytest.raises(UsageError, match=re.escape(text)):
        PolicySpec(chunk=8, action_dim=1, window="shifted", takes_prefix=True, max_delay=4, inputs={}, **fields)
