"""Foreign environments behind the adapter: what is shown, when it succeeded, what holds still, what is refused."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from foreign_envs import Reach
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from act_eval.envs.adapters import AdaptedEnv, Declaration
from act_eval.envs.adapters.observation_mapping import resolve
from act_eval.envs.adapters.success import StepResult, parse_success
from act_eval.errors import SimulationError, UsageError

BOX, SPACES = gym.spaces.Box, gym.spaces.Dict
IMAGE = BOX(0, 255, (8, 6, 3), np.uint8)


def vector(size: int) -> gym.spaces.Box:
    return BOX(-np.inf, np.inf, (size,), np.float64)


def adapted(env: gym.Env | None = None, **declared: Any) -> AdaptedEnv:
    return AdaptedEnv(env or Reach(), Declaration(**{"horizon": 12, **declared}), "mine:Reach")


@pytest.mark.parametrize(
    ("space", "images", "state", "environment_state"),
    [
        (
            SPACES(pixels=SPACES(a=IMAGE, b=IMAGE), agent_pos=vector(3)),
            {"a": "pixels.a", "b": "pixels.b"},
            ["agent_pos"],
            [],
        ),
        (SPACES(pixels=IMAGE, agent_pos=vector(3)), {"image": "pixels"}, ["agent_pos"], []),
        (SPACES(top=IMAGE), {"top": "top"}, [], []),
        (
            SPACES({"observation.images.top": IMAGE, "observation.state": vector(2)}),
            {"top": "observation.images.top"},
            ["observation.state"],
            [],
        ),
        (
            SPACES(observation=vector(10), desired_goal=vector(3), achieved_goal=vector(3)),
            {},
            ["observation"],
            ["desired_goal"],
        ),
        (SPACES(agent_pos=vector(2), environment_state=vector(16)), {}, ["agent_pos"], ["environment_state"]),
        (vector(5), {}, ["."], []),
        (IMAGE, {"image": "."}, [], []),
    ],
)
def test_the_usual_names_are_understood(space: Any, images: Any, state: Any, environment_state: Any) -> None:
    keys = resolve(space, Declaration())
    assert keys.to_json() == {"images": images, "state": state, "environment_state": environment_state}


def test_what_is_shown_to_nobody_is_said() -> None:
    space = SPACES(observation=vector(10), desired_goal=vector(3), achieved_goal=vector(3))
    assert resolve(space, Declaration()).unused == ("achieved_goal",)
    assert "no input of any policy: clock" in adapted().remarks()


def test_declared_places_are_parts_joined_in_their_order() -> None:
    env = adapted(state=("clock", "agent_pos[1:2]", "environment_state[:1]"), environment_state=())
    shown, _ = env.reset(seed=3)
    inner = env.env
    np.testing.assert_allclose(shown["agent_pos"], [0, inner.position[1], inner.goal[0]], rtol=1e-6)
    assert "environment_state" not in shown
    assert env.observation_space.contains(shown)


def test_keys_with_dots_are_found_before_they_are_taken_apart() -> None:
    space = SPACES({"a.b": vector(2), "a": SPACES(b=vector(3))})
    assert resolve(space, Declaration(state=("a.b",))).state[0].size == 2
    assert resolve(SPACES(a=SPACES({"b.c": vector(4)})), Declaration(state=("a.b.c",))).state[0].size == 4


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"state": ("agent_po",)},
            r"there is no array at 'agent_po' in the observation; there are: agent_pos \(2,\) float64",
        ),
        ({"state": ("pixels",)}, "there is no array at 'pixels'"),
        ({"state": ("agent_pos[1:5]",)}, r"'agent_pos\[1:5\]' exceeds the 2 numbers of the entry"),
        (
            {"images": {"top": "agent_pos"}},
            r"camera 'top': 'agent_pos' holds \(2,\) float64; an image is \(H, W, 3\) uint8",
        ),
        ({"hold": "0,0,0"}, "hold is '0,0,0', which has 3 entries; an action has 2"),
        ({"hold": "stop"}, "hold is 'stop'; allowed: repeat .absolute positions., zero .velocities, displacements."),
        ({"hold": "nan,0"}, "hold is 'nan,0'; allowed"),
        ({"success": "reward"}, "success is 'reward'; a rule is info.KEY, reward, return"),
        ({"success": "terminated>=1"}, "success is 'terminated>=1'; a rule is"),
        ({"success": "reward>=1e"}, "'1e' is no number"),
        ({"horizon": 0}, "horizon is 0; it must be at least 1 control step"),
        ({"control_ms": 0.0}, "control_ms is 0.0; it must be finite and above 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adapted(**declared)


def test_an_observation_without_known_names_asks_for_a_declaration() -> None:
    with pytest.raises(
        UsageError, match=r"declare its meaning with --state PLACE or --images NAME=PLACE. Entries: a \(2,\)"
    ):
        resolve(SPACES(a=vector(2), b=vector(1)), Declaration())


def test_what_the_environment_does_not_say_has_to_be_declared() -> None:
    with pytest.raises(
        UsageError, match="does not say after how many steps an episode is cut off: add --horizon STEPS"
    ):
        adapted(horizon=None)
    env = Reach()
    env.metadata = {"render_modes": []}
    with pytest.raises(UsageError, match="does not say how long a control step is: add --control-ms"):
        adapted(env)
    assert adapted(env, control_ms=40.0).metadata["render_fps"] == 25
    env.action_space = gym.spaces.Discrete(2)
    with pytest.raises(UsageError, match=r"has the action space Discrete\(2\); policies return vectors"):
        adapted(env, control_ms=40.0)


def test_missing_success_is_an_error_that_says_what_to_add() -> None:
    env = adapted(Reach(tells=False))
    with pytest.raises(UsageError, match=r'declare the rule with --success.*add info\["is_success"\] .*holds \[\]'):
        env.smoke_test()
    with pytest.raises(UsageError, match=r"\(info.done is not there\)"):
        adapted(success="info.done").smoke_test()
    adapted(Reach(tells=False), success="info.done?").smoke_test()


def test_the_episode_ends_with_its_first_success_and_says_when() -> None:
    env = adapted(Reach(ends=False))
    shown, _ = env.reset(seed=5)
    steps, terminated = 0, False
    while not terminated:
        assert env.verdict().outcome == "timeout"
        shown, _, terminated, truncated, info = env.step(shown["environment_state"])
        assert (info["is_success"], truncated) == (terminated, False)
        steps += 1
    verdict = env.verdict()
    assert (verdict.outcome, verdict.detail["success_step"]) == ("success", steps - 1)


def test_an_episode_that_never_succeeds_is_cut_off_and_a_timeout() -> None:
    env = adapted(success="reward>=100")
    env.reset(seed=5)
    results = [env.step(np.zeros(2, np.float32)) for _ in range(12)]
    assert [truncated for *_, truncated, _ in results] == [False] * 11 + [True]
    verdict = env.verdict()
    assert (verdict.outcome, verdict.detail["ended"]) == ("timeout", "truncated")
    assert verdict.detail["return"] == pytest.approx(sum(reward for _, reward, *_ in results))  # 3.12 sums otherwise


@given(
    signal=st.sampled_from(["reward", "return", "info.value"]),
    sign=st.sampled_from([">=", "<=", ">", "<", "=="]),
    value=st.floats(-10, 10),
    bound=st.integers(-10, 10),
)
def test_rules_compare_as_they_are_written(signal: str, sign: str, value: float, bound: int) -> None:
    step = StepResult(info={"value": value}, reward=value, total=value, terminated=False, truncated=False)
    expected = {
        ">=": value >= bound,
        "<=": value <= bound,
        ">": value > bound,
        "<": value < bound,
        "==": value == bound,
    }
    assert parse_success(f"{signal} {sign} {bound}").holds(step) == expected[sign]


def test_rules_read_nested_and_usual_keys() -> None:
    def holds(rule: str | None, info: dict[str, Any]) -> bool:
        return parse_success(rule).holds(StepResult(info=info, reward=0, total=0, terminated=True, truncated=False))

    assert holds(None, {"is_success": np.bool_(True)})
    assert holds(None, {"success": 1.0})
    assert holds("info.task.done", {"task": {"done": True}})
    assert holds("terminated", {})
    assert not holds("truncated", {})
    with pytest.raises(UsageError, match="neither a number nor true or false"):
        holds("info.is_success", {"is_success": [True, False]})


def test_holding_repeats_stops_or_mixes() -> None:
    last = np.array([0.25, -1], np.float32)
    for rule, expected in ((None, [0.25, -1]), ("repeat", [0.25, -1]), ("zero", [0, 0]), ("0.5,repeat", [0.5, -1])):
        env = adapted(hold=rule)
        np.testing.assert_array_equal(env.hold_action(last), expected)
        assert env.suite_facts()["hold"] == (rule or "repeat")

    class Own(Reach):
        def hold_action(self, last_command: np.ndarray) -> np.ndarray:
            return last_command / 2

    np.testing.assert_array_equal(adapted(Own()).hold_action(last), last / 2)
    np.testing.assert_array_equal(adapted(Own(), hold="zero").hold_action(last), [0, 0])


def test_large_episode_seeds_are_folded_and_small_ones_kept() -> None:
    starts = [adapted().reset(seed=seed)[0]["agent_pos"] for seed in (7, 2**32 + 7, 3 << 40)]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], Reach().reset(seed=7)[0]["agent_pos"].astype(np.float32))
    assert not np.array_equal(starts[0], starts[2])


def test_what_is_rendered_for_policies_is_skipped_between_requests() -> None:
    env = adapted(images={"front": "render()"})
    before, _ = env.reset(seed=1)
    env.skip_cameras(True)
    count = env.env.renderings
    skipped = env.step(np.ones(2, np.float32))[0]
    assert env.env.renderings == count
    assert np.array_equal(skipped["pixels"]["front"], before["pixels"]["front"])
    assert not np.array_equal(skipped["agent_pos"], before["agent_pos"])
    env.skip_cameras(False)
    assert not np.array_equal(env.step(np.ones(2, np.float32))[0]["pixels"]["front"], before["pixels"]["front"])


@pytest.mark.filterwarnings("ignore:.*(symmetric and normalized|is -?infinity|initializing the environment)")
def test_the_adapted_environment_keeps_gymnasiums_contract() -> None:
    check_env(adapted(images={"front": "render()", "top": "pixels.top"}), skip_render_check=True)


def test_a_reward_that_is_not_finite_is_the_simulations_fault() -> None:
    class Broken(Reach):
        def step(self, action: np.ndarray) -> Any:
            observed, _, *rest = super().step(action)
            return observed, float("nan"), *rest

    env = adapted(Broken())
    env.reset(seed=0)
    with pytest.raises(SimulationError, match="mine:Reach gave the reward nan"):
        env.step(np.zeros(2, np.float32))


def test_an_observation_that_is_not_what_its_space_says_is_refused() -> None:
    env = Reach()
    env.observation_space["pixels"] = SPACES(top=BOX(0, 255, (24, 24, 3), np.uint8))
    with pytest.raises(UsageError, match=r"gives .*top: \(32, 32, 3\) uint8.*its observation space says"):
        adapted(env).smoke_test()
