"""The shipped axes: deterministic from the seed, stronger with severity, and nothing else moves."""

import numpy as np
import pytest
from toy_envs import HookedWalk

from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.perturbations import Perturbation, PerturbedEnv, perturbed
from act_eval.perturbations.catalogue import AXES
from act_eval.types.env_hooks import hooks_of

SEED = 1234
IMAGES = [name for name, kind in AXES.items() if kind.writes == ("pixels",)]
OFFERED = [name for name in AXES if name != "geom_texture"]  # the built-in scenes are plain
UNSEEN = ("rate_jitter", "friction")  # of a constant command without a contact
OBSERVED = [name for name, kind in AXES.items() if {*kind.writes} <= {"pixels", "agent_pos", "environment_state"}]
LATE = ("dropped_frames", "late_frames", "joint_delay")
COMMAND = np.array([0.2, -0.6, 0.5, 0.9, 0.1, 1.0], np.float32)


@pytest.fixture(scope="module")
def env() -> PickEnv:
    return PickEnv(image_size=32, action_noise=0.01)


@pytest.fixture(scope="module")
def plain(env: PickEnv) -> list:
    """An episode before any perturbation."""
    return watched(env, (), 3)


def watched(env: PickEnv, parts: tuple[Perturbation, ...], steps: int = 6, every: int = 1, seed: int = SEED) -> list:
    """Return the observations of an episode of one command, images at every `every`-th step alone, and the states."""
    found = []
    with perturbed([env], parts) as (one,):
        hooks = hooks_of(one)
        assert hooks.skip_cameras is not None
        hooks.skip_cameras(False)
        observed, _ = one.reset(seed=seed)
        found.append((observed, env.simulator_state()))
        for step in range(1, steps + 1):
            hooks.skip_cameras(step % every != 0)
            observed, *_ = one.step(COMMAND)
            found.append((observed, env.simulator_state()))
    return found


def difference(one: dict, other: dict) -> float:
    pixels = [np.abs(one["pixels"][c].astype(float) - other["pixels"][c]).mean() for c in one["pixels"]]
    vectors = [np.abs(one[name] - other[name]).mean() for name in ("agent_pos", "environment_state")]
    return float(sum(pixels) + sum(vectors))


@pytest.mark.parametrize("name", OFFERED)
def test_an_axis_depends_on_the_seed_alone_and_leaves_nothing_behind(env: PickEnv, plain: list, name: str):
    parts = (AXES[name](3),)
    first, again, other = (watched(env, parts, 3, seed=seed) for seed in (SEED, SEED, SEED + 1))
    for (one, state), (two, same) in zip(first, again, strict=True):
        assert difference(one, two) == 0
        np.testing.assert_array_equal(state, same)
    assert any(difference(one, two) > 0 for (one, _), (two, _) in zip(first, other, strict=True))
    for (one, state), (two, same) in zip(watched(env, (), 3), plain, strict=True):
        assert difference(one, two) == 0  # nothing is left behind
        np.testing.assert_array_equal(state, same)


@pytest.mark.parametrize("name", IMAGES)
def test_images_do_not_depend_on_which_are_read(env: PickEnv, name: str):
    parts = (AXES[name](4),)
    every, third = watched(env, parts), watched(env, parts, every=3)
    for step in (0, 3, 6):
        assert difference(every[step][0], third[step][0]) == 0


@pytest.mark.parametrize("name", [name for name in OFFERED if name not in (*LATE, *UNSEEN)])
def test_a_severity_changes_more_than_the_one_below(env: PickEnv, name: str):
    def effect(severity: int) -> float:
        pairs = [(watched(env, (AXES[name](severity),), 3, 3, s), watched(env, (), 3, 3, s)) for s in range(4)]
        shown = sum(difference(a, b) for one, two in pairs for (a, _), (b, _) in zip(one[::3], two[::3], strict=True))
        return shown + sum(np.abs(one[-1][1] - two[-1][1]).sum() for one, two in pairs)

    assert 0 <= effect(1) < effect(5)


@pytest.mark.parametrize("name", OBSERVED)
def test_an_observed_change_leaves_the_simulation_alone(env: PickEnv, name: str):
    for (_, state), (_, plain) in zip(watched(env, (AXES[name](5),)), watched(env, ()), strict=True):
        np.testing.assert_array_equal(state, plain)


def test_late_frames_are_the_frames_of_steps_ago(env: PickEnv):
    plain, late = watched(env, ()), watched(env, (AXES["late_frames"](2),))
    for step, (observed, _) in enumerate(late):
        expected = plain[max(0, step - 2)][0]["pixels"]
        np.testing.assert_array_equal(observed["pixels"]["wrist"], expected["wrist"])
        np.testing.assert_array_equal(observed["agent_pos"], plain[step][0]["agent_pos"])


def test_joint_delay_shows_the_joints_of_steps_ago(env: PickEnv):
    plain, late = watched(env, ()), watched(env, (AXES["joint_delay"](3),))
    for step, (observed, _) in enumerate(late):
        np.testing.assert_array_equal(observed["agent_pos"], plain[max(0, step - 3)][0]["agent_pos"])


def test_a_dropped_frame_repeats_the_last_one_received(env: PickEnv):
    plain, found = watched(env, (), 40), watched(env, (AXES["dropped_frames"](3),), 40)
    shown = [one["pixels"]["wrist"].tobytes() for one, _ in found]
    sent = [one["pixels"]["wrist"].tobytes() for one, _ in plain]
    assert shown[0] == sent[0]
    dropped = [step for step in range(1, 41) if shown[step] != sent[step]]
    assert all(shown[step] == shown[step - 1] for step in dropped)
    assert 8 <= len(dropped) <= 32


def test_a_joint_error_has_its_size(env: PickEnv):
    plain, biased = watched(env, ()), watched(env, (AXES["joint_bias"](3),))
    gaps = np.array([one["agent_pos"] - two["agent_pos"] for (one, _), (two, _) in zip(biased, plain, strict=True)])
    np.testing.assert_allclose(np.abs(gaps), 0.04, atol=1e-6)
    assert (gaps == gaps[0]).all() or np.ptp(gaps, axis=0).max() < 1e-6


def test_a_goal_error_has_its_length(env: PickEnv):
    one, two = watched(env, (AXES["goal_error"](4),)), watched(env, ())
    gap = one[0][0]["environment_state"] - two[0][0]["environment_state"]
    assert np.linalg.norm(gap) == pytest.approx(0.03, abs=1e-6)


def test_commands_stay_in_the_action_space(env: PickEnv):
    with perturbed([env], (AXES["command_offset"](5),)) as (one,):
        assert isinstance(one, PerturbedEnv)
        one.reset(seed=SEED)
        assert env.action_space.contains(one.received(env.action_space.high))
        beyond = env.action_space.high + 1  # the policy's own fault stays visible
        assert not env.action_space.contains(one.received(beyond))


def test_a_missed_command_lets_the_one_before_run():
    with perturbed([HookedWalk()], (AXES["rate_jitter"](5),)) as (one,):
        assert isinstance(one, PerturbedEnv)
        one.reset(seed=SEED)
        ran = [float(one.received(np.full(2, step / 100, np.float32))[0]) * 100 for step in range(60)]
    assert ran[0] == 0
    missed = [step for step in range(1, 60) if round(ran[step]) != step]
    assert all(ran[step] == ran[step - 1] for step in missed)
    assert 15 <= len(missed) <= 45


def test_a_perturbed_environment_needs_a_seed(env: PickEnv):
    with (
        perturbed([env], (AXES["blur"](1),)) as (one,),
        pytest.raises(UsageError, match="needs the episode's seed"),
    ):
        one.reset()


@pytest.mark.parametrize("severity", [0, 6, 2.5, True, "3"])
def test_a_severity_is_one_of_five(severity: object):
    with pytest.raises(UsageError, match=r"severity is .*; there are: 1, 2, 3, 4, 5"):
        AXES["blur"](severity)  # pyright: ignore[reportArgumentType]


def test_images_that_are_compressed_together_are_those_compressed_alone(env: PickEnv):
    pixels = watched(env, (), 1)[-1][0]["pixels"]
    axis = AXES["jpeg"](4)
    together = axis.observation({"pixels": pixels}, 0)["pixels"]
    for name, image in pixels.items():
        np.testing.assert_array_equal(together[name], axis.image(image, name, 0))
        assert (together[name] != image).any()
