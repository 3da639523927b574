"""What an environment declares and does not keep stops the run by name; what a policy gets wrong is counted."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from foreign_envs import Reach

from act_eval.envs.adapters import AdaptedEnv, Declaration
from act_eval.envs.adapters.success import StepResult, parse_success
from act_eval.envs.command_bounds import CommandBounds
from act_eval.envs.pick import PickEnv
from act_eval.errors import DeclarationError, SimulationError, UsageError
from act_eval.types import Verdict
from act_eval.types.env_hooks import hooks_of


def adapted(env: gym.Env, **declared: Any) -> AdaptedEnv:
    return AdaptedEnv(env, Declaration(**{"horizon": 12, **declared}), "mine:Env")


class Told(Reach):
    """Signals success by what it is given, one per step."""

    def __init__(self, *infos: Any) -> None:
        super().__init__()
        self.infos = list(infos)

    def step(self, action: np.ndarray) -> Any:
        observed, reward, terminated, truncated, _ = super().step(action)
        return observed, reward, terminated, truncated, self.infos.pop(0)


def holds(rule: str | None, info: dict[str, Any]) -> bool:
    return parse_success(rule).holds(StepResult(info=info, reward=0, total=0, terminated=False, truncated=False))


@pytest.mark.parametrize(
    ("rule", "info", "text"),
    [
        (None, {"is_success": float("nan")}, "success signal info.is_success is NaN, which is neither"),
        (None, {"success": np.float32("nan")}, "info.success is NaN"),
        ("info.score>=1", {"score": float("nan")}, "info.score is NaN"),
        (None, {"success": 0.2}, r'info\.success is 0\.2, neither 0 nor 1: .* as in --success "info\.success>=1"'),
        (None, {"is_success": -1}, "info.is_success is -1, neither 0 nor 1"),
        ("info.done", {"done": 2}, "info.done is 2, neither 0 nor 1"),
        ("info.done?", {"done": 0.5}, "info.done is 0.5, neither 0 nor 1"),
        (None, {"success": None}, "info.success is None, neither a number"),
        (None, {"success": "yes"}, "info.success is 'yes', neither a number"),
        (None, {"success": [True, False]}, r"info.success is \[True, False\], neither a number"),
        (None, {"success": []}, r"info.success is \[\], neither a number"),
        (None, {"is_success": False, "success": True}, "is_success is False and info.success is True: declare the one"),
        (None, {}, "signals no success: declare the rule"),
        ("info.done", {"is_success": True}, r"signals no success \(info.done is not there\)"),
    ],
)
def test_a_broken_success_signal_is_an_error_that_says_what_to_declare(rule: str | None, info: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        holds(rule, info)


def test_signals_of_one_value_count() -> None:
    for value in (True, 1, 1.0, np.True_, np.array([True]), np.float32(1)):
        assert holds(None, {"is_success": value})
        assert holds(None, {"is_success": value, "success": 1})
    assert holds("info.success>=0.2", {"success": 0.2})
    assert not holds("info.distance?<0.05", {})  # a missing signal is no distance of 0
    assert holds("info.success", {"is_success": False, "success": True})


def test_a_signal_that_breaks_during_an_episode_names_the_step() -> None:
    env = adapted(Told({"is_success": False}, {}))
    env.reset(seed=4)
    env.step(np.zeros(2, np.float32))
    with pytest.raises(DeclarationError, match=r"mine:Env, step 2 of the episode with seed 4: the environment signals"):
        env.step(np.zeros(2, np.float32))


@pytest.mark.parametrize("signal", [True, float("nan")])
def test_success_in_a_state_that_is_not_finite_is_none(signal: float) -> None:
    class Diverged(Told):
        def step(self, action: np.ndarray) -> Any:
            observed, *rest = super().step(action)
            return {**observed, "agent_pos": np.full(2, np.nan)}, *rest

    env = adapted(Diverged({"is_success": False}, {"is_success": signal}))
    env.reset(seed=4)
    env.step(np.zeros(2, np.float32))
    with pytest.raises(SimulationError, match="step 2 of the episode with seed 4: the state is not finite"):
        env.step(np.zeros(2, np.float32))


class OldReset(Reach):
    def reset(self, **given: Any) -> Any:
        return super().reset(**given)[0]


class OldStep(Reach):
    def step(self, action: np.ndarray) -> Any:
        observed, reward, done, _, info = super().step(action)
        return observed, reward, done, info


@pytest.mark.parametrize(
    ("kind", "text"), [(OldReset, "returned dict instead of"), (OldStep, r"returned 4 values instead of")]
)
def test_an_old_interface_is_named(kind: type[Reach], text: str) -> None:
    with pytest.raises(DeclarationError, match=rf"{text}.*reset must return \(observation, info\), step five values"):
        adapted(kind()).smoke_test()
    with pytest.raises(DeclarationError, match="with info a mapping"):
        adapted(Told(None)).smoke_test()


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_spaces_of_whole_numbers_are_refused(dtype: Any) -> None:
    env = Reach()
    env.action_space = gym.spaces.Box(0, 2, (2,), dtype)
    with pytest.raises(
        UsageError, match=rf"{np.dtype(dtype)}\): policies return fractions, which .* would cut to whole"
    ):
        adapted(env)


def test_commands_outside_the_action_space_are_counted() -> None:
    env = Reach()
    env.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)
    wrapped = adapted(env)
    wrapped.reset(seed=0)
    for command in ([0.5, 1], [1.000001, 0], [57.0, -3], [0, -2]):
        wrapped.step(np.array(command, np.float32))
    found = {"steps": 2, "entry": 0, "value": 57.0, "low": -1.0, "high": 1.0}
    assert wrapped.verdict().detail["outside_action_space"] == found
    wrapped.reset(seed=0)
    assert "outside_action_space" not in wrapped.verdict().detail


def test_ours_count_too_and_unbounded_spaces_never() -> None:
    env = PickEnv()
    env.skip_cameras(True)
    env.reset(seed=0)
    env.step(np.full(6, 90, np.float32))
    assert env.verdict().detail["outside_action_space"]["steps"] == 1
    bounds = CommandBounds(gym.spaces.Box(np.array([-np.inf, 0]), np.array([np.inf, np.inf]), dtype=np.float64))
    bounds.see(np.array([1e9, 5]))
    assert bounds.detail() == {}
    bounds.see(np.array([1e9, -5]))
    assert bounds.detail()["outside_action_space"] == {"steps": 1, "entry": 1, "value": -5.0, "low": 0.0, "high": None}


class Judged(Reach):
    """Says itself how its episodes end."""

    video_cameras = ("top",)

    def verdict(self) -> Verdict:
        return Verdict(outcome="wrong_block" if self.steps > 1 else "missed", detail={"steps": self.steps})

    def remarks(self) -> tuple[str, ...]:
        return ("its own remark",)


def test_the_hooks_of_an_environment_are_its_own() -> None:
    env = adapted(Judged(tells=False))
    env.smoke_test()
    env.reset(seed=0)
    env.step(np.zeros(2, np.float32))
    env.step(np.zeros(2, np.float32))
    verdict = env.verdict()
    assert (verdict.outcome, verdict.detail["steps"], verdict.detail["ended"]) == ("wrong_block", 2, "running")
    assert env.suite_facts()["success"] == "verdict() of the environment"
    assert env.remarks()[-1] == "its own remark"
    assert hooks_of(env).video_cameras == ("top",)
    assert adapted(Judged(), success="terminated").suite_facts()["success"] == "terminated"
