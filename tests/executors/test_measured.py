"""Delays that the wall clock decides, and the trace that repeats them."""

import math
import re
import time
from collections.abc import Sequence

import numpy as np
import pytest
from toy_envs import HookedWalk
from toy_policies import Noise, Tagged, blank

from act_eval.errors import TimingError
from act_eval.executors import ChunkExecutor, repeat_last, scheduler
from act_eval.results import delays_of
from act_eval.results.steps import StepRecorder
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.timing import (
    RTC,
    Blend,
    ConstantEstimate,
    Ensemble,
    MaxOfLast,
    Measured,
    Method,
    Naive,
    Oracle,
    Schedule,
    Sync,
    Trace,
)
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec

C, STEPS, SEED = 8, 40, 3
CONTROL_MS = 1.0


class Clock:
    """A clock that stands still but for what is spent on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(scheduler, "perf_counter", lambda: self.now_s)

    def spend(self, ms: float) -> None:
        self.now_s += ms / 1e3


class Slow(Noise):
    """Takes 0.1, 1.4, 2.7 and 4 ms in turn."""

    def __init__(self, clock: Clock, **kwargs) -> None:
        super().__init__(C, **kwargs)
        self._clock = clock

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self._clock.spend(0.1 + 1.3 * (len(self.requests) % 4))
        return super().predict(request)


METHODS = [Sync(3), Sync(3, "hold"), Naive(4), RTC(4), Ensemble(2), Blend(4)]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_measured_run_is_repeated_to_the_last_bit_by_its_trace(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acted(policy: Noise, delay: Measured | Trace, rows: int = 2):
        schedule = Schedule(method=method, delay=delay, delay_estimator=MaxOfLast(), beyond_max_delay="clip")
        executor = ChunkExecutor(policy, schedule, repeat_last, control_ms=CONTROL_MS)
        executor.reset(range(rows), [SEED + row for row in range(rows)])
        return [executor.act(np.full(rows, t), blank(rows)) for t in range(STEPS)], executor

    slow = Slow(Clock(monkeypatch), window="shifted", max_delay=5)
    actions, executor = acted(slow, Measured(injected_ms=0.5))
    counted = [executor.statistics(row) for row in range(2)]
    assert set(counted[0].actual_delays) == {0, 1, 2, 4, 5}
    trace = Trace(episodes={SEED + row: counted[row].actual_delays[1:] for row in range(2)})
    again, replaying = acted(Noise(C, window="shifted", max_delay=5), trace)
    assert [replaying.statistics(row) for row in range(2)] == counted
    for first, second in zip(actions, again, strict=True):
        for name in (
            "command",
            "chunk",
            "index",
            "observed",
            "requested",
            "estimated_delay",
            "actual_delay",
            "in_flight",
        ):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_the_delay_is_the_measured_time_rounded_up_for_every_row_of_the_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = Schedule(method=Naive(4), delay=Measured(injected_ms=2.5))
    executor = ChunkExecutor(Slow(Clock(monkeypatch)), schedule, repeat_last, control_ms=CONTROL_MS)
    executor.reset([0, 1, 2], [0, 1, 2])
    for t in range(STEPS):
        executor.act(np.full(3, t), blank(3))
    for row in range(3):
        counted, times = executor.statistics(row), executor.inference_ms(row)
        assert len(counted.actual_delays) == len(times) > 3
        assert times[:5] == pytest.approx((0.1, 1.4, 2.7, 4.0, 0.1))
        assert counted.actual_delays[:5] == (0, 4, 6, 7, 3)
    assert executor.inference_ms(0) == executor.inference_ms(1) == executor.inference_ms(2)


@pytest.mark.parametrize(
    ("inference", "injected", "steps"), [(0, 0, 0), (0.1, 0, 1), (50, 0, 1), (50.1, 0, 2), (120, 80, 4), (150, 50.5, 5)]
)
def test_measured_and_injected_time_are_rounded_up_together(inference: float, injected: float, steps: int) -> None:
    assert Measured(injected).draw(inference, 50.0).steps == steps


def test_late_measured_answers_are_lost_at_the_timeout() -> None:
    schedule = Schedule(method=Naive(4), delay=Measured(injected_ms=500), timeout=6)
    executor = ChunkExecutor(Tagged(C), schedule, repeat_last, control_ms=50)
    executor.reset([0], [0])
    ran = [executor.act(np.array([t]), blank(1)) for t in range(20)]
    counted = executor.statistics(0)
    assert counted.lost == counted.requests - 1 == 3  # at 4, 10 and 16
    assert [t for t, a in enumerate(ran) if a.requested[0]] == [0, 4, 10, 16]
    assert counted.underrun_steps == 12


def test_no_estimator_knows_a_measured_delay_before_it_has_happened() -> None:
    with pytest.raises(TimingError, match="the oracle cannot know a measured delay before it has happened"):
        Schedule(method=RTC(4), delay=Measured(), delay_estimator=Oracle())
    assert Schedule(method=RTC(4), delay=Measured()).estimator == MaxOfLast(10)
    assert Schedule(method=RTC(4)).estimator == Oracle()
    shifted = Tagged(C, window="shifted", max_delay=4).spec
    with pytest.raises(TimingError, match="the estimated delay is unbounded; the policy was trained for delays up to"):
        Schedule(method=RTC(4), delay=Measured()).check(shifted)
    for schedule in (
        Schedule(method=RTC(4), delay=Measured(), beyond_max_delay="clip"),
        Schedule(method=RTC(4), delay=Measured(), delay_estimator=ConstantEstimate(2)),
    ):
        schedule.check(shifted)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Measured(-1), "injected_ms is -1; it must be finite and at least 0"),
        (lambda: Measured(math.nan), "injected_ms is nan; it must be finite and at least 0"),
        (
            lambda: Schedule(method=Sync(4), delay=Measured(), timeout=4),
            "sync_paused waits for every measured answer and takes no timeout",
        ),
        (
            lambda: ChunkExecutor(Tagged(C), Schedule(method=Naive(4), delay=Measured()), repeat_last),
            "measured delays need the length of a control step; control_ms is None",
        ),
    ],
)
def test_nonsense_is_refused(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(TimingError, match=re.escape(text)):
        make()


class Pointing:
    """Commands towards the goal, slowly thought out."""

    spec = PolicySpec(chunk=6, action_dim=2, window="same", takes_prefix=False, max_delay=0, inputs={})

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.calls = 0

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.calls += 1
        time.sleep(self.pause_s * (self.calls % 3))
        assert request.observation.environment_state is not None
        offset = 0.1 * request.observation.agent_pos[:, None]
        return ActionChunks(np.repeat(request.observation.environment_state[:, None] - offset, 6, axis=1))


def test_episodes_under_measured_delay_are_repeated_by_the_trace_of_their_records(tmp_path) -> None:
    def episodes(folder: str, delay: Measured | Trace, pause_s: float):
        (tmp_path / folder).mkdir()
        envs = [HookedWalk(30) for _ in range(2)]
        schedule = Schedule(method=Naive(3), delay=delay)
        executor = ChunkExecutor(Pointing(pause_s), schedule, hold_of(envs), CONTROL_MS)
        recorder = StepRecorder(tmp_path / folder)
        records = list(rollout(envs, executor, [Episode(n, 50 + n) for n in range(5)], [recorder]))
        return records, [recorder.take(n)[0] for n in range(5)]

    records, steps = episodes("measured", Measured(), 0.0015)
    assert all(delay > 0 for record in records for delay in record.detail["actual_delays"][1:])
    trace = delays_of(records)
    assert trace is not None
    again, repeated = episodes("replayed", trace, 0)
    # which slot ends first decides the order of the records, and is the same as well
    assert again == records
    for first, second in zip(steps, repeated, strict=True):
        for name, value in vars(first).items():
            np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)
