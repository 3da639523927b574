import re
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from toy_envs import HookedWalk, Walk

from act_eval.errors import ActionError, FeatureMismatch, SimulationError, UsageError
from act_eval.executors import ChunkExecutor
from act_eval.rollout import Episode, EpisodeClock, batch_observations, hold_of, rollout
from act_eval.seeding import Stream, stream
from act_eval.timing import RTC, Lognormal, Lossy, Naive, Schedule, Sync, Trace, Uniform
from act_eval.types import ActionChunks, ChunkRequest, EpisodeRecord, PolicySpec, StepRecord

EPISODES = [Episode(number, 1000 + 7 * number) for number in range(9)]
LATE = Schedule(method=RTC(3), delay=Lognormal(1, 2, 0.8), beyond_max_delay="clip", timeout=6)


class Walker:
    """A stochastic policy with a memory per row: goes about towards the goal, as brightly as the image says."""

    spec = PolicySpec(chunk=6, action_dim=2, window="shifted", takes_prefix=True, max_delay=4, inputs={})

    def __init__(self) -> None:
        self.rngs: dict[int, np.random.Generator] = {}
        self.asked: list[int] = []

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self.rngs[row] = stream(seed, Stream.POLICY)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.asked.append(len(request.rows))
        return ActionChunks(np.stack([self.row(request, n) for n in range(len(request.rows))]))

    def row(self, request: ChunkRequest, n: int) -> np.ndarray:
        seen = request.observation
        assert seen.environment_state is not None
        noise = self.rngs[int(request.rows[n])].normal(0, 0.4, (6, 2))
        drift = request.prefix[n].sum(axis=0) / 50 + seen.pixels["top"][n, 0, 0, 0] / 1000
        return (seen.environment_state[n] + noise + drift).astype(np.float32)


class Log:
    """Keeps every call of an observer."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.ends: list[EpisodeRecord] = []
        self.states: dict[int, np.ndarray] = {}

    def on_step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def on_end_state(self, episode: int, state: np.ndarray) -> None:
        assert all(end.episode != episode for end in self.ends), "the state comes before the end"
        self.states[episode] = state

    def on_episode_end(self, record: EpisodeRecord) -> None:
        self.ends.append(record)

    def of(self, episode: int) -> list[StepRecord]:
        return [record for record in self.steps if record.episode == episode]


def exactly(record: StepRecord) -> dict[str, Any]:
    """The record's fields, arrays to the last bit."""
    values = {name.name: getattr(record, name.name) for name in fields(record)}
    chunk_switch_effect = values.pop("chunk_switch_effect")
    values |= {} if chunk_switch_effect is None else asdict(chunk_switch_effect)
    return {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def evaluate(
    envs: Sequence[gym.Env[Any, Any]],
    policy: Any = None,
    schedule: Schedule = LATE,
    episodes: Sequence[Episode] = EPISODES,
    **kwargs: Any,
) -> dict[int, EpisodeRecord]:
    executor = ChunkExecutor(policy or Walker(), schedule, hold_of(envs))
    records = list(rollout(envs, executor, episodes, **kwargs))
    assert len({record.episode for record in records}) == len(records)
    return {record.episode: record for record in sorted(records, key=lambda record: record.episode)}


def test_the_toy_is_a_proper_environment() -> None:
    check_env(Walk(), skip_render_check=True)


def test_a_slot_begins_anew_when_others_ask_so_that_all_ask_together() -> None:
    log, policy = Log(), Walker()
    records = evaluate([Walk() for _ in range(3)], policy, Schedule(method=Naive(5)), observers=[log])
    lengths = [record.steps for record in records.values()]
    assert len(set(lengths)) > 2
    assert sum(policy.asked) == sum(record.requested for record in log.steps) == sum(-(-n // 5) for n in lengths)
    assert policy.asked[0] == 3
    assert policy.asked == sorted(policy.asked, reverse=True)  # rows stand empty only when no episode waits


@pytest.mark.parametrize("kind", [Walk, HookedWalk])
@pytest.mark.parametrize("schedule", [LATE, Schedule(method=Naive(2), delay=Uniform(0, 2)), Schedule(method=Sync(4))])
def test_records_depend_neither_on_batch_size_nor_slot_nor_order(kind: type[Walk], schedule: Schedule) -> None:
    log = Log()
    alone = evaluate([kind()], schedule=schedule, observers=[log])
    assert list(alone) == [episode.number for episode in EPISODES]
    assert len({record.steps for record in alone.values()}) > 2
    assert len({record.outcome for record in alone.values()}) == 2
    for slots in (2, 4, 12):
        batched = Log()
        envs = [kind() for _ in range(slots)]
        assert evaluate(envs, schedule=schedule, episodes=EPISODES[::-1], observers=[batched]) == alone
        for episode in EPISODES:
            steps = batched.of(episode.number)
            assert [exactly(step) for step in steps] == [exactly(step) for step in log.of(episode.number)]
            np.testing.assert_array_equal(batched.states[episode.number], log.states[episode.number])


def test_predictions_of_a_step_are_one_call() -> None:
    policy = Walker()
    evaluate([Walk() for _ in range(3)], policy, Schedule(method=Sync(4)), EPISODES[:3])
    assert policy.asked[0] == 3


def test_cameras_are_rendered_only_when_the_policy_looks_and_nothing_else_changes() -> None:
    class AlwaysRendering(HookedWalk):
        def skip_cameras(self, skip: bool) -> None:
            pass

    every, some = AlwaysRendering(), HookedWalk()
    schedule = Schedule(method=RTC(4), delay=Uniform(1, 2))
    expected = evaluate([every], schedule=schedule)
    assert evaluate([some], schedule=schedule) == expected
    steps = sum(record.steps for record in expected.values())
    requests = sum(record.requests for record in expected.values())
    assert every.renderings == steps + len(EPISODES)
    # A request needs the image of its own step; one foretold for the step after an episode's end is not sent.
    assert requests <= some.renderings <= requests + len(EPISODES) < every.renderings / 2
    assert not some.skipping, "after the rollout the environment renders again"


def test_observers_see_every_step_before_it_is_taken_and_the_end_state() -> None:
    log = Log()
    records = evaluate([HookedWalk(), HookedWalk()], observers=[log])
    for number, record in records.items():
        steps = log.of(number)
        assert [step.step for step in steps] == list(range(record.steps))
        assert [step.state[-1] for step in steps] == list(range(record.steps))
        assert log.states[number][-1] == record.steps
        assert {step.seed for step in steps} == {record.seed}
        assert record.chunk_switches == sum(step.chunk_switch for step in steps)
        assert record.underrun_steps == sum(step.chunk < 0 for step in steps)
        assert record.detail["far"] == 1
        assert record.grasp_choice == 0.5
    assert {end.episode for end in log.ends} == set(records)


def test_starving_runs_the_environments_own_hold_action() -> None:
    log = Log()
    lossy = Schedule(method=Naive(4), delay=Lossy(0.7), timeout=8)
    evaluate([HookedWalk(), HookedWalk()], schedule=lossy, observers=[log])
    held = [step for step in log.steps if step.chunk < 0]
    assert len(held) > 10
    for step in held:
        np.testing.assert_array_equal(step.command, step.state[:2].astype(np.float32))


def test_success_at_any_step_counts_where_only_the_info_tells() -> None:
    class PassingBy(Walk):
        def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
            observed, reward, _, truncated, _ = super().step(action)
            return observed, reward, False, truncated, {"is_success": self.steps == 3 and self.goal[0] > 0}

    records = evaluate([PassingBy()])
    assert {record.outcome for record in records.values()} == {"success", "timeout"}
    assert all(record.steps == 14 for record in records.values())


def test_an_environment_that_says_nothing_of_success_is_refused() -> None:
    class Silent(Walk):
        def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
            return *super().step(action)[:4], {"score": 3}

    text = (
        'add info["is_success"] (bool) to every step, or a method verdict() -> act_eval.types.Verdict; its info holds'
    )
    with pytest.raises(UsageError, match=re.escape(text + " ['score']")):
        evaluate([Silent()])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ActionError("joint 3 is not finite"), "policy_error"),
        (SimulationError("qpos left the finite numbers"), "invalid"),
        (ZeroDivisionError("in the engine"), "invalid"),
    ],
)
def test_an_error_in_a_step_ends_that_episode_alone(error: Exception, outcome: str) -> None:
    class Breaking(HookedWalk):
        def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
            if self.goal[0] > 0.5 and self.steps == 2:
                raise error
            return super().step(action)

    expected = evaluate([HookedWalk()])
    log = Log()
    records = evaluate([Breaking(), Breaking()], observers=[log])
    broken = [number for number, record in records.items() if record.outcome == outcome]
    assert 1 < len(broken) < len(EPISODES)
    for number, record in records.items():
        if number in broken:
            assert record.error == f"{type(error).__name__}: {error}"
            assert record.steps == 2
            assert len(log.states[number]) == 5
        else:
            assert record == expected[number]


def test_an_error_in_reset_or_in_a_verdict_is_invalid() -> None:
    class Locked(HookedWalk):
        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict]:
            if seed == EPISODES[4].seed:
                raise OSError("no scene")
            return super().reset(seed=seed)

        def verdict(self) -> Any:
            if self.np_random_seed == EPISODES[5].seed:
                raise KeyError("block")
            return super().verdict()

        def simulator_state(self) -> np.ndarray:
            return super().simulator_state()

    expected = evaluate([HookedWalk()])
    log = Log()
    records = evaluate([Locked(), Locked()], observers=[log])
    assert (records[4].outcome, records[4].steps, records[4].error) == ("invalid", 0, "OSError: no scene")
    assert records[4].requests == 0
    assert log.states[4].size == 0
    assert (records[5].outcome, records[5].error) == ("invalid", "KeyError: 'block'")
    assert records[5].steps == expected[5].steps
    assert {n: r for n, r in records.items() if n not in (4, 5)} == {
        n: r for n, r in expected.items() if n not in (4, 5)
    }


def test_a_state_that_cannot_be_read_after_a_failure_is_nan() -> None:
    class Gone(HookedWalk):
        def step(self, action: np.ndarray) -> Any:
            self.steps = -1
            raise SimulationError("gone")

        def simulator_state(self) -> np.ndarray:
            if self.steps < 0:
                raise SimulationError("gone")
            return super().simulator_state()

    log = Log()
    records = evaluate([Gone()], observers=[log])
    assert {record.outcome for record in records.values()} == {"invalid"}
    assert all(state.shape == (5,) and np.isnan(state).all() for state in log.states.values())


class Faulty(Walker):
    """Does something wrong for episodes whose first goal coordinate is large, from step 3 on."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def predict(self, request: ChunkRequest) -> ActionChunks:
        state = {row: str(rng.bit_generator.state) for row, rng in self.rngs.items()}
        assert request.observation.environment_state is not None
        bad = (request.observation.environment_state[:, 0] > 0.5) & (request.steps >= 3)
        if self.fault == "raises" and bad.any():
            assert state  # the numbers of the good rows are not drawn before the row is refused
            raise IndexError("no such token")
        chunks = super().predict(request).actions
        if self.fault == "nan":
            chunks[bad, 2, 1] = np.nan
        if self.fault == "shape" and bad.any():
            return ActionChunks(chunks[:, :, :1])
        return ActionChunks(chunks)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("raises", "IndexError: no such token"),
        ("nan", "the policy answered with a non-finite action: nan at index 2, dimension 1"),
    ],
)
@pytest.mark.parametrize("slots", [1, 4])
def test_a_policy_at_fault_fails_its_own_episode_alone(fault: str, text: str, slots: int) -> None:
    expected = evaluate([HookedWalk()])
    log = Log()
    records = evaluate([HookedWalk() for _ in range(slots)], Faulty(fault), observers=[log])
    failed = {number: record for number, record in records.items() if record.outcome == "policy_error"}
    assert 1 < len(failed) < len(EPISODES)
    for number, record in failed.items():
        assert record.error == text
        assert record.steps >= 3
        assert len(log.of(number)) == record.steps == log.states[number][-1]
    assert {n: r for n, r in records.items() if n not in failed} == {
        n: r for n, r in expected.items() if n not in failed
    }


def test_a_wrong_shape_fails_every_row_of_the_answer() -> None:
    records = evaluate([Walk()], Faulty("shape"))
    errors = {record.error for record in records.values() if record.outcome == "policy_error"}
    assert errors == {"the policy answered with actions of shape (1, 6, 1), expected (1, 6, 2)"}


def test_a_policy_that_cannot_be_reset_fails_the_episode() -> None:
    class Stubborn(Walker):
        def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
            if EPISODES[2].seed in seeds:
                raise RuntimeError("no memory left")
            super().reset(rows, seeds)

    records = evaluate([HookedWalk(), HookedWalk()], Stubborn())
    assert records[2].outcome == "policy_error"
    assert (records[2].error, records[2].steps) == ("RuntimeError: no memory left", 0)
    expected = evaluate([HookedWalk()])
    assert all(records[n] == expected[n] for n in records if n != 2)


def test_a_wrong_wiring_is_an_error_of_the_run() -> None:
    class Unwired(Walker):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            raise FeatureMismatch("the policy needs a camera 'wrist'")

    with pytest.raises(FeatureMismatch, match="needs a camera 'wrist'"):
        evaluate([Walk(), Walk()], Unwired())
    with pytest.raises(UsageError, match="an environment is given twice; each slot needs its own"):
        evaluate([env := Walk(), env])
    with pytest.raises(UsageError, match="a rollout needs at least one environment"):
        evaluate([])


def test_no_episode_begins_once_it_should_stop_and_running_ones_finish() -> None:
    expected = evaluate([Walk()])
    ended: list[EpisodeRecord] = []
    envs = [Walk(), Walk(), Walk()]
    executor = ChunkExecutor(Walker(), LATE, hold_of(envs))
    for record in rollout(envs, executor, EPISODES, should_stop=lambda: len(ended) >= 2):
        ended.append(record)
    assert 2 <= len(ended) <= 5
    assert all(record == expected[record.episode] for record in ended)


def test_an_episode_without_delays_stops_the_run() -> None:
    schedule = Schedule(method=Naive(2), delay=Trace(episodes={1: (2, 2)}))
    with pytest.raises(UsageError, match="holds 0 delays for episode seed 1000 and one more"):
        evaluate([Walk()], schedule=schedule)


def test_clocks_are_apart_from_records() -> None:
    clocks: list[EpisodeClock] = []
    records = evaluate([Walk(), Walk()], on_clock=clocks.append)
    assert {clock.episode for clock in clocks} == set(records)
    for clock in clocks:
        assert len(clock.inference_ms) == records[clock.episode].requests
        assert 0 < sum(clock.inference_ms) < 1e3 * clock.wall_s


def test_the_command_that_was_recorded_cannot_be_changed_by_the_environment() -> None:
    class Meddling(HookedWalk):
        def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
            result = super().step(action)
            action[:] = 99
            return result

    honest, meddled = Log(), Log()
    assert evaluate([HookedWalk()], observers=[honest]) == evaluate([Meddling()], observers=[meddled])
    for a, b in zip(honest.steps, meddled.steps, strict=True):
        np.testing.assert_array_equal(a.command, b.command)


def test_gymnasium_wrappers_are_fine() -> None:
    short = gym.wrappers.TimeLimit(HookedWalk(), 5)
    records = evaluate([short])
    assert max(record.steps for record in records.values()) == 5
    full = evaluate([HookedWalk()])
    quick = [n for n, record in full.items() if record.steps <= 4]
    assert quick
    assert all(replace(records[n], detail={}) == replace(full[n], detail={}) for n in quick)


def test_observations_become_one_batch() -> None:
    observed = [{"pixels": {"top": np.full((2, 3, 3), n, np.uint8)}, "agent_pos": np.array([n, 0.5])} for n in range(3)]
    batch = batch_observations(observed)
    assert batch.pixels["top"].shape == (3, 2, 3, 3)
    assert batch.pixels["top"][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.agent_pos.dtype == np.float32
    assert batch.agent_pos.tolist() == [[0, 0.5], [1, 0.5], [2, 0.5]]
    assert batch.environment_state is None


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        (np.zeros(3), 'an observation needs an entry "agent_pos"; the environment gives ndarray'),
        ({"pixels": {}}, "an observation needs an entry \"agent_pos\"; the environment gives ['pixels']"),
        (
            {"pixels": np.zeros((2, 2, 3)), "agent_pos": np.zeros(2)},
            'observation["pixels"] is one image without a name',
        ),
        ({"agent_pos": np.zeros(3)}, "agent_pos of an observation: got (3,), expected (2,)"),
        (
            {"agent_pos": np.zeros(2), "pixels": {"side": np.zeros((2, 2, 3), np.uint8)}},
            "cameras of an observation: got ['side'], expected []",
        ),
    ],
)
def test_observations_that_do_not_fit_are_refused(observed: Any, text: str) -> None:
    with pytest.raises(SimulationError, match=re.escape(text)):
        batch_observations([{"agent_pos": np.zeros(2)}, observed])
