"""Policies and environments that hang, or give what no robot can use: the episode says so, and the run goes on."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from toy_bench import Wanderer
from toy_envs import HookedWalk, Walk

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.rollout import Episode, rollout
from act_eval.rollout.timeouts import EnvTimeout, PolicyTimeout, check_limit, time_limit
from act_eval.timing import Constant, Naive, Schedule
from act_eval.types import ActionChunks, ChunkRequest, EpisodeRecord, Verdict

EPISODES = [Episode(number, seed) for number, seed in enumerate(range(40, 46))]
LIMIT_S = 0.3


def evaluate(envs: Sequence[Any], policy: Any) -> dict[int, EpisodeRecord]:
    executor = ChunkExecutor(policy, Schedule(method=Naive(4), delay=Constant(0)), repeat_last)
    return {record.episode: record for record in rollout(envs, executor, EPISODES)}


EXPECTED = evaluate([HookedWalk()], Wanderer())


def forever_in_python() -> None:
    while True:
        pass


def forever_asleep() -> None:
    time.sleep(3600)


def forever_locked() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def stubborn() -> None:
    """Take the first interruption for a hiccup."""
    try:
        forever_asleep()
    except TimeoutError:
        forever_asleep()


class Troubled(Wanderer):
    """Does something for the episodes whose goal is to the right."""

    def __init__(self, trouble: Callable[[], None]) -> None:
        super().__init__()
        self._trouble = trouble

    def predict(self, request: ChunkRequest) -> ActionChunks:
        assert request.observation.environment_state is not None
        if (request.observation.environment_state[:, 0] > 0.3).any():
            self._trouble()
        return super().predict(request)


@pytest.mark.parametrize("trouble", [forever_in_python, forever_asleep, forever_locked, stubborn])
def test_a_policy_that_hangs_fails_its_own_episodes(trouble: Callable[[], None]) -> None:
    records = evaluate([HookedWalk(), HookedWalk()], PolicyTimeout(Troubled(trouble), LIMIT_S))
    failed = {number for number, record in records.items() if record.outcome == "policy_error"}
    assert 1 <= len(failed) < len(EPISODES)
    for number, record in records.items():
        if number in failed:
            assert record.error == "CallTimeout: the policy's answer took longer than 0.3 s"
        else:
            assert record == EXPECTED[number]


@pytest.mark.parametrize("call", ["reset", "step"])
def test_an_environment_that_hangs_makes_its_episode_invalid(call: str) -> None:
    class Stuck(HookedWalk):
        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict]:
            found = super().reset(seed=seed)
            if call == "reset" and self.goal[0] > 0.3:
                forever_asleep()
            return found

        def step(self, action: np.ndarray) -> Any:
            if call == "step" and self.goal[0] > 0.3 and self.steps == 2:
                forever_asleep()
            return super().step(action)

    records = evaluate([EnvTimeout(Stuck(), LIMIT_S)], Wanderer())
    failed = {number for number, record in records.items() if record.outcome == "invalid"}
    assert 1 <= len(failed) < len(EPISODES)
    assert {records[number].error for number in failed} == {
        f"CallTimeout: the environment's {call} took longer than 0.3 s"
    }
    assert all(records[number] == EXPECTED[number] for number in records if number not in failed)


def test_what_is_in_time_is_left_alone() -> None:
    assert evaluate([EnvTimeout(HookedWalk(), 60)], PolicyTimeout(Wanderer(), 60)) == EXPECTED


def test_limits_that_are_none_are_refused() -> None:
    for limit in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"--call-timeout-s is .*; it must be above 0 and below 1000000"):
            check_limit(limit)
    said: list[str] = []

    def elsewhere() -> None:
        try:
            with time_limit(1, "a call"):
                said.append("ran")
        except UsageError as error:
            said.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert said == ["--call-timeout-s works in a process's main thread only"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda a: a.astype(str), "the policy answered with actions of type <U32, expected floating-point numbers"),
        (lambda a: a.astype(complex), "actions of type complex128, expected floating-point numbers"),
        (lambda a: a > 0, "actions of type bool, expected floating-point numbers"),
        (lambda a: None, "actions of type object, expected floating-point numbers"),
        (lambda a: np.full(a.shape, 1e300), "the policy answered with a non-finite action: inf at index 0"),
        (lambda a: a[0], "the policy answered with actions of shape (8, 2), expected (1, 8, 2)"),
        (lambda a: np.full_like(a, np.nan), "non-finite action: nan at index 0, dimension 0"),
        (lambda a: [[1.0], [1.0, 2.0]], "ValueError: setting an array element with a sequence"),
    ],
)
def test_answers_that_no_robot_can_run_fail_the_episode(answer: Callable[[Any], Any], text: str) -> None:
    class Odd(Wanderer):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            return ActionChunks(answer(super().predict(request).actions))

    records = evaluate([HookedWalk()], Odd())
    assert {record.outcome for record in records.values()} == {"policy_error"}
    assert all(text in str(record.error) for record in records.values())


def test_double_precision_and_whole_numbers_are_fine() -> None:
    class Doubles(Wanderer):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            return ActionChunks(super().predict(request).actions.astype(np.float64))

    assert evaluate([HookedWalk()], Doubles()) == EXPECTED


@pytest.mark.parametrize("entry", ["agent_pos", "environment_state"])
@pytest.mark.parametrize("when", [0, 4])
def test_observations_that_are_not_finite_make_the_episode_invalid(entry: str, when: int) -> None:
    class Broken(HookedWalk):
        def observed(self) -> dict[str, Any]:
            found = super().observed()
            if self.goal[0] > 0.3 and self.steps == when:
                found[entry] = np.array([np.nan, 1], np.float32)
            return found

    records = evaluate([Broken()], Wanderer())
    failed = {number for number, record in records.items() if record.outcome == "invalid"}
    assert 1 <= len(failed) < len(EPISODES)
    for number, record in records.items():
        if number in failed:
            assert record.error == f"SimulationError: {entry} of an observation is not finite: [nan, 1.0]"
            assert record.steps == when
        else:
            assert record == EXPECTED[number]


def test_images_that_would_be_black_are_refused() -> None:
    class Bright(HookedWalk):
        def observed(self) -> dict[str, Any]:
            found = super().observed()
            return {**found, "pixels": {"top": found["pixels"]["top"] / np.float32(255)}}

    with pytest.raises(FeatureMismatch, match=r"image 'top' of an observation is float32; images are uint8 from 0 to"):
        evaluate([Bright()], Wanderer())


@pytest.mark.parametrize(
    ("verdict", "place"),
    [
        (Verdict(outcome="success", detail={"far": float("inf")}), "verdict.detail.far is inf"),
        (Verdict(outcome="missed", detail={"path": [0.0, float("nan")]}), "verdict.detail.path[1] is nan"),
        (Verdict(outcome="success", grasp_choice=float("nan")), "verdict.grasp_choice is nan"),
        (Verdict(outcome="success", detail={"scene": object()}), "verdict.detail.scene is a object"),
        ("success", "TypeError: verdict() returned 'success', expected an act_eval.types.Verdict"),
        (Verdict(outcome="won"), "ValueError: verdict().outcome is 'won'; there are: invalid, policy_error, success, "),
    ],
)
def test_a_verdict_that_no_record_can_hold_makes_the_episode_invalid(verdict: Any, place: str) -> None:
    class Vague(HookedWalk):
        def verdict(self) -> Verdict:
            return verdict

    records = evaluate([Vague()], Wanderer())
    assert {record.outcome for record in records.values()} == {"invalid"}
    assert all(str(record.error).startswith(place) for record in records.values())


@pytest.mark.parametrize("estimated", [float("nan"), np.array([True, False]), "yes", 2, None])
def test_a_success_that_is_neither_yes_nor_no_stops_the_run(estimated: Any) -> None:
    class Vague(Walk):
        def step(self, action: np.ndarray) -> Any:
            *rest, _ = super().step(action)
            return (*rest, {"is_success": estimated})

    with pytest.raises(UsageError, match=r'info\["is_success"\] is .*; it must be one truth value'):
        evaluate([Vague()], Wanderer())
