"""Observation history: which steps' observations a request contains, in any batch, under delays, and what it costs."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from toy_envs import HookedWalk
from toy_policies import Tagged, ToyPolicy

from act_eval.errors import TimingError, UsageError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.timing import RTC, Ablation, Blend, Constant, Ensemble, Lossy, Naive, Schedule, Sync, Uniform
from act_eval.timing.custom import CustomExecutor
from act_eval.types import IMAGE_PREFIX, STATE, ActionChunks, ChunkRequest, Observation, PolicySpec

STEPS = 40


class Stacking(Tagged):
    """Tagged actions, from a policy that reads a history; `stacked` has the steps of each request's observations."""

    def __init__(self, history: int, spacing: int, *, max_delay: int | None = None) -> None:
        super().__init__(12, window="same" if max_delay is None else "shifted", max_delay=max_delay)
        self.spec = PolicySpec(**{**vars(self.spec), "history": history, "history_spacing": spacing})
        self.stacked: dict[int, list[list[int]]] = {}

    def predict(self, request: ChunkRequest) -> ActionChunks:
        seen = request.observation
        assert seen.environment_state is not None
        assert seen.agent_pos.shape == (len(request.rows), self.spec.history, 1)
        assert seen.pixels["top"].shape == (len(request.rows), self.spec.history, 2, 2, 3)
        np.testing.assert_array_equal(seen.environment_state, seen.agent_pos + 0.5)
        assert (seen.pixels["top"] == (seen.agent_pos % 256)[..., None, None]).all()
        for row, moments in zip(request.rows.tolist(), seen.agent_pos[:, :, 0].tolist(), strict=True):
            self.stacked.setdefault(row, []).append([int(moment) - 1000 * row for moment in moments])
        return super().predict(request)


def at(steps: Sequence[int], wanted: Sequence[bool]) -> Observation:
    """Observations that tell step and slot, and wrong numbers where nobody wants them."""
    own = np.array(
        [[1000 * row + step if wants else -7] for row, (step, wants) in enumerate(zip(steps, wanted, strict=True))],
        np.float32,
    )
    image = np.broadcast_to((own % 256)[:, :, None, None], (len(steps), 2, 2, 3)).astype(np.uint8)
    return Observation(pixels={"top": image.copy()}, agent_pos=own, environment_state=own + 0.5)


def acted(policy: ToyPolicy, schedule: Schedule, begins: Sequence[int] = (0,)) -> tuple[list[int], list[int]]:
    """Run one slot for each entry of `begins`, its first step; return slot 0's requests and wanted observations."""
    executor = ChunkExecutor(policy, schedule, repeat_last)
    executor.reset(range(len(begins)), range(len(begins)))
    sent, wanted = [], []
    for now in range(STEPS):
        steps = np.array([now - begin if now >= begin else -1 for begin in begins])
        wants = executor.wants_observation(steps).tolist()
        actions = executor.act(steps, at(steps.tolist(), wants))
        assert not actions.errors
        sent += [now] if actions.requested[0] else []
        wanted += [now] if wants[0] else []
    return sent, wanted


def schedule(method: Any, delay: int = 0, k: int = 0) -> Schedule:
    return Schedule(method=method, delay=Constant(delay), observation_delay=k)


def test_stacks_written_by_hand() -> None:
    policy = Stacking(2, 1)
    assert acted(policy, schedule(Naive(8), 2)) == ([0, 8, 16, 24, 32], [0, 7, 8, 15, 16, 23, 24, 31, 32, 39])
    assert policy.stacked[0] == [[0, 0], [7, 8], [15, 16], [23, 24], [31, 32]]
    # three observations, four steps apart: the first one is repeated before the episode's start
    policy = Stacking(3, 4)
    acted(policy, schedule(Naive(6), 3))
    assert policy.stacked[0][:4] == [[0, 0, 0], [0, 2, 6], [4, 8, 12], [10, 14, 18]]
    # with late observations, the newest one is k steps old
    policy = Stacking(2, 3, max_delay=4)
    sent, wanted = acted(policy, schedule(RTC(8), 2, 2))
    assert sent[:3] == [0, 8, 16]
    assert policy.stacked[0][:3] == [[0, 0], [3, 6], [11, 14]]
    assert wanted[:5] == [0, 3, 6, 11, 14]
    # an ensemble requests every step: every observation is needed, each history is its own
    policy = Stacking(2, 2)
    acted(policy, schedule(Ensemble(1, newest_only=()), 4))
    assert policy.stacked[0][:6] == [[0, 0], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5]]


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(("history", "spacing"), [(2, 1), (3, 2), (2, 9), (4, 5)])
@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize(
    ("method", "delay"),
    [(Naive(4), 2), (RTC(5), 2), (Ensemble(3, newest_only=()), 4), (Blend(4), 1), (Sync(4), 3), (Sync(4, "hold"), 3)],
    ids=repr,
)
def test_every_request_contains_the_declared_steps(
    method: Any, delay: int, k: int, history: int, spacing: int, batch: int
) -> None:
    begins = [0, 3, 1, 0, 7, 2, 5, 4][:batch]
    policy = Stacking(history, spacing, max_delay=6)
    sent, wanted = acted(policy, schedule(method, delay, k), begins)
    expected = [
        [max(0, max(0, t - k) - back * spacing) for back in range(history - 1, -1, -1)] for t in sent
    ]  # of the newest observation, o_{t-k}
    assert policy.stacked[0] == expected
    read = {step for steps in expected for step in steps}
    assert read <= set(wanted)
    if k + (history - 1) * spacing < method.execution_horizon:  # then no request after the next one can read another
        assert {step for step in wanted if step <= sent[-1]} == read
    for row, begin in enumerate(begins):  # the other slots' histories are those of slot 0, as far as they came
        assert policy.stacked[row] == expected[: len(policy.stacked[row])]
        assert len(policy.stacked[row]) >= len(expected) - begin


@pytest.mark.parametrize("model", [Uniform(0, 4), Lossy(0.4, Uniform(0, 3))], ids=repr)
@pytest.mark.parametrize("method", [Naive(4), RTC(4), Sync(4), Sync(4, "hold"), Ensemble(2, newest_only=())], ids=repr)
@pytest.mark.parametrize("k", [0, 2])
def test_under_random_and_lost_answers_too(method: Any, model: Uniform | Lossy, k: int) -> None:
    policy = Stacking(3, 4, max_delay=8)
    timeout = 6 if isinstance(model, Lossy) or not isinstance(method, Sync) else None
    timing = Schedule(method=method, delay=model, timeout=timeout, beyond_max_delay="clip", observation_delay=k)
    sent, _ = acted(policy, timing)
    newest = [max(0, t - k) for t in sent]
    asked = [steps for steps in policy.stacked[0] if steps[-1] in newest]
    assert len(asked) == len(policy.stacked[0]) >= len(sent) > 3  # a lost answer may be asked for again at once
    assert all(steps == [max(0, steps[-1] - 8), max(0, steps[-1] - 4), steps[-1]] for steps in asked)


class Walker:
    """Walks to the goal, as fast as the positions of its history say."""

    def __init__(self, history: int) -> None:
        self.spec = PolicySpec(
            chunk=12, action_dim=2, window="same", takes_prefix=False, max_delay=0, inputs={}, history=history
        )
        self.sizes: list[int] = []

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def predict(self, request: ChunkRequest) -> ActionChunks:
        seen = request.observation
        self.sizes.append(len(request.rows))
        now, goal = seen.latest().agent_pos, seen.latest().environment_state
        assert goal is not None
        before = seen.agent_pos[:, 0] if self.spec.history > 1 else now
        command = (goal + 0.3 * (now - before)).astype(np.float32)
        return ActionChunks(np.repeat(command[:, None], 12, axis=1))


def test_an_episode_is_the_same_in_any_batch_and_slots_request_together() -> None:
    episodes = [Episode(number, 100 + number) for number in range(12)]

    def run(slots: int, k: int) -> tuple[dict[int, Any], list[int], int]:
        envs, policy = [HookedWalk(horizon=30) for _ in range(slots)], Walker(3)
        executor = ChunkExecutor(policy, schedule(Naive(5), 1, k), hold_of(envs))
        records = {record.episode: record for record in rollout(envs, executor, episodes)}
        return records, policy.sizes, sum(env.renderings for env in envs)

    for k in (0, 2):
        alone, _, rendered = run(1, k)
        batched, sizes, together = run(4, k)
        assert batched == alone
        assert len({record.steps for record in alone.values()}) > 3
        assert together == rendered
        assert sizes[0] == 4
        assert sizes == sorted(sizes, reverse=True)  # rows stand empty only when no episode waits


def test_without_a_history_only_requests_render() -> None:
    def renderings(history: int) -> tuple[int, int]:
        env, policy = HookedWalk(horizon=30), Walker(history)
        executor = ChunkExecutor(policy, schedule(Naive(6)), hold_of([env]))
        (record,) = rollout([env], executor, [Episode(0, 4)])
        return env.renderings, -(-record.steps // 6)

    rendered, requests = renderings(1)
    assert rendered in (requests, requests + 1)  # one may be foretold for the step after the end
    rendered, requests = renderings(2)
    assert rendered in (2 * requests - 1, 2 * requests, 2 * requests + 1)  # at step 0 one observation is both


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"history": 0}, "history of a policy is 0; it must be a whole number, at least 1"),
        ({"history": -2}, "history of a policy is -2; it must be a whole number, at least 1"),
        ({"history": 1.5}, "history of a policy is 1.5; it must be a whole number, at least 1"),
        ({"history": True}, "history of a policy is True; it must be a whole number, at least 1"),
        ({"history": 2, "history_spacing": 0}, "history_spacing of a policy is 0; it must be a whole number"),
        ({"history": 2, "history_spacing": "1"}, "history_spacing of a policy is '1'; it must be a whole number"),
        (
            {"history": 3, "history_spacing": 5000},
            "history 3 with history_spacing 5000 keeps 10000 observations, 8,789 MiB for each environment; at most "
            "1,024 MiB are allowed",
        ),
    ],
)
def test_a_bad_declaration_is_refused_by_name(declared: dict[str, Any], text: str) -> None:
    inputs = {STATE: (6,), IMAGE_PREFIX + "top": (480, 640, 3)}
    with pytest.raises(UsageError, match=re.escape(text)):
        PolicySpec(chunk=8, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs=inputs, **declared)


def test_what_cannot_use_a_history_refuses_it() -> None:
    predicted = Schedule(method=Naive(4), delay=Constant(2), ablation=Ablation(proprio="predicted"))
    with pytest.raises(TimingError, match="joints 'predicted' replace those of one observation; the policy reads 3"):
        ChunkExecutor(Stacking(3, 1), predicted, repeat_last, gripper_dims=[0])

    class Own:
        pass

    text = "own makes its own requests, and the policy reads 2 observations; a class that passes them on declares it"
    own = Schedule(method=CustomExecutor(4, Own))  # pyright: ignore[reportArgumentType]
    assert text in str(own.refusal(Stacking(2, 1).spec))
    Own.takes_history = True  # pyright: ignore[reportAttributeAccessIssue]
    assert own.refusal(Stacking(2, 1).spec) is None
