"""An evaluation of an environment or policy that is not what it seems: refused by name, or said beside the rate."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from foreign_envs import Reach

import act_eval
from act_eval.cli import main
from act_eval.results.run import read_run


class Signals(Reach):
    """Tells success as the class says."""

    def told(self, near: bool) -> dict[str, Any]:
        raise NotImplementedError

    def step(self, action: np.ndarray) -> Any:
        observed, reward, terminated, truncated, info = super().step(action)
        return observed, reward, terminated, truncated, self.told(info["is_success"])


class Fraction(Signals):
    def told(self, near: bool) -> dict[str, Any]:
        return {"success": 0.2}


class NotANumber(Signals):
    def told(self, near: bool) -> dict[str, Any]:
        return {"is_success": float("nan")}


class LacksLast(Signals):
    """The last step of an episode that fails has an empty info."""

    def told(self, near: bool) -> dict[str, Any]:
        return {} if self.steps == 2 and not near else {"is_success": near}


class Old(Reach):
    def reset(self, **given: Any) -> Any:
        return super().reset(**given)[0]


class Whole(Reach):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-10, 10, (2,), np.int32)


class Bounded(Reach):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)

    def step(self, action: np.ndarray) -> Any:
        return super().step(np.clip(action, -1, 1))


class Diverges(Reach):
    """Its state is no longer finite after a command that is too far."""

    def step(self, action: np.ndarray) -> Any:
        observed, reward, *rest = super().step(action)
        if np.abs(action).max() > 3:
            observed["agent_pos"] = np.full(2, np.nan)
        return observed, reward, *rest


class AlreadyThere(Reach):
    def reset(self, **given: Any) -> Any:
        _, info = super().reset(**given)
        self.position = self.goal.copy()
        return self._observed(), info


class Goes:
    """Commands the goal, times a scale where the goal is on the left."""

    chunk, action_dim = 8, 2
    inputs = {"observation.state": (2,), "observation.environment_state": (2,)}  # noqa: RUF012
    left = right = 1.0

    def predict(self, observation: Any) -> np.ndarray:
        goal = observation["observation.environment_state"]
        return np.repeat(goal[None] * (self.left if goal[0] < 0 else self.right), 8, axis=0)


class Wild(Goes):
    left = 50.0


class Degrees(Goes):
    left = right = 57.3


def evaluate(out: Path, env: type[Reach], policy: type[Goes] = Goes) -> int:
    words = ["--policy", f"{__name__}:{policy.__name__}", "--env", f"{__name__}:{env.__name__}", "--out", str(out)]
    words += ["--episodes", "8", "--horizon", "20", "--delay", "0", "--video", "none", "--no-probe", "--workers", "1"]
    return main(["evaluate", *words])


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (Fraction, 'info.success is 0.2, neither 0 nor 1: declare a comparison, as in --success "info.success>=1"'),
        (NotANumber, "info.is_success is NaN"),
        (LacksLast, "step 2 of the episode with seed"),
        (Old, "reset must return (observation, info), step five values"),
        (Whole, "policies return fractions, which int32 would cut to whole numbers"),
    ],
)
def test_a_broken_declaration_stops_the_run(tmp_path: Path, capsys, env: type[Reach], text: str) -> None:
    assert evaluate(tmp_path / "run", env) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert "success  " not in printed.out


def test_a_divergence_is_printed_as_a_failure_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "run", Diverges, Wild) == 0
    records = read_run(tmp_path / "run").conditions["naive_d0_s4"].records
    outcomes = [record.outcome for record in records]
    assert {"success", "invalid"} == set(outcomes)
    printed = capsys.readouterr().out
    right = outcomes.count("success")
    assert f"{right}/{right} = 1.00" in printed
    assert f"{right}/8 = {right / 8:.2f}" in printed
    assert f"{right}/8 = {right / 8:.2f}" in str(act_eval.load_run(tmp_path / "run"))


def test_commands_in_other_units_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "run", Bounded, Degrees) == 0
    note = r"100 % of the commands lie outside the action space (entry"
    assert note in capsys.readouterr().out
    run = act_eval.load_run(tmp_path / "run")
    assert note in str(run)
    assert note in run._repr_html_()
    detail = run.conditions["naive_d0_s4"].records[0].detail["outside_action_space"]
    assert abs(detail["value"]) > 1
    assert (detail["low"], detail["high"]) == (-1, 1)


def test_success_at_the_first_step_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "run", AlreadyThere) == 0
    assert "8 of 8 episodes succeeded at their first step: success may hold at reset" in capsys.readouterr().out
