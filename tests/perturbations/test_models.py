"""Perturbations of MuJoCo models and of the built-in scenes, and whose models are reached."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from act_eval.envs.adapters.dm_suite import DmControlEnv
from act_eval.envs.expert import Expert
from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.perturbations import Perturbation, perturbed
from act_eval.perturbations.catalogue import AXES
from act_eval.perturbations.images import ImagePerturbation
from act_eval.perturbations.purity import PurityCheck
from act_eval.perturbations.simulation import model_fields, simulation_of
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.types.scene import Variation

INPUTS = ("observation.images.overhead", "observation.images.wrist", "observation.state")
PHYSICAL = ("mass", "friction", "damping", "actuator_gain")


@dataclass
class LightAndSecretly(ImagePerturbation):
    """Declares lights, and makes the blocks heavier too."""

    writes = ("model.light_diffuse",)

    def observation(self, observed: dict[str, Any], step: int) -> dict[str, Any]:
        return observed

    def change_model(self, model: Any) -> None:
        model.light_diffuse[:] *= 0.5
        model.body_mass[:] *= 2


@dataclass
class Relabels(Perturbation):
    """Declares a camera, and turns it into another environment's start by its state."""

    writes = ("model.cam_pos",)

    def change_model(self, model: Any) -> None:
        model.cam_pos[:] += 0.01

    def variation(self) -> Variation:
        return Variation(joints=(0.1,) * 5)


@pytest.mark.parametrize(
    ("mutant", "text"),
    [(LightAndSecretly, r"it changes model\.body_mass"), (Relabels, "2 of 2 initial states differ")],
)
def test_what_a_model_mutant_does_beyond_its_declaration_is_named(mutant: type[Perturbation], text: str):
    env = PickEnv(image_size=16)
    check = PurityCheck(env, "confuser_pick", INPUTS, (7, 8))
    with pytest.raises(UsageError, match=text):
        check.check((mutant(2),))
    assert check.check((AXES["camera_fov"](2),)).model == ("model.cam_fovy",)  # nothing is left behind


def test_environments_of_a_process_do_not_share_a_perturbed_model():
    one, other = PickEnv(image_size=16), PickEnv(image_size=16)
    shared = compile_scene(SceneConfig())
    before = {name: value.copy() for name, value in model_fields(shared.model).items()}
    plain, _ = other.reset(seed=3)
    with perturbed([one], (AXES["light_strength"](5), AXES["mass"](5))) as (dark,):
        seen, _ = dark.reset(seed=3)
        again, _ = other.reset(seed=3)
    assert (seen["pixels"]["wrist"] != plain["pixels"]["wrist"]).any()
    np.testing.assert_array_equal(again["pixels"]["wrist"], plain["pixels"]["wrist"])
    for name, value in model_fields(shared.model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_render_of_an_ended_episode_shows_its_own_model():
    env = PickEnv(image_size=16)
    with perturbed([env], (AXES["light"](5), AXES["distractors"](3))) as (one,):
        one.reset(seed=5)
        state, first = env.simulator_state(), env.render_state(env.simulator_state(), "overhead", 48, 48)
        one.reset(seed=6)
        now = env.render_state(env.simulator_state(), "overhead", 48, 48)
        with one.shown(5):  # pyright: ignore[reportAttributeAccessIssue]
            np.testing.assert_array_equal(env.render_state(state, "overhead", 48, 48), first)
        np.testing.assert_array_equal(env.render_state(env.simulator_state(), "overhead", 48, 48), now)
        before = env.simulator_state()
        one.step(np.array([0.1, -0.5, 0.5, 0.9, 0.0, 1.0], np.float32))  # the running episode goes on
        assert (env.simulator_state() != before).any()
    assert (first != now).any()


@pytest.mark.parametrize("name", ["distractors", "block_size", "table_height", "start_pose", "tray_place"])
def test_the_expert_solves_a_varied_scene(name: str):
    """Outcome rules and expert follow the scene: a block rests in the tray wherever the tray is."""
    env = PickEnv(image_size=16, confusers=0)
    env.skip_cameras(True)
    successes = 0
    with perturbed([env], (AXES[name](3),)) as (one,):
        for seed in (1, 2, 3):
            one.reset(seed=seed)
            expert = Expert(env)
            ended = False
            for _ in range(200):
                _, _, ended, _, _ = one.step(expert.act())
                if ended:
                    break
            successes += ended and env.verdict().outcome == "success"
    assert successes >= 2


def test_a_variation_of_nothing_is_the_plain_scene():
    plain = compile_scene(SceneConfig())
    varied = plain.varied(Variation())
    for name, value in model_fields(varied.model).items():
        np.testing.assert_array_equal(value, model_fields(plain.model)[name], err_msg=name)


@pytest.mark.parametrize("name", ["light", "geom_colour", *PHYSICAL[:1], "damping", "actuator_gain"])
def test_the_model_of_dm_control_is_reached(name: str):
    env = DmControlEnv("cartpole/balance", cameras=(0,), image_size=24)
    found = simulation_of(env)
    assert found is not None
    assert isinstance(found[0], mujoco.MjModel)
    from act_eval.envs.adapters import AdaptedEnv, Declaration
    from act_eval.envs.adapters.dm_suite import default_config

    adapted = AdaptedEnv(env, Declaration(success="reward>=0.9").over(default_config(env)), "cartpole")
    check = PurityCheck(adapted, "cartpole", ("observation.images.camera_0", "observation.state"), (1, 2))
    purity = check.check((AXES[name](4),))
    assert purity.model
    assert purity.initial_states == 0
    assert purity.state_checked


def test_gymnasiums_model_is_reached():
    env = gym.make("InvertedPendulum-v5")
    found = simulation_of(env)
    assert found is not None
    assert found[0] is env.unwrapped.model  # pyright: ignore[reportAttributeAccessIssue]
    env.close()


def test_an_environment_without_a_model_says_so():
    env = gym.make("CartPole-v1")
    check = PurityCheck(env, "CartPole-v1", ("observation.state",), (1,))
    with pytest.raises(UsageError, match="light=2: the MuJoCo model of CartPole-v1 cannot be reached"):
        check.check((AXES["light"](2),))
    with pytest.raises(UsageError, match="CartPole-v1 is no built-in environment"):
        check.check((AXES["table_height"](2),))
