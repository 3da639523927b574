"""Delays that vary from request to request: what holds for every sequence of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_policies import HOLD, Noise, Ramp, Tagged, blank, run, traced

from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import (
    RTC,
    Blend,
    Bursty,
    Constant,
    ConstantEstimate,
    Ensemble,
    Lognormal,
    Lossy,
    MaxOfLast,
    Method,
    MovingAverage,
    Naive,
    Schedule,
    Sync,
    Trace,
    Uniform,
)

C, STEPS, SEED = 8, 60, 3
QUICK = settings(max_examples=40, deadline=None, derandomize=True)

# A short pattern with at least one arriving answer, repeated for as many requests as a stopped world may send.
delays = st.lists(st.one_of(st.integers(0, 14), st.none()), min_size=1, max_size=12).map(
    lambda pattern: [*pattern, 1] * (10 * STEPS)
)
horizons = st.integers(1, C)
methods = st.one_of(
    horizons.map(Sync),
    horizons.map(lambda s: Sync(s, "hold")),
    horizons.map(Naive),
    horizons.map(RTC),
    horizons.map(Ensemble),
    horizons.map(Blend),
)
estimators = st.sampled_from([None, ConstantEstimate(3), MaxOfLast(4, 2), MovingAverage(3, 1)])


def replayed(method: Method, steps: list[int | None], estimated: object = None, **kwargs: object) -> Schedule:
    options = {} if estimated is None else {"delay_estimator": estimated}
    return Schedule(
        method=method,
        delay=Trace(episodes={SEED: tuple(steps)}),
        timeout=12,
        beyond_max_delay="clip",
        **options,  # pyright: ignore[reportArgumentType]
        **kwargs,  # pyright: ignore[reportArgumentType]
    )


def shifted(kind: type = Tagged, length: int = C, max_delay: int = 5) -> Tagged | Ramp | Noise:
    return kind(length, window="shifted", max_delay=max_delay)


@QUICK
@given(method=methods, steps=delays, estimated=estimators)
def test_every_action_runs_at_its_own_step_and_none_before_its_answer(
    method: Method, steps: list[int | None], estimated: object
) -> None:
    policy = shifted()
    actions, executor = traced(policy, replayed(method, steps, estimated), STEPS, SEED)
    counted = executor.statistics(0)
    starts: dict[int, int] = {}
    for t, a in enumerate(actions):
        assert a.in_flight[0] <= (STEPS if isinstance(method, Ensemble) else 1)
        if a.underrun[0]:
            continue
        k, i = int(a.chunk[0]), int(a.index[0])
        # One start per chunk: its actions run at consecutive steps, so none runs twice and none out of its turn.
        assert starts.setdefault(k, t - i) == t - i
        assert 0 <= i < C
        request = policy.requests[k]
        assert a.observed[0] == request.steps[0]
        actual = counted.actual_delays[k]
        assert actual == a.actual_delay[0]
        assert counted.estimated_delays[k] == a.estimated_delay[0] == request.estimated_delay[0]
        if k > 0:
            # The world or the robot waits for a delay; the age is bounded by the chunk and its estimate.
            paused = isinstance(method, Sync) and method.clock == "paused"
            assert t - a.observed[0] >= (0 if paused else max(actual or 0, a.estimated_delay[0]))
        waited = actual if method == Sync(method.execution_horizon, "hold") else a.estimated_delay[0]
        assert t - a.observed[0] <= C - 1 + (waited or 0)


@QUICK
@given(method=methods, steps=delays)
def test_the_newest_observation_never_gets_older(method: Method, steps: list[int | None]) -> None:
    actions, _ = traced(shifted(), replayed(method, steps), STEPS, SEED)
    observed = [int(a.observed[0]) for a in actions if not a.underrun[0]]
    assert observed[0] == 0
    if not isinstance(method, Ensemble):  # a newest chunk of an ensemble may end before an older one does
        assert observed == sorted(observed)


@QUICK
@given(method=methods, steps=delays)
def test_requests_keep_their_distance(method: Method, steps: list[int | None]) -> None:
    policy = shifted()
    _, executor = traced(policy, replayed(method, steps), STEPS, SEED)
    counted = executor.statistics(0)
    sent = [int(request.steps[0]) for request in policy.requests]
    assert sent[0] == 0
    for k in range(1, len(sent) - 1):
        gap = sent[k + 1] - sent[k]
        if isinstance(method, Sync):
            actual = counted.actual_delays[k]
            moved = 0 if method.clock == "paused" else 12 if actual is None else actual
            assert gap == moved + (0 if actual is None else method.execution_horizon)
        else:
            assert gap >= method.execution_horizon
    assert counted.lost == sum(delay is None or delay > 12 for delay in steps[: len(sent) - 1])


@QUICK
@given(s=horizons, steps=delays, estimated=estimators, kind=st.sampled_from([Naive, RTC, Blend, Ensemble]))
def test_a_policy_that_knows_the_future_runs_t_or_holds(
    s: int, steps: list[int | None], estimated: object, kind: type
) -> None:
    """With holds in the prefix the ramp's own check of it does not apply: there it must not be asked."""
    policy = LenientRamp(C, window="shifted", max_delay=5)
    actions, _ = traced(policy, replayed(kind(s), steps, estimated), STEPS, SEED)
    last = 0.0
    for t, a in enumerate(actions):
        value = float(a.command[0, 0])
        assert value == pytest.approx(last if a.underrun[0] else t, abs=1e-4)
        last = value


class LenientRamp(Ramp):
    """Its prefix may hold the commands of starving steps: they repeat the last one."""

    def chunk(self, request: object, n: int) -> np.ndarray:
        t, d = int(request.steps[n]), int(request.estimated_delay[n])  # pyright: ignore[reportAttributeAccessIssue]
        prefix = request.prefix[n, :, 0]  # pyright: ignore[reportAttributeAccessIssue]
        covered = prefix[:d] == t + np.arange(d)
        until = int(covered.argmin()) if not covered.all() else d
        last = request.last_action[n, 0] if until == 0 else prefix[until - 1]  # pyright: ignore[reportAttributeAccessIssue]
        np.testing.assert_array_equal(prefix[until:d], last)
        np.testing.assert_array_equal(prefix[d:], 0)
        return (t + d if self.spec.window == "shifted" else t) + np.arange(self.spec.chunk)


@QUICK
@given(steps=delays, s=horizons)
def test_the_prefix_is_what_runs_also_where_the_chunk_runs_out(steps: list[int | None], s: int) -> None:
    policy = shifted()
    actions, executor = traced(policy, replayed(RTC(s), steps, ConstantEstimate(4)), STEPS, SEED)
    executed = [float(a.command[0, 0]) for a in actions]
    for k, request in enumerate(policy.requests[1:], start=1):
        t, d = int(request.steps[0]), int(request.estimated_delay[0])
        assert d == 4
        if t + d <= STEPS:
            assert request.prefix[0, :d, 0].tolist() == executed[t : t + d], k
    assert executor.statistics(0).late == sum(
        delay is not None and delay > 4 for delay in executor.statistics(0).actual_delays
    )


@QUICK
@given(method=methods, steps=delays)
def test_slots_with_other_delays_do_not_touch_each_other(method: Method, steps: list[int | None]) -> None:
    others = {SEED: tuple(steps), 4: tuple(reversed(steps))}
    schedule = Schedule(method=method, delay=Trace(episodes=others), timeout=12, beyond_max_delay="naive")
    executor = ChunkExecutor(shifted(Noise), schedule, repeat_last)
    executor.reset([0, 1], [4, SEED])
    together = [executor.act(np.array([t, t]), blank(2)) for t in range(STEPS)]
    for row, seed in enumerate((4, SEED)):
        ran = [HOLD if a.underrun[row] else float(a.command[row, 0]) for a in together]
        assert ran == run(shifted(Noise), schedule, STEPS, seed)


@pytest.mark.parametrize(
    "model",
    [Uniform(0, 3), Lognormal(1, 2, 0.8), Bursty(1, 9, 0.2, 0.4), Lossy(0.3, Lognormal(0, 3, 0.5))],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize(
    "method", [Sync(3), Sync(3, "hold"), Naive(4), RTC(4), Ensemble(2), Blend(4)], ids=lambda method: repr(method)
)
def test_a_replayed_trace_gives_the_same_run_to_the_last_bit(model: Uniform | Lossy, method: Method) -> None:
    first = Schedule(method=method, delay=model, timeout=10, beyond_max_delay="clip")
    actions, executor = traced(shifted(Noise), first, STEPS, SEED)
    counted = executor.statistics(0)
    recorded = Trace(episodes={SEED: counted.actual_delays[1:]})
    assert len(set(counted.actual_delays)) > 1
    again, replaying = traced(
        shifted(Noise), Schedule(method=method, delay=recorded, timeout=10, beyond_max_delay="clip"), STEPS, SEED
    )
    assert replaying.statistics(0) == counted
    for a, b in zip(actions, again, strict=True):
        for name, value in vars(a).items():
            np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


def test_arms_share_their_delays() -> None:
    model = Lognormal(1, 3, 0.8)
    shared = []
    for method in (Naive(3), RTC(3), Blend(3), Sync(3)):
        _, executor = traced(shifted(Noise), Schedule(method=method, delay=model, beyond_max_delay="naive"), 40, SEED)
        shared.append(executor.statistics(0).actual_delays[1:6])
    assert len(set(shared)) == 1
    assert len(set(shared[0])) > 1


def test_an_early_answer_waits_for_the_estimated_step_and_a_late_one_drops_what_is_past() -> None:
    early = Schedule(method=RTC(6), delay=Constant(1), delay_estimator=ConstantEstimate(3))
    assert run(shifted(), early, 14) == [0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 102, 103, 104, 105]
    late = replayed(RTC(5), [5] * STEPS, ConstantEstimate(2))
    # estimate 2 at step 5: the window begins at 7, the answer comes at 10 and drops its first three actions;
    # chunk 0 ends at 7, so that 8 and 9 are held
    assert run(shifted(), late, 16, SEED) == [*range(8), HOLD, HOLD, 103, 104, 105, 106, 107, 203]
    actions, executor = traced(shifted(), late, 16, SEED)
    assert [t for t, a in enumerate(actions) if a.chunk_switch[0]] == [10, 15]
    assert executor.statistics(0).late == 3


def test_a_lost_answer_blocks_until_the_timeout_and_the_next_request_goes() -> None:
    schedule = Schedule(method=Naive(4), delay=Trace(episodes={SEED: (None, 1, 20, 1, 1)}), timeout=6)
    policy = Tagged(C)
    actions, executor = traced(policy, schedule, 24, SEED)
    assert [int(request.steps[0]) for request in policy.requests] == [0, 4, 10, 14, 20]
    assert [t for t, a in enumerate(actions) if a.underrun[0]] == [8, 9, 10, 18, 19, 20]
    counted = executor.statistics(0)
    assert counted.actual_delays == (0, None, 1, None, 1)
    assert counted.lost == 2


def test_a_stopped_world_waits_out_lost_answers_and_asks_again_at_once() -> None:
    schedule = Schedule(method=Sync(4), delay=Trace(episodes={SEED: (None, None, 3, 2)}), timeout=6)
    policy = Tagged(C)
    actions, executor = traced(policy, schedule, 12, SEED)
    assert [float(a.command[0, 0]) for a in actions] == [0, 1, 2, 3, 300, 301, 302, 303, 400, 401, 402, 403]
    counted = executor.statistics(0)
    assert counted.stopped_steps == 6 + 6 + 3 + 2
    assert counted.requests == 5
    assert [int(request.steps[0]) for request in policy.requests] == [0, 4, 4, 4, 8]


def test_beyond_max_delay_is_clipped_or_asked_without_prefix_and_counted() -> None:
    for choice, estimated in (("clip", 2), ("naive", 0)):
        policy = shifted(Ramp, 12, max_delay=2)
        schedule = Schedule(method=RTC(5), delay=Constant(4), beyond_max_delay=choice)  # pyright: ignore[reportArgumentType]
        actions, executor = traced(policy, schedule, 40)
        assert [float(a.command[0, 0]) for a in actions] == list(range(40))
        counted = executor.statistics(0)
        assert counted.estimated_delays == (0, *[estimated] * (counted.requests - 1))
        assert counted.beyond_max_delay == counted.requests - 1 > 4


def test_an_estimator_learns_from_what_has_arrived() -> None:
    steps = (1, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    schedule = Schedule(method=RTC(5), delay=Trace(episodes={SEED: steps}), delay_estimator=MaxOfLast(2, initial=2))
    _, executor = traced(shifted(), schedule, 40, SEED)
    assert executor.statistics(0).estimated_delays[:6] == (0, 2, 1, 3, 3, 1)
