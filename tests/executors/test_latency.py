"""Late observations and late commands: hand-computed sequences, and what holds on the whole grid."""

import re
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_envs import HookedWalk
from toy_policies import HOLD, Noise, Ramp, Tagged, ToyPolicy, run

from act_eval.errors import TimingError, UsageError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.results import delays_of
from act_eval.results.steps import StepRecorder
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.timing import (
    RTC,
    Blend,
    Constant,
    ConstantEstimate,
    Ensemble,
    Lossy,
    MaxOfLast,
    Method,
    Naive,
    Schedule,
    Sync,
    Trace,
    Uniform,
)
from act_eval.types import (
    ActionChunks,
    Actions,
    ChunkRequest,
    EpisodeRecord,
    Observation,
    PolicySpec,
    StepRecord,
)

STEPS = 40
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def late(method: Method, delay: int, k: int, a: int = 0) -> Schedule:
    return Schedule(method=method, delay=Constant(delay), observation_delay=k, actuation_delay=a)


def at(step: int, slots: int = 1) -> Observation:
    """An observation that tells its step and slot."""
    own = np.array([[100 * row + step] for row in range(slots)], np.float32)
    image = np.broadcast_to(own[:, :, None, None], (slots, 2, 2, 3)).astype(np.uint8)
    return Observation(pixels={"top": image.copy()}, agent_pos=own, environment_state=own + 0.5)


def acted(policy: ToyPolicy, schedule: Schedule, steps: int, seed: int = 0) -> tuple[list[Actions], ChunkExecutor]:
    executor = ChunkExecutor(policy, schedule, repeat_last)
    executor.reset([0], [seed])
    return [executor.act(np.array([t]), at(t)) for t in range(steps)], executor


def test_sequences_written_by_hand() -> None:
    # naive, k = 2, d = 1: a request at 3 reads o_1 and acts from 4 on, which is its index 3 = k + d
    assert run(Tagged(8), late(Naive(3), 1, 2), 10) == [0, 1, 2, 3, 103, 104, 105, 203, 204, 205]
    # without inference delay the first two actions are dead on arrival all the same
    assert run(Tagged(8), late(Naive(4), 0, 2), 10) == [0, 1, 2, 3, 102, 103, 104, 105, 202, 203]
    # a request at 1 can read o_0 only
    assert run(Tagged(8), late(Naive(1), 0, 3), 6) == [0, 101, 202, 303, 403, 503]
    # rtc's estimate is k + d, so its window begins at the first step of its answer
    shifted = Tagged(8, window="shifted", max_delay=3)
    assert run(shifted, late(RTC(4), 1, 2), 10) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 200]
    # sync runs every chunk from its beginning, whatever it was predicted from
    assert run(Tagged(6), late(Sync(3), 2, 1), 7) == [0, 1, 2, 100, 101, 102, 200]
    assert run(Tagged(6), late(Sync(3, "hold"), 1, 2), 8) == [0, 1, 2, HOLD, 100, 101, 102, HOLD]


@pytest.mark.parametrize(("c", "s", "d", "k"), [(8, s, d, k) for s in range(1, 9) for d in range(4) for k in range(4)])
def test_naive_runs_from_index_k_plus_d_within_its_bounds(c: int, s: int, d: int, k: int) -> None:
    schedule = late(Naive(s), d, k)
    if not max(1, d) <= s <= c - (k + d):
        assert schedule.refusal(Tagged(c).spec) is not None
        return
    expected, number, observed = [], 0, 0
    for t in range(STEPS):
        if t >= s + d and (t - d) % s == 0:  # the answer to the request of t - d takes over
            number, observed = (t - d) // s, max(0, t - d - k)
        expected.append(100 * number + t - observed)
    assert run(Tagged(c), schedule, STEPS) == expected


@pytest.mark.parametrize("kind", ["naive", "blend", "ensemble", "rtc same", "rtc shifted"])
@pytest.mark.parametrize(("s", "d", "k"), [(s, d, k) for s in (1, 3, 4, 8) for d in range(4) for k in range(4)])
def test_a_policy_that_knows_the_future_runs_t_at_step_t(kind: str, s: int, d: int, k: int) -> None:
    """Any off-by-one between stamp, prefix, window and executor shows as another number."""
    same, shifted = Ramp(12, max_delay=6), Ramp(12, window="shifted", max_delay=6)
    policy, method = {
        "naive": (same, Naive(s)),
        "blend": (same, Blend(s)),
        "ensemble": (same, Ensemble(s, newest_only=(-1,))),
        "rtc same": (same, RTC(s)),
        "rtc shifted": (shifted, RTC(s)),
    }[kind]
    schedule = late(method, d, k)
    bound = 12 if kind in ("rtc shifted", "ensemble") else 12 - (k + d)
    if not (max(1, d) <= s <= bound) and kind != "ensemble":
        assert schedule.refusal(policy.spec) is not None
        return
    actions, executor = acted(policy, schedule, STEPS)
    ran = [float(a.command[0, 0]) for a in actions if not a.underrun[0]]
    assert ran == pytest.approx([t for t, a in enumerate(actions) if not a.underrun[0]], abs=1e-4)
    if kind != "ensemble":
        assert len(ran) == STEPS
    counted = executor.statistics(0)
    for request, estimated, actual, age in zip(
        policy.requests[1:], counted.estimated_delays[1:], counted.actual_delays[1:], counted.observation_ages[1:],
        strict=True,
    ):  # fmt: skip
        assert age == min(k, int(request.steps[0]) + age)
        assert actual == age + d
        assert estimated == request.estimated_delay[0] == (age + d if kind.startswith("rtc") else 0)


@pytest.mark.parametrize("method", [Naive(3), RTC(3), Ensemble(2), Blend(3), Sync(3), Sync(3, "hold")], ids=repr)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_request_reads_the_observation_of_its_step_and_the_command_before_it(method: Method, k: int) -> None:
    policy = Noise(12, window="shifted", max_delay=8)
    actions, _ = acted(policy, late(method, 1, k), STEPS)
    decided = [float(a.command[0, 0]) for a in actions]
    sent = [t for t, a in enumerate(actions) if a.requested[0]]
    assert len(policy.requests) > 5
    for request, t in zip(policy.requests, sent, strict=True):
        step = max(0, t - k)
        assert request.steps.tolist() == [step]
        assert request.observation.agent_pos.tolist() == [[step]]
        assert request.observation.environment_state is not None
        assert request.observation.environment_state.tolist() == [[step + 0.5]]
        assert (request.observation.pixels["top"] == step).all()
        assert request.last_action[0, 0] == (decided[step - 1] if step else 0)
        estimated = int(request.estimated_delay[0])
        assert request.prefix[0, :estimated, 0].tolist() == decided[step : step + estimated]
        assert not request.prefix[0, estimated:].any()


def test_slots_at_different_steps_read_their_own_past() -> None:
    policy = Noise(8)
    executor = ChunkExecutor(policy, late(Naive(3), 1, 2), repeat_last)
    executor.reset([0, 1, 2], [0, 1, 2])
    begins = (0, 1, 4)
    for now in range(30):
        steps = np.array([now - begin if now >= begin else -1 for begin in begins])
        # a request at 3n reads the observation of 3n - 2
        assert executor.wants_observation(steps).tolist() == [step == 0 or step % 3 == 1 for step in steps]
        seen = at(0, 3)
        seen.agent_pos[:, 0] += steps
        executor.act(steps, seen)
    assert {len(request.rows) for request in policy.requests} == {1, 2}
    for request in policy.requests:
        assert request.observation.agent_pos[:, 0].tolist() == (100 * request.rows + request.steps).tolist()


@QUICK
@given(
    method=st.one_of(
        *(st.integers(1, 8).map(kind) for kind in (Sync, Naive, RTC, Ensemble, Blend)),
    ),
    steps=st.lists(st.one_of(st.integers(0, 9), st.none()), min_size=1, max_size=8),
    k=st.integers(0, 5),
    estimated=st.sampled_from([None, ConstantEstimate(2), MaxOfLast(3, 1)]),
)
def test_under_any_delays_every_action_keeps_its_step_and_its_observation(
    method: Method, steps: list[int | None], k: int, estimated: ConstantEstimate | MaxOfLast | None
) -> None:
    schedule = Schedule(
        method=method,
        delay=Trace(episodes={3: tuple([*steps, 1] * 400)}),
        delay_estimator=estimated,
        timeout=12,
        beyond_max_delay="clip",
        observation_delay=k,
    )
    policy = Tagged(8, window="shifted", max_delay=5)
    actions, executor = acted(policy, schedule, STEPS, seed=3)
    counted, starts = executor.statistics(0), dict[int, int]()
    for t, a in enumerate(actions):
        if not a.underrun[0]:
            number = int(a.chunk[0])
            assert starts.setdefault(number, t - int(a.index[0])) == t - a.index[0]
            assert a.observed[0] == policy.requests[number].steps[0] <= max(0, t - k) + (number == 0) * t
            assert a.actual_delay[0] == counted.actual_delays[number]
    assert all(0 <= age <= k for age in counted.observation_ages)
    record = EpisodeRecord(
        episode=0, seed=3, outcome="timeout", steps=STEPS,
        detail={"actual_delays": list(counted.actual_delays), "observation_ages": list(counted.observation_ages)},
    )  # fmt: skip
    trace = delays_of([record])
    drawn = tuple(None if d is None or d > 12 else d for d in [*steps, 1] * 400)[: counted.requests - 1]
    if any(d is not None for d in drawn):
        assert trace is not None
        assert trace.episodes[3] == drawn
    else:
        assert trace is None


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (late(Naive(4), 2, 3), "naive needs d <= s <= C - (k + d), with C = 8, d = 2, k = 3: 2 <= s <= 3; got s = 4"),
        (late(Ensemble(1), 3, 5), "ensemble needs k + d < C, that is k + d < 8; got d = 3, k = 5"),
        (
            late(RTC(4), 3, 2),
            "the estimated delay can reach 5 (observation delay k = 2 included); the policy was",
        ),
        (late(RTC(1), 2, 2), "rtc needs d <= s <= C, with C = 8, d = 2, k = 2: 2 <= s <= 8; got s = 1"),
    ],
)
def test_bounds_count_the_age_of_the_observation(schedule: Schedule, text: str) -> None:
    with pytest.raises(TimingError, match=re.escape(text)):
        ChunkExecutor(Tagged(8, window="shifted", max_delay=4), schedule, repeat_last)


@pytest.mark.parametrize("name", ["observation_delay", "actuation_delay"])
@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_late_taps_are_whole_steps(name: str, value: object) -> None:
    text = f"{name.replace('_', ' ')} is {value!r}; it must be a whole number of control steps, at least 0"
    with pytest.raises(TimingError, match=re.escape(text)):
        Schedule(method=Naive(4), **{name: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", [Naive(3), RTC(3), Ensemble(2), Blend(3), Sync(3, "hold")], ids=repr)
@pytest.mark.parametrize("a", [0, 1, 4])
def test_commands_reach_the_arm_a_steps_late_and_decisions_stay(method: Method, a: int) -> None:
    def policy() -> Noise:
        return Noise(8, window="shifted", max_delay=4)

    prompt, _ = acted(policy(), late(method, 2, 0), STEPS)
    actions, _ = acted(policy(), late(method, 2, 0, a), STEPS)
    decided = [float(x.command[0, 0]) for x in actions]
    assert decided == [float(x.command[0, 0]) for x in prompt]
    if a == 0:
        assert all(x.ran is None for x in actions)
        return
    ran = [float(x.ran[0, 0]) for x in actions if x.ran is not None]
    assert ran == [0.0] * a + decided[: STEPS - a]  # the joints of step 0 are 0


def test_before_the_first_command_the_hold_action_runs_from_the_joints() -> None:
    def hold(last: np.ndarray, slots: np.ndarray) -> np.ndarray:
        return (last - 1).astype(np.float32)

    executor = ChunkExecutor(Tagged(8), late(Naive(4), 0, 0, 3), hold)
    executor.reset([0, 1], [0, 1])
    for t in range(5):
        actions = executor.act(np.array([t, t]), at(t, 2))
        assert actions.ran is not None
        assert actions.ran[:, 0].tolist() == ([-1 - t, 99 - t] if t < 3 else [t - 3, t - 3])


def test_joints_that_are_no_command_cannot_be_held() -> None:
    executor = ChunkExecutor(Tagged(8), late(Naive(4), 0, 0, 1), repeat_last)
    executor.reset([0], [0])
    seen = Observation(pixels={}, agent_pos=np.zeros((1, 2), np.float32), environment_state=None)
    with pytest.raises(UsageError, match=re.escape("agent_pos has shape (2,), a command (1,)")):
        executor.act(np.array([0]), seen)


class Heading:
    """Answers with commands towards the coordinates that it sees."""

    spec = PolicySpec(chunk=6, action_dim=2, window="same", takes_prefix=False, max_delay=0, inputs={})

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def predict(self, request: ChunkRequest) -> ActionChunks:
        assert request.observation.environment_state is not None
        pace = np.linspace(0.3, 1, 6, dtype=np.float32)[None, :, None]
        return ActionChunks(pace * request.observation.environment_state[:, None])


class Told(HookedWalk):
    """Records its commands."""

    def reset(self, **kwargs):  # pyright: ignore[reportIncompatibleMethodOverride]
        self.commands: list[list[float]] = []
        return super().reset(**kwargs)

    def step(self, action):  # pyright: ignore[reportIncompatibleMethodOverride]
        self.commands.append(action.tolist())
        return super().step(action)


class Decisions:
    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def on_step(self, record: StepRecord) -> None:
        self.records.append(record)

    def on_episode_end(self, record: EpisodeRecord) -> None:
        pass


@pytest.mark.parametrize("a", [0, 2])
def test_the_environment_gets_what_ran_and_the_files_hold_both(tmp_path, a: int) -> None:
    env: gym.Env = Told()
    recorder, decisions = StepRecorder(tmp_path), Decisions()
    executor = ChunkExecutor(Heading(), late(Naive(3), 1, 0, a), hold_of([env]))
    (record,) = rollout([env], executor, [Episode(0, 8)], [recorder, decisions])
    steps, _, _ = recorder.take(0)
    assert record.steps > 5
    assert steps.ran.tolist() == env.unwrapped.commands  # pyright: ignore[reportAttributeAccessIssue]
    assert steps.command.tolist() == [r.command.tolist() for r in decisions.records]
    assert steps.command[: record.steps - a].tolist() == steps.ran[a:].tolist()
    assert "observation_ages" not in record.detail


def test_ages_of_observations_are_recorded() -> None:
    env = HookedWalk()
    executor = ChunkExecutor(Heading(), late(Naive(3), 1, 2), hold_of([env]))
    (record,) = rollout([env], executor, [Episode(0, 8)])
    assert record.detail["observation_ages"][:2] == [0, 2]
    assert record.detail["actual_delays"][:2] == [0, 3]
    # a request at 3n reads the observation of 3n - 2; that of the step after the end is not kept
    assert env.renderings == 1 + len(range(1, record.steps + 1, 3))


@pytest.mark.parametrize("model", [Uniform(0, 3), Lossy(0.3, Uniform(0, 3))], ids=repr)
def test_a_trace_of_a_run_with_late_observations_replays_it(model: Uniform | Lossy) -> None:
    def schedule(delay: Uniform | Lossy | Trace) -> Schedule:
        return Schedule(
            method=RTC(4), delay=delay, timeout=9, beyond_max_delay="clip", observation_delay=2, actuation_delay=1
        )

    def policy() -> Noise:
        return Noise(8, window="shifted", max_delay=4)

    actions, executor = acted(policy(), schedule(model), STEPS)
    counted = executor.statistics(0)
    detail = {"actual_delays": list(counted.actual_delays), "observation_ages": list(counted.observation_ages)}
    trace = delays_of([EpisodeRecord(episode=0, seed=0, outcome="timeout", steps=STEPS, detail=detail)])
    assert trace is not None
    again, replaying = acted(policy(), schedule(trace), STEPS)
    assert replaying.statistics(0) == counted
    for first, second in zip(actions, again, strict=True):
        for name in (
            "command",
            "ran",
            "observed",
            "estimated_delay",
            "actual_delay",
            "in_flight",
            "chunk_switch",
            "chunk",
        ):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
