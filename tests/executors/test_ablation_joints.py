"""Predicted joints: which ones are handed over, and from where the answer then runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_policies import Tagged, ToyPolicy, blank, run

from act_eval.errors import TimingError, UsageError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import (
    RTC,
    Ablation,
    Constant,
    ConstantEstimate,
    Naive,
    Proprio,
    Schedule,
    Trace,
    condition_name,
    condition_settings,
)
from act_eval.types import ActionChunks, ChunkRequest, Observation, PolicySpec

STEPS, SEED = 40, 11
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


class Joined(ToyPolicy):
    """Two joints, the second one the gripper; its chunk is 100·k + i for both."""

    def __init__(self, window: str, max_delay: int | None) -> None:
        super().__init__(10, window=window, max_delay=max_delay)  # pyright: ignore[reportArgumentType]
        self.spec = PolicySpec(**{**vars(self.spec), "action_dim": 2})

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.requests.append(request)
        numbers = 100 * (len(self.requests) - 1) + np.arange(10, dtype=np.float32)
        return ActionChunks(np.stack([numbers, numbers + 0.5], axis=1)[None])


def joined(policy: ToyPolicy, wanted: Schedule) -> np.ndarray:
    """Run one episode whose joints are (-t, -t - 0.5) at step t; return the commands (STEPS, 2)."""
    executor = ChunkExecutor(policy, wanted, repeat_last, gripper_dims=(-1,))
    executor.reset([0], [SEED])
    commands = []
    for t in range(STEPS):
        joints = np.array([[-t, -t - 0.5]], np.float32)
        seen = Observation(pixels={}, agent_pos=joints, environment_state=None)
        commands.append(executor.act(np.array([t]), seen).command[0])
    return np.array(commands)


@pytest.mark.parametrize("proprio", ["predicted", "predicted-with-gripper"])
@pytest.mark.parametrize("kind", [Naive, RTC])
def test_predicted_joints_are_the_last_committed_command(kind: type, proprio: Proprio) -> None:
    policy = Joined("shifted", 6)
    wanted = Schedule(method=kind(5), delay=Constant(3), ablation=Ablation(proprio=proprio))
    commands = joined(policy, wanted)
    first, *later = policy.requests
    assert first.observation.agent_pos.tolist() == [[0, -0.5]]
    for request in later[:-1]:
        t = int(request.steps[0])
        gripper = -t - 0.5 if proprio == "predicted" else commands[t + 2, 1]
        assert request.observation.agent_pos.tolist() == [[commands[t + 2, 0], gripper]]
        if kind is RTC:
            np.testing.assert_array_equal(request.prefix[0, :3], commands[t : t + 3])
            np.testing.assert_array_equal(request.last_action[0], commands[t - 1])
        else:
            assert request.estimated_delay.tolist() == [0]
            np.testing.assert_array_equal(request.prefix, 0)
            np.testing.assert_array_equal(request.last_action[0], commands[t + 2])


@pytest.mark.parametrize("d", range(7))
@pytest.mark.parametrize("s", range(1, 11))
def test_naive_with_predicted_joints_runs_as_rtc_over_a_shifted_window(s: int, d: int) -> None:
    """Joints of step t + d ask for the actions from t + d on, whatever the window says of joints of step t."""
    wanted = Schedule(method=Naive(s), delay=Constant(d), ablation=Ablation(proprio="predicted-with-gripper"))
    reference = Schedule(method=RTC(s), delay=Constant(d))
    policy = Tagged(10)
    if d == 0:
        with pytest.raises(TimingError, match="equal the observed joints at estimated delay 0"):
            wanted.check(policy.spec)
    elif d <= s:
        assert run(policy, wanted, STEPS) == run(Tagged(10, window="shifted", max_delay=10), reference, STEPS)
    else:
        with pytest.raises(TimingError, match=f"naive needs d <= s <= C, .*got s = {s}"):
            wanted.check(policy.spec)


class Follower(ToyPolicy):
    """Takes the joints for the command before and counts on from there: alone right if its joints fit its window."""

    def chunk(self, request: ChunkRequest, n: int) -> np.ndarray:
        return request.observation.agent_pos[n, 0] + 1 + np.arange(self.spec.chunk)


@QUICK
@given(
    s=st.integers(1, 10),
    delays=st.lists(st.integers(0, 12), min_size=1, max_size=12),
    age=st.integers(0, 3),
    proprio=st.sampled_from(["observed", "predicted-with-gripper"]),
)
def test_the_window_fits_the_joints_under_any_delay(s: int, delays: list[int], age: int, proprio: Proprio) -> None:
    """Joints follow their command at once: then the action for step t is t, as far as chunks reach."""
    trace = Trace(episodes={SEED: tuple((delays * STEPS)[:STEPS])})
    wanted = Schedule(method=Naive(s), delay=trace, observation_delay=age, ablation=Ablation(proprio=proprio))
    executor = ChunkExecutor(Follower(10), wanted, repeat_last, gripper_dims=(-1,))
    executor.reset([0], [SEED])
    last, underrun = -1.0, 0
    for t in range(STEPS):
        joints = np.full((1, 1), last, np.float32)
        actions = executor.act(np.array([t]), Observation(pixels={}, agent_pos=joints, environment_state=None))
        # A held step costs one count: everything that is planned after it was counted without it.
        underrun += int(actions.underrun[0])
        last = float(actions.command[0, 0])
        assert t - underrun <= last <= t
        assert underrun or last == t


def test_predicted_joints_need_commands_of_their_length() -> None:
    executor = ChunkExecutor(
        Joined("same", None),
        Schedule(method=Naive(5), delay=Constant(2), ablation=Ablation(proprio="predicted")),
        repeat_last,
        gripper_dims=(-1,),
    )
    executor.reset([0], [SEED])
    for t in range(5):
        executor.act(np.array([t]), blank(1))
    with pytest.raises(UsageError, match=r"agent_pos has shape \(1,\), a command \(2,\)"):
        executor.act(np.array([5]), blank(1))


def test_predicted_joints_under_naive_are_those_of_the_estimated_step() -> None:
    """A large estimate delays an early answer to the step of its joints; a small one drops past actions."""
    for estimated, begins in ((4, 4), (1, 2)):
        ablation = Ablation(proprio="predicted-with-gripper")
        wanted = Schedule(
            method=Naive(6), delay=Constant(2), delay_estimator=ConstantEstimate(estimated), ablation=ablation
        )
        assert condition_name(wanted) == f"naive_d2_s6_est{estimated}_predicted-with-gripper"
        assert condition_settings(wanted)["delay_estimator"] == f"constant:steps={estimated}"
        commands = run(Tagged(12), wanted, 6 + begins + 2)
        first = 100 + begins - estimated
        assert commands == [*range(6 + begins), first, first + 1]
