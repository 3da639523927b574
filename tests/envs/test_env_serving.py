"""Environments that are served behave as those that are not: spaces, hooks, errors, records."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import msgpack
import numpy as np
import pytest
import user_faults
from hypothesis import given, settings
from hypothesis import strategies as st

from act_eval.envs.adapters import AdaptedEnv, Declaration
from act_eval.envs.serving.client import ServedEnv
from act_eval.envs.serving.frames import error_message, error_of, plain, space_message, space_of
from act_eval.envs.serving.session import EnvSession
from act_eval.errors import ActionError, RemoteError, UnknownName, UsageError
from act_eval.executors import make_executor
from act_eval.policies.simple import chunk_policy
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.serving.messages import pack, unpack
from act_eval.serving.shared_arrays import SIZE, SharedArrays, reserve
from act_eval.sources.external_envs import make_raw
from act_eval.timing import Constant, Naive, Schedule
from act_eval.types import EpisodeRecord
from act_eval.types.env_hooks import HOOKS, hooks_of
from act_eval.types.scene import Variation

PICK = "act_eval/ConfuserPick-v0"


class Here:
    """A channel to a session in this process, through messages and shared memory."""

    where, life = "elsewhere", 0

    def __init__(self, make: Any) -> None:
        self.session = EnvSession(make)
        descriptor = reserve()
        self.writes, self.reads = SharedArrays(descriptor), SharedArrays(descriptor)
        self.released = 0
        self.begun: dict[int, dict[str, Any]] = {}
        self.arrived: dict[int, dict[str, Any]] = {}

    def begin(self) -> None: ...

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return unpack(pack(self.session.respond(unpack(pack(message))), self.writes), self.reads)

    def release(self) -> None:
        self.released += 1


def served(name: str, film: bool = False, **options: Any) -> ServedEnv:
    return ServedEnv(Here(lambda film, horizon: make_raw(name, options, horizon, film)), film, None)


def same(one: Any, other: Any) -> bool:
    """Whether two nested results are equal to the last bit."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    first, second = np.asarray(one), np.asarray(other)
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@pytest.fixture(scope="module")
def pair() -> Any:
    here, there = make_raw(PICK, {"image_size": 32}, None, False)[0], served(PICK, image_size=32)
    yield here, there
    here.close()
    there.close()


def test_spaces_metadata_hooks_and_registration_are_those_of_the_environment(pair: Any):
    here, there = pair
    assert there.observation_space == here.observation_space
    assert there.action_space == here.action_space
    assert there.metadata == here.metadata
    assert (there.spec.id, there.spec.max_episode_steps) == (here.spec.id, here.spec.max_episode_steps)
    ours, theirs = hooks_of(here), hooks_of(there)
    assert {name for name in HOOKS if getattr(ours, name) is not None} == {
        name for name in HOOKS if getattr(theirs, name) is not None
    } - {"package_versions", "begin_step"}
    assert list(theirs.gripper_dims) == list(ours.gripper_dims)
    assert theirs.package_versions() == {}  # the same Python, the same packages
    assert theirs.suite_facts() == ours.suite_facts()


def test_steps_states_and_verdicts_are_the_same_to_the_last_bit(pair: Any):
    here, there = pair
    ours, theirs = hooks_of(here), hooks_of(there)
    seen = here.reset(seed=2**40 + 3)
    assert same(seen, there.reset(seed=2**40 + 3))
    rng = np.random.default_rng(0)
    for step in range(12):
        for hooks in (ours, theirs):
            hooks.skip_cameras(step % 3 == 1)
        command = (seen[0]["agent_pos"] + rng.normal(0, 0.05, 6)).astype(np.float32)
        if step % 2:
            theirs.begin_step(command)
            assert same(ours.simulator_state(), theirs.simulator_state())  # of the moment before
        seen = here.step(command)
        assert same(seen, there.step(command))
        assert same(ours.simulator_state(), theirs.simulator_state())
    assert theirs.verdict() == ours.verdict()


def test_hooks_of_states_are_the_same(pair: Any):
    here, there = pair
    here.reset(seed=4), there.reset(seed=4)
    ours, theirs = hooks_of(here), hooks_of(there)
    state = ours.simulator_state()
    states = np.stack([state, state])
    detail = ours.verdict().detail
    assert theirs.stage() == ours.stage()
    assert theirs.overhead_projection() == ours.overhead_projection()
    for one in (lambda h: h.motion(states), lambda h: h.scene_track(states, detail), lambda h: h.expert_action()):
        assert same(plain(one(theirs)), plain(one(ours)))
    out = [np.zeros((8, 12, 3), np.uint8), None]
    views = [("overhead", 8, 12), ("wrist", 16, 16)]
    images = theirs.render_views(state, views, out)
    assert images[0] is out[0]
    assert same(images, ours.render_views(state, views, None))
    assert same(theirs.render_state(state, "overhead", 8, 12), out[0])


def test_a_varied_scene_is_the_same(pair: Any):
    changed = Variation(joints=(0.1, 0.0, -0.1, 0.0, 0.05), block_scale=1.1, distractors=((0.2, 0.1),))
    begun = []
    for env in pair:
        hooks_of(env).vary(changed)
        begun.append(env.reset(seed=4))
    assert same(*begun)
    assert same(*(hooks_of(env).expert_action() for env in pair))
    with pytest.raises(RemoteError, match="is no variation of a scene"):
        pair[1]._ask("hook", name="vary", arguments=[{"joint": 1}])


def test_a_fork_goes_its_own_way_and_is_given_up_with_its_last_reference(pair: Any):
    here, there = pair
    here.reset(seed=4), there.reset(seed=4)
    fork, before = there.fork(), there.simulator_state()
    fork.step(here.action_space.low)
    assert not same(fork.simulator_state(), before)
    assert same(there.simulator_state(), before)
    session = there._channel.session
    assert len(session._envs) == 2
    del fork
    there.step(here.action_space.high)
    assert len(session._envs) == 1


def test_errors_keep_type_text_and_traceback(pair: Any):
    _, there = pair
    with pytest.raises(ActionError, match=r"action has shape \(5,\)") as caught:
        there.step(np.zeros(5, np.float32))
    assert "in elsewhere:" in str(caught.value.__cause__)
    assert "pick.py" in str(caught.value.__cause__)


def records(*envs: gym.Env[Any, Any]) -> list[EpisodeRecord]:
    policy = chunk_policy(user_faults.Go, "Go")
    schedule = Schedule(method=Naive(4), delay=Constant(2))
    executor = make_executor(policy, schedule, hold_of(envs), 100.0, None, None)
    found = rollout(envs, executor, [Episode(number, number) for number in range(8)], [Watch()])
    return sorted(found, key=lambda record: record.episode)


class Watch:
    """An observer, so that states are asked for."""

    def on_step(self, record: Any) -> None: ...

    def on_episode_end(self, record: Any) -> None: ...


FAULTS = ("Reach", "Exits", "SysExit", "NoText", "LongText", "Surrogates", "OtherShape", "OddFlag", "OddReward")
FAULTS += ("OddState", "NoState", "NoHold", "NoMotion")


@pytest.mark.parametrize("fault", FAULTS)
def test_records_are_the_same_whatever_the_environment_does(fault: str):
    name, declared = f"user_faults:{fault}", Declaration(horizon=12)
    here = records(AdaptedEnv(make_raw(name, {}, None, False)[0], declared, name))
    elsewhere = records(AdaptedEnv(served(name), declared, name))
    assert elsewhere == here
    channel = Here(lambda film, horizon: make_raw(name, {}, horizon, film))
    several = [AdaptedEnv(ServedEnv(channel, False, None), declared, name) for _ in range(3)]
    assert records(*several) == here  # whose steps run together
    assert any(record.error for record in here) == (fault not in ("Reach", "NoMotion", "NoHold"))
    for one, other in zip(elsewhere, here, strict=True):
        if other.error is not None and "Error" in other.error and fault != "OtherShape":
            assert ("user_faults.py" in one.error.traceback) == ("user_faults.py" in other.error.traceback)


def test_every_call_after_the_end_of_the_process_raises_and_reset_makes_another():
    env = served("user_faults:Reach")
    first = env.reset(seed=3)
    env._channel.life += 1
    with pytest.raises(Exception, match="elsewhere has ended, and this episode with it"):
        env.step(np.zeros(2, np.float32))
    assert same(env.reset(seed=3), first)


def test_closing_twice_releases_the_process_once():
    env = served("user_faults:Reach")
    env.close()
    env.close()
    assert env._channel.released == 1


@pytest.mark.parametrize(
    "message",
    [
        {"op": "make"},
        {"op": "make", "env": -1},
        {"op": "make", "env": "0"},
        {"op": "step", "env": 7},
        {"op": "__class__", "env": 0},
        {"op": "hook", "env": 0, "name": "close", "arguments": []},
        {"op": "hook", "env": 0, "name": "__init__", "arguments": []},
        {"op": "hook", "env": 0, "name": "gripper_dims", "arguments": []},
        {"op": "hook", "env": 0, "name": "verdict", "arguments": None},
    ],
)
def test_requests_outside_the_protocol_are_refused(message: dict[str, Any]):
    channel = Here(lambda film, horizon: make_raw("user_faults:Logged", {}, horizon, film))
    channel.request({"op": "make", "env": 0})
    response = channel.request(message)
    assert response["error"]["ours"] == "RemoteError"
    assert isinstance(error_of(response["error"], "there"), RemoteError)


def test_a_description_of_another_version_is_refused():
    class Odd(Here):
        def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
            return {name: one for name, one in super().request(message).items() if name != "metadata"}

    with pytest.raises(RemoteError, match=r"describes its environment in another way .*'metadata'"):
        ServedEnv(Odd(lambda film, horizon: make_raw("user_faults:Reach", {}, horizon, film)), False, None)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(0, 255, (4, 5, 3), np.uint8),
        gym.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32)),
        gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
        gym.spaces.Discrete(4, start=-1),
        gym.spaces.Dict({"b": gym.spaces.Box(0, 1, (1,)), "a.b": gym.spaces.Dict({"c": gym.spaces.Discrete(2)})}),
    ],
)
def test_spaces_arrive_unchanged(space: gym.spaces.Space[Any]):
    arrived = space_of(unpack(pack({"space": space_message(space)}))["space"])
    assert arrived == space
    assert not isinstance(space, gym.spaces.Dict) or list(arrived) == list(space)


def test_a_space_that_no_policy_receives_keeps_its_name():
    assert str(space_of(space_message(gym.spaces.Text(5)))).startswith("Text")
    with pytest.raises(RemoteError, match="a space cannot be read"):
        space_of({"box": [3], "dtype": "nothing", "low": 0, "high": 1})


def test_what_cannot_travel_is_named_by_its_type():
    assert plain({"robot": object(), 3: (1, np.float32(2)), "big": 2**70}) == {
        "robot": "<object>", "3": [1, np.float32(2)], "big": "<int>"
    }  # fmt: skip


@pytest.mark.parametrize(
    "error", [UnknownName("task", "pick", ["push"]), UsageError("no"), KeyError("a"), ValueError()]
)
def test_errors_arrive_with_their_name_and_text(error: Exception):
    arrived = error_of(error_message(error), "there")
    assert type(arrived).__name__ == type(error).__name__
    assert str(arrived) == str(error)
    assert isinstance(arrived, type(error)) == isinstance(error, UsageError)


@settings(deadline=None, max_examples=50)
@given(
    shapes=st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=4),
    dtype=st.sampled_from(["<f8", ">f4", "|u1", "|b1", "<i2"]),
    ordered=st.booleans(),
)
def test_arrays_pass_through_shared_memory_unchanged(shapes: list[list[int]], dtype: str, ordered: bool):
    descriptor = reserve()
    one, other = SharedArrays(descriptor), SharedArrays(descriptor)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, shape).astype(dtype) for shape in shapes]
    arrays = [array if ordered else array.T for array in arrays]
    for _ in range(2):
        found = unpack(pack({"arrays": arrays}, one), other)["arrays"]
        assert [array.dtype.newbyteorder("=") for array in arrays] == [array.dtype for array in found]
        assert all(np.array_equal(a, b) for a, b in zip(arrays, found, strict=True))


@pytest.mark.parametrize("offset", [-1, SIZE, SIZE - 9, 2**60, "0", None, 1.0, True])
def test_an_offset_outside_the_shared_memory_is_refused(offset: Any):
    memory = SharedArrays(reserve())
    entry = {b"__ndarray__": True, b"data": offset, b"dtype": "<f4", b"shape": [10]}
    with pytest.raises(RemoteError, match="offset must be 0 to"):
        unpack(msgpack.packb({"array": entry}), memory)


def test_arrays_beyond_the_shared_memory_travel_in_the_message():
    one = SharedArrays(reserve())
    big = np.zeros(SIZE + 1, np.uint8)
    assert same(unpack(pack({"big": big}, one), one)["big"], big)


def test_adapters_declare_the_same(pair: Any):
    here = AdaptedEnv(make_raw("foreign_envs:Reach", {}, 9, False)[0], Declaration(horizon=9), "reach")
    there = AdaptedEnv(served("foreign_envs:Reach"), Declaration(horizon=9), "reach")
    assert there.suite_facts() == here.suite_facts()
    assert there.remarks() == here.remarks()
    assert replace(Declaration(), hold="zero").over(there.env.defaults) == Declaration(hold="zero")
    there.reset(seed=0), here.reset(seed=0)
    assert same(there.render(), here.render())
