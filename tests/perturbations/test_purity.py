"""The purity check: what differs from the twin is found, and mutants are caught."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import HookedWalk, Walk

from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.perturbations import Perturbation
from act_eval.perturbations.catalogue import AXES
from act_eval.perturbations.images import ImagePerturbation
from act_eval.perturbations.purity import PurityCheck

INPUTS = (
    "observation.images.overhead",
    "observation.images.wrist",
    "observation.state",
    "observation.environment_state",
)
SEEDS = (7, 8)


@pytest.fixture(scope="module")
def env() -> PickEnv:
    return PickEnv(image_size=32, action_noise=0.02)


@pytest.fixture(scope="module")
def check(env: PickEnv) -> PurityCheck:
    return PurityCheck(env, "confuser_pick", INPUTS, SEEDS)


@dataclass
class Darker(ImagePerturbation):
    def image(self, image: Any, camera: str, step: int) -> Any:
        return image // 2


@dataclass
class LeaksIntoGoal(Darker):
    """Darkens images, and writes its severity into the goal."""

    def observation(self, observed: dict[str, Any], step: int) -> dict[str, Any]:
        seen = dict(super().observation(observed, step))
        return {**seen, "environment_state": seen["environment_state"] + np.float32(0.001 * self.severity)}


@dataclass
class LeaksLater(Darker):
    """The same, from the third step on."""

    def observation(self, observed: dict[str, Any], step: int) -> dict[str, Any]:
        seen = dict(super().observation(observed, step))
        return seen if step < 3 else {**seen, "environment_state": seen["environment_state"] + np.float32(0.001)}


@dataclass
class Idle(ImagePerturbation):
    def image(self, image: Any, camera: str, step: int) -> Any:
        return image


@dataclass
class ShiftsNoise(Darker):
    """Draws from the environment's own noise."""

    env: Any = None

    def observation(self, observed: dict[str, Any], step: int) -> dict[str, Any]:
        SHARED["env"]._noise.random()
        return dict(super().observation(observed, step))


@dataclass
class ShiftsDraws(Darker):
    """Draws from the generator that Gymnasium gives every environment."""

    def observation(self, observed: dict[str, Any], step: int) -> dict[str, Any]:
        SHARED["env"].np_random.random()
        return dict(super().observation(observed, step))


@dataclass
class Pushes(Darker):
    """Darkens images, and changes commands."""

    def action(self, command: Any, step: int) -> Any:
        return command + 0.01


SHARED: dict[str, Any] = {}
"""The environment that mutants reach behind its wrapper."""


def test_what_an_image_axis_changes(check: PurityCheck):
    found = check.check((AXES["blur"](2),))
    assert found.observation == ("pixels.overhead", "pixels.wrist")
    assert (found.model, found.command, found.goal, found.initial_states, found.state_checked) == ((), 0, 0, 0, True)
    assert "initial states differ" in str(found)


def test_what_a_command_axis_changes(check: PurityCheck):
    found = check.check((AXES["command_scale"](2), AXES["goal_error"](1)))
    assert (found.observation, found.command, found.goal) == (("environment_state",), True, True)


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("severity", [1, 5])
def test_every_shipped_axis_is_pure(check: PurityCheck, name: str, severity: int):
    part = AXES[name](severity)
    if part.refusal(check.offered) is None:
        assert check.check((part,)).state_checked


@pytest.mark.parametrize(
    ("mutant", "text"),
    [
        (LeaksIntoGoal, "it writes the observation's environment_state"),
        (LeaksLater, "it writes the observation's environment_state"),
        (Pushes, "it changes the commands"),
        (ShiftsNoise, r"random streams of the environment differ: PickEnv\._noise"),
    ],
)
def test_what_is_not_declared_is_named(check: PurityCheck, env: PickEnv, mutant: type[Perturbation], text: str):
    SHARED["env"] = env
    with pytest.raises(UsageError, match=rf"changes more than it declares: .*{text}.*\(declared: pixels\)"):
        check.check((mutant(3),))


def test_what_changes_nothing_is_refused(check: PurityCheck):
    with pytest.raises(UsageError, match=r"idle=3 changes nothing this policy sees.*observation\.state"):
        check.check((Idle(3),))


def test_an_input_that_the_policy_does_not_declare_is_nothing(env: PickEnv):
    blind = PurityCheck(env, "confuser_pick", ("observation.state",), SEEDS)
    with pytest.raises(UsageError, match=r"blur=5 changes nothing this policy sees .*its inputs: observation\.state"):
        blind.check((AXES["blur"](5),))
    assert blind.check((AXES["joint_bias"](1),)).observation == ("agent_pos",)


def test_the_expert_sees_the_simulation_alone(env: PickEnv):
    expert = PurityCheck(env, "confuser_pick", (), SEEDS)
    with pytest.raises(UsageError, match="the simulator's state alone"):
        expert.check((AXES["joint_noise"](5),))
    assert expert.check((AXES["command_noise"](5),)).command


def test_an_environment_of_others_is_checked_by_its_vectors():
    env = Walk()
    inputs = ("observation.images.top", "observation.state")
    check = PurityCheck(env, "walk", inputs, SEEDS)
    assert check.check((AXES["brightness"](3),)).observation == ("pixels.top",)
    SHARED["env"] = env
    with pytest.raises(UsageError, match=r"random streams of the environment differ: Walk\._np_random"):
        check.check((ShiftsDraws(3),))


def test_an_environment_without_a_goal_is_named():
    class NoGoal(HookedWalk):
        def __init__(self) -> None:
            super().__init__()
            entries = dict(self.observation_space.spaces.items())  # pyright: ignore[reportAttributeAccessIssue]
            del entries["environment_state"]
            self.observation_space = gym.spaces.Dict(entries)

        def observed(self) -> dict[str, Any]:
            return {name: value for name, value in super().observed().items() if name != "environment_state"}

    check = PurityCheck(NoGoal(), "walk", ("observation.state",), SEEDS)
    with pytest.raises(UsageError, match=r"goal_error=1: walk has no goal input"):
        check.check((AXES["goal_error"](1),))


def test_a_start_that_the_seed_does_not_decide_is_said():
    class Unseeded(HookedWalk):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return super().reset(seed=None)

    found = PurityCheck(Unseeded(), "walk", ("observation.state",), SEEDS).check((AXES["joint_bias"](2),))
    assert not found.state_checked
    assert "not comparable" in str(found)
