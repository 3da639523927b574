"""Constant delay: the executed sequence against hand-computed ones and against the definitions."""

import re
from typing import Literal

import numpy as np
import pytest
from toy_policies import HOLD, Noise, Ramp, Tagged, ToyPolicy, blank, run, traced

from act_eval.errors import TimingError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import RTC, Blend, Constant, Ensemble, Method, Naive, Schedule, Sync
from act_eval.types import ChunkRequest

STEPS = 70
GRID = [(8, s, d) for s in range(1, 9) for d in range(9)] + [(16, 5, 3), (16, 8, 8), (16, 16, 0), (30, 10, 4)]


def schedule(method: Method, delay: int) -> Schedule:
    return Schedule(method=method, delay=Constant(delay))


def blocks(first: list[int], *later: tuple[int, int, int]) -> list[float]:
    """`first` of chunk 0, then for each k the indices of (chunk offset, begin, end)."""
    sequence = [float(i) for i in first]
    k = 0
    while len(sequence) < STEPS:
        k += 1
        for offset, begin, end in later:
            sequence += [HOLD if offset < 0 else 100.0 * (k - 1 + offset) + i for i in range(begin, end)]
    return sequence[:STEPS]


def is_refused(policy: ToyPolicy, method: Method, delay: int) -> bool:
    try:
        ChunkExecutor(policy, schedule(method, delay), repeat_last)
    except TimingError:
        return True
    return False


def test_sequences_written_by_hand() -> None:
    assert run(Tagged(6), schedule(Sync(3), 2), 8) == [0, 1, 2, 100, 101, 102, 200, 201]
    assert run(Tagged(6), schedule(Sync(3, "hold"), 2), 9) == [0, 1, 2, HOLD, HOLD, 100, 101, 102, HOLD]
    assert run(Tagged(6), schedule(Naive(3), 2), 11) == [0, 1, 2, 3, 4, 102, 103, 104, 202, 203, 204]
    shifted = Tagged(6, window="shifted", max_delay=2)
    assert run(shifted, schedule(RTC(3), 2), 11) == [0, 1, 2, 3, 4, 100, 101, 102, 200, 201, 202]
    assert run(Tagged(6, window="shifted", max_delay=2), schedule(RTC(6), 2), 14) == [
        *[0, 1, 2, 3, 4, 5],  # the first request goes out at C - d = 4, so that chunk 0 ends where chunk 1 begins
        *[100, 101, 102, 103, 104, 105],
        *[200, 201],
    ]


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_sync_runs_the_beginning_of_every_chunk(c: int, s: int, d: int) -> None:
    assert run(Tagged(c), schedule(Sync(s), d), STEPS) == blocks(list(range(s)), (1, 0, s))
    assert run(Tagged(c), schedule(Sync(s, "hold"), d), STEPS) == blocks(list(range(s)), (-1, 0, d), (1, 0, s))


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_naive_runs_old_until_d_then_new_from_d(c: int, s: int, d: int) -> None:
    if not max(1, d) <= s <= c - d:
        assert is_refused(Tagged(c), Naive(s), d)
        return
    # old[:d] is left-aligned to the block: these are indices s … s+d-1 of the chunk before.
    assert run(Tagged(c), schedule(Naive(s), d), STEPS) == blocks(list(range(s)), (0, s, s + d), (1, d, s))


@pytest.mark.parametrize("c", [8, 16, 30])
def test_naive_is_the_kinetix_rule_on_the_whole_feasible_region(c: int) -> None:
    """Kinetix `eval_flow.py`: run `concat(old[:d], new[d:s])`, carry `concat(new[s:], zeros(s))`."""
    count = 0
    for d in range(c):
        for s in range(max(1, d), c - d + 1):
            count += 1
            policy = Noise(c)
            old = policy.chunk(_asked(0), 0)
            expected: list[float] = []
            while len(expected) < STEPS:
                new = policy.chunk(_asked(len(expected)), 0) if expected else old
                expected += [*old[:d], *new[d:s]]
                old = np.concatenate([new[s:], np.zeros(s)])
            assert run(Noise(c), schedule(Naive(s), d), STEPS) == pytest.approx(expected[:STEPS], abs=1e-6)
    assert count > c * c // 5


def _asked(step: int) -> ChunkRequest:
    zero = np.zeros(1, np.int64)
    empty = np.zeros((1, 0, 1), np.float32)
    return ChunkRequest(
        rows=zero, steps=zero + step, observation=blank(1), estimated_delay=zero, prefix=empty, last_action=empty[:, :0]
    )


@pytest.mark.parametrize("c", [1, 8, 16, 30])
def test_naive_without_delay_over_whole_chunks_is_sync(c: int) -> None:
    assert run(Noise(c), schedule(Naive(c), 0), STEPS) == run(Noise(c), schedule(Sync(c), 0), STEPS)


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_rtc_runs_the_first_chunk_s_plus_d_steps_and_then_the_beginning_of_each(c: int, s: int, d: int) -> None:
    policy = Tagged(c, window="shifted", max_delay=c)
    if not max(1, d) <= s <= c:
        assert is_refused(policy, RTC(s), d)
        return
    assert run(policy, schedule(RTC(s), d), STEPS) == blocks(list(range(min(s + d, c))), (1, 0, s))


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_rtc_over_the_same_window_is_bound_and_runs_as_naive(c: int, s: int, d: int) -> None:
    policy = Tagged(c, max_delay=c)
    if not max(1, d) <= s <= c - d:
        assert is_refused(policy, RTC(s), d)
        return
    assert run(policy, schedule(RTC(s), d), STEPS) == run(Tagged(c), schedule(Naive(s), d), STEPS)


@pytest.mark.parametrize("s", [1, 3, 8])
def test_rtc_without_delay_asks_without_prefix(s: int) -> None:
    conditioned, plain = Noise(8, window="shifted", max_delay=4), Noise(8)
    assert run(conditioned, schedule(RTC(s), 0), STEPS) == run(plain, schedule(Naive(s), 0), STEPS)
    assert len(conditioned.requests) > 5
    for request in conditioned.requests:
        assert request.prefix.shape == (1, 4, 1)
        assert not request.prefix.any()
        assert request.estimated_delay.tolist() == [0]
    assert all(request.prefix.shape == (1, 0, 1) for request in plain.requests)


@pytest.mark.parametrize(("c", "s", "d"), GRID)
@pytest.mark.parametrize("kind", ["sync", "naive", "blend", "rtc same", "rtc shifted"])
def test_a_policy_that_knows_the_future_runs_t_at_step_t(kind: str, c: int, s: int, d: int) -> None:
    """Any off-by-one between prefix, window and executor shows as another number."""
    same, shifted = Ramp(c, max_delay=c), Ramp(c, window="shifted", max_delay=c)
    policy, method = {
        "sync": (shifted, Sync(s)),
        "naive": (shifted, Naive(s)),  # estimate 0, so the shifted window equals the same one
        "blend": (same, Blend(s)),
        "rtc same": (same, RTC(s)),
        "rtc shifted": (shifted, RTC(s)),
    }[kind]
    if is_refused(policy, method, d):
        assert kind != "sync"
        return
    assert run(policy, schedule(method, d), STEPS) == pytest.approx(range(STEPS), abs=1e-4)
    estimated = [int(request.estimated_delay[0]) for request in policy.requests]
    assert estimated == [0] + [d if kind.startswith("rtc") else 0] * (len(estimated) - 1)


def test_the_prefix_holds_the_commands_that_run_and_nothing_beyond() -> None:
    policy = Tagged(8, window="shifted", max_delay=5)
    executed = run(policy, schedule(RTC(6), 3), STEPS)
    assert len(policy.requests) > 8
    for request in policy.requests[1:-1]:
        t = int(request.steps[0])
        assert request.prefix[0, :, 0].tolist() == [*executed[t : t + 3], 0, 0]
        assert request.last_action[0, 0] == executed[t - 1]


def test_before_the_first_step_the_last_action_is_the_joints() -> None:
    policy = Tagged(4)
    executor = ChunkExecutor(policy, schedule(Naive(4), 0), repeat_last)
    executor.reset([0, 1], [0, 1])
    observation = blank(2)
    observation.agent_pos[:] = [[0.25], [0.5]]
    executor.act(np.array([0, 0]), observation)
    assert policy.requests[0].last_action.tolist() == [[0.25], [0.5]]


def ensemble_table(c: int, every: int, d: int, decay: float) -> list[float]:
    """Temporal ensembling from a table of all chunks: row t averages what had arrived and covers t."""
    first = min(every, c - d)
    origins = [0, *range(first, STEPS, every)]
    chunks = {r: Noise(c).chunk(_asked(r), 0).astype(np.float32) for r in origins}
    result = []
    for t in range(STEPS):
        usable = [r for r in origins if t - c < r and (r + d <= t or r == 0)]
        values = [float(chunks[r][t - r]) for r in usable]
        weights = [np.exp(-decay * i) for i in range(len(usable))]
        result.append(float(np.dot(weights, values) / np.sum(weights)) if usable else HOLD)
    return result


@pytest.mark.parametrize("decay", [0.0, 0.01, 1.0])
@pytest.mark.parametrize(("c", "every", "d"), [(8, 1, 0), (8, 1, 3), (8, 1, 7), (8, 3, 2), (16, 4, 9), (8, 8, 0)])
def test_ensembling_is_its_definition_on_a_table_of_all_chunks(c: int, every: int, d: int, decay: float) -> None:
    expected = ensemble_table(c, every, d, decay)
    ran = run(Noise(c), schedule(Ensemble(every, decay, newest_only=()), d), STEPS)
    assert ran == pytest.approx(expected, abs=1e-6)
    zeros = [Noise(c).chunk(_asked(r), 0) for r in range(0, STEPS, every)]
    assert sum(int((chunk == 0).sum()) for chunk in zeros) > 10, "real actions of exactly zero take part"


def test_an_action_of_exactly_zero_is_averaged_and_not_missing() -> None:
    class OneThenZero(ToyPolicy):
        def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
            return np.full(4, 1.0 if request.steps[n] == 0 else 0.0)

    ran = run(OneThenZero(4), schedule(Ensemble(1, 0.0, newest_only=()), 0), 5)
    assert ran == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 0])


def test_the_gripper_is_not_averaged() -> None:
    every_other = run(Noise(8), schedule(Ensemble(2, newest_only=(-1,)), 0), STEPS)
    newest = run(Noise(8), schedule(Naive(2), 0), STEPS)
    assert every_other == newest  # the only dimension is the last one


def test_several_requests_of_an_ensemble_are_in_flight() -> None:
    actions, _ = traced(Noise(8), schedule(Ensemble(1), 5), STEPS)
    assert [int(a.in_flight[0]) for a in actions[:8]] == [0, 1, 2, 3, 4, 5, 5, 5]


def test_an_ensemble_with_gaps_holds_and_counts_them() -> None:
    actions, executor = traced(Tagged(4), schedule(Ensemble(6, newest_only=()), 2), 30)
    held = [t for t, a in enumerate(actions) if a.underrun[0]]
    # requests at 2 (= C - d), 8, 14, …; a chunk from r covers r + 2 and r + 3 only
    assert held == [t for t in range(6, 30) if (t - 2) % 6 not in (2, 3)]
    assert executor.statistics(0).underrun_steps == len(held)


def blend_by_definition(c: int, s: int, d: int) -> list[float]:
    """Plan by absolute step; the new chunk weighs (i+1)/(n+1) on the n steps that the plan covered already."""
    plan = dict(enumerate(Noise(c).chunk(_asked(0), 0)))
    for r in range(s, STEPS, s):
        new = {r + k: a for k, a in enumerate(Noise(c).chunk(_asked(r), 0)) if k >= d}
        overlap = [t for t in new if t in plan]
        for i, t in enumerate(overlap):
            w = (i + 1) / (len(overlap) + 1)
            new[t] = w * new[t] + (1 - w) * plan[t]
        plan = {t: a for t, a in plan.items() if t < r + d} | new
    return [float(plan[t]) for t in range(STEPS)]


@pytest.mark.parametrize(("c", "s", "d"), [(8, 1, 0), (8, 4, 2), (8, 4, 4), (8, 8, 0), (16, 5, 3), (30, 10, 4)])
def test_blending_is_its_definition(c: int, s: int, d: int) -> None:
    assert run(Noise(c), schedule(Blend(s), d), STEPS) == pytest.approx(blend_by_definition(c, s, d), abs=1e-5)


def test_the_first_blended_step_between_constant_chunks_moves_by_one_share() -> None:
    class Count(ToyPolicy):
        def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
            return np.full(8, float(request.steps[n] > 0))

    ran = run(Count(8), schedule(Blend(4), 1), 12)
    # the old chunk covers steps 5, 6, 7 beyond the arrival at 5: three shares of four
    assert ran == pytest.approx([0] * 5 + [1 / 4, 2 / 4, 3 / 4] + [1] * 4)


@pytest.mark.parametrize(
    ("method", "delay", "stopped", "underrun"),
    [(Sync(4), 3, 9 * 3, 0), (Sync(4), 0, 0, 0), (Sync(4, "hold"), 1, 0, 7), (Naive(4), 3, 0, 0)],
)
def test_stops_and_holds_are_counted(method: Method, delay: int, stopped: int, underrun: int) -> None:
    _, executor = traced(Tagged(8), schedule(method, delay), 39)
    counted = executor.statistics(0)
    assert (counted.stopped_steps, counted.underrun_steps) == (stopped, underrun)


def test_statistics_agree_with_the_actions() -> None:
    actions, executor = traced(Tagged(8, window="shifted", max_delay=4), schedule(RTC(5), 2), 41)
    counted = executor.statistics(0)
    assert counted.requests == sum(bool(a.requested[0]) for a in actions) == 9
    assert counted.chunk_switches == sum(bool(a.chunk_switch[0]) for a in actions) == 7
    assert counted.estimated_delays == counted.actual_delays == (0, *[2] * 8)
    assert counted.predicted_actions == 9 * 8
    assert counted.discarded_actions == 9 * 8 - 41
    assert (counted.lost, counted.late, counted.beyond_max_delay) == (0, 0, 0)
    assert len(executor.inference_ms(0)) == 9


def test_every_action_can_be_traced_to_its_observation() -> None:
    for method, delay in ((Naive(4), 3), (RTC(4), 3), (Sync(4), 3), (Sync(4, "hold"), 3)):
        policy = Tagged(8, window="shifted", max_delay=4)
        actions, _ = traced(policy, schedule(method, delay), STEPS)
        for t, a in enumerate(actions):
            if a.underrun[0]:
                assert (a.index[0], a.observed[0], a.estimated_delay[0], a.actual_delay[0]) == (-1, -1, -1, -1)
                continue
            k, i = divmod(int(a.command[0, 0]), 100)
            assert (a.chunk[0], a.index[0]) == (k, i)
            request = policy.requests[k]
            assert a.observed[0] == request.steps[0]
            assert a.estimated_delay[0] == request.estimated_delay[0]
            assert a.actual_delay[0] == (delay if k else 0)
            assert t >= a.observed[0]


def test_slots_at_different_steps_share_predictions_and_nothing_else() -> None:
    alone = run(Tagged(8, window="shifted", max_delay=4), schedule(RTC(4), 2), STEPS)
    policy = Tagged(8, window="shifted", max_delay=4)
    executor = ChunkExecutor(policy, schedule(RTC(4), 2), repeat_last)
    executor.reset([0, 1, 2], [0, 1, 2])
    begins = (0, 1, 4)
    ran: list[list[float]] = [[], [], []]
    for now in range(40):
        steps = np.array([now - begin if now >= begin else -1 for begin in begins])
        actions = executor.act(steps, blank(3))
        for row, begin in enumerate(begins):
            if now >= begin:
                ran[row].append(float(actions.command[row, 0]))
            else:
                assert (actions.command[row, 0], actions.chunk[row], actions.requested[row]) == (0, -1, False)
    assert ran == [alone[:40], alone[:39], alone[:36]]
    assert {len(request.rows) for request in policy.requests} == {1, 2}, "slots 0 and 2 ask together"


@pytest.mark.parametrize("clock", ["paused", "hold"])
def test_a_second_episode_in_a_slot_knows_nothing_of_the_first(clock: Literal["paused", "hold"]) -> None:
    for method in (Sync(3, clock), Naive(3), RTC(3), Ensemble(1), Blend(3)):
        policy = Tagged(8, window="shifted", max_delay=4)
        executor = ChunkExecutor(policy, schedule(method, 2), repeat_last)
        expected = run(Tagged(8, window="shifted", max_delay=4), schedule(method, 2), 20)
        for stop in (7, 20):
            executor.reset([0], [0])
            actions = [executor.act(np.array([t]), blank(1)) for t in range(stop)]
            ran = [HOLD if a.underrun[0] else float(a.command[0, 0]) for a in actions]
            assert ran == expected[:stop]


def test_a_policy_without_prefix_is_refused_under_rtc() -> None:
    with pytest.raises(TimingError, match=re.escape("this one takes none (run it as naive)")):
        ChunkExecutor(Tagged(8), schedule(RTC(4), 2), repeat_last)
