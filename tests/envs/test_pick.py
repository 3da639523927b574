"""The environments: Gymnasium's contract, seeds, options, hooks, and the outcomes of scripted episodes."""

import multiprocessing
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.passive_env_checker import env_render_passive_checker

from act_eval.envs.dynamic import DRIFT_SPEED
from act_eval.envs.expert import Expert
from act_eval.envs.layout import click_errors, sample_blocks
from act_eval.envs.pick import PickEnv
from act_eval.envs.registration import ENVIRONMENTS, env_id, make
from act_eval.errors import ActionError, SimulationError, UnknownName, UsageError
from act_eval.scenes.arm import GRIPPER_CLOSED, GRIPPER_OPEN, HOME
from act_eval.scenes.workspace import BLOCKS, CONTROL_HZ, HORIZON, MIN_SEPARATION, TRAY

SEED = 7


def fingerprint(env, seed, steps=12):
    """Everything an episode shows in its first steps, with a fixed wiggle as policy, as bytes."""
    observation, _ = env.reset(seed=seed)
    seen = []
    for step in range(steps):
        seen += [image.tobytes() for image in observation["pixels"].values()]
        seen += [observation["agent_pos"].tobytes(), observation["environment_state"].tobytes()]
        command = np.array(HOME, np.float32) + 0.1 * np.sin(0.7 * step + np.arange(6, dtype=np.float32))
        observation, *_ = env.step(command.astype(np.float32))
    return b"".join(seen)


def fingerprint_elsewhere(seed):
    return fingerprint(PickEnv(action_noise=0.05), seed)


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_gymnasiums_checker_accepts_every_environment_without_a_warning(name):
    made = gym.make(env_id(name), render_mode="rgb_array")
    assert made.spec.max_episode_steps == HORIZON
    env = made.unwrapped
    with warnings.catch_warnings():
        # The one exception: commands are joint angles [rad], and Gymnasium's own MuJoCo environments get this too.
        warnings.filterwarnings("ignore", ".*recommend using a symmetric and normalized space", UserWarning)
        check_env(env, skip_render_check=True)  # it would make a window for render mode "human"
    env_render_passive_checker(env)


def test_state_observations_hold_everything_that_moves_and_no_images():
    env = make(env_id("moving_pick-v0"), {"obs_type": "state"}).unwrapped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*recommend using a symmetric and normalized space", UserWarning)
        check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=SEED)
    expert, before = Expert(env), env.privileged()
    assert list(observation) == ["agent_pos", "environment_state"]
    assert not observation["environment_state"][4:].any()  # nothing moves at reset
    for _ in range(8):
        observation, *_ = env.step(expert.act())
        now, state = env.privileged(), observation["environment_state"]
        assert state[:4] == pytest.approx([*now.target_pos, now.target_yaw])
        assert state[4:7] == pytest.approx((now.target_pos - before.target_pos) * CONTROL_HZ, abs=1e-6)
        before = now
    assert state[5] == pytest.approx(DRIFT_SPEED, rel=0.01)
    joints = env._data.qpos[env._scene.joint_qpos].copy()
    observation, *_ = env.step(expert.act())
    moved = (observation["agent_pos"] - joints) * CONTROL_HZ
    velocities = observation["environment_state"][7:]  # at the end of the step, in which the joints moved by `moved`
    assert velocities == pytest.approx(env._data.qvel[env._scene.joint_qvel])
    assert (np.sign(velocities) == np.sign(moved)).all()


def test_state_observations_are_of_the_same_episode_as_images():
    sees, state = PickEnv(action_noise=0.05), PickEnv(action_noise=0.05, obs_type="state")
    for env in (sees, state):
        env.reset(seed=SEED)
    for command in np.random.default_rng(0).uniform(-0.3, 0.3, (10, 6)).astype(np.float32) + np.float32(HOME):
        first, second = sees.step(command)[0], state.step(command)[0]
        assert (first["agent_pos"] == second["agent_pos"]).all()
        assert (first["environment_state"] == second["environment_state"][:2]).all()


def test_state_observations_need_exact_and_right_goal_inputs():
    with pytest.raises(UsageError, match="goal_input is 'click'; it needs goal_input='exact'"):
        PickEnv(obs_type="state", goal_input="click")
    with pytest.raises(UsageError, match=r"label_noise is 0\.2; it needs label_noise=0"):
        PickEnv(obs_type="state", label_noise=0.2)
    with pytest.raises(UnknownName, match="obs_type"):
        PickEnv(obs_type="pixels")


def test_module_prefixed_id_registers_by_itself():
    assert gym.make("act_eval.envs:act_eval/Pick-v0").unwrapped.options.confusers == 0


def test_an_episode_is_the_same_alone_in_a_batch_in_any_order_and_in_another_process():
    alone = fingerprint(PickEnv(action_noise=0.05), SEED)
    batch = [PickEnv(action_noise=0.05) for _ in range(3)]
    assert [fingerprint(env, seed) for env, seed in zip(batch, (1, SEED, 2), strict=True)][1] == alone
    fingerprint(batch[0], 99)
    assert fingerprint(batch[0], SEED) == alone
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fingerprint_elsewhere, (SEED,)) == alone


def test_interleaved_episodes_do_not_disturb_each_other():
    wanted = [fingerprint(PickEnv(action_noise=0.05), seed, steps=6) for seed in (1, 2)]
    envs = [PickEnv(action_noise=0.05) for _ in range(2)]
    observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, (1, 2), strict=True)]
    seen = [b"", b""]
    for step in range(6):
        command = np.array(HOME, np.float32) + 0.1 * np.sin(0.7 * step + np.arange(6, dtype=np.float32))
        for i, env in enumerate(envs):
            o = observations[i]
            seen[i] += b"".join(image.tobytes() for image in o["pixels"].values())
            seen[i] += o["agent_pos"].tobytes() + o["environment_state"].tobytes()
            observations[i] = env.step(command.astype(np.float32))[0]
    assert seen == wanted


def test_unseeded_resets_give_new_episodes_and_seeded_ones_the_same():
    env = PickEnv()
    first = env.reset(seed=3)[0]["environment_state"]
    drawn = [tuple(env.reset()[0]["environment_state"]) for _ in range(3)]
    assert len(set(drawn)) == 3
    assert np.array_equal(env.reset(seed=3)[0]["environment_state"], first)


def test_layouts_keep_their_distance_and_cover_the_workspace():
    rng = np.random.default_rng(0)
    poses = np.array([sample_blocks(rng, 2, 0.35) for _ in range(2000)])
    assert BLOCKS.contains(poses[:, :, :2]).all()
    assert np.linalg.norm(poses[:, 0, :2] - poses[:, 1, :2], axis=1).min() >= MIN_SEPARATION
    spread = np.ptp(poses[:, 0, :2], axis=0) / np.subtract(BLOCKS.high, BLOCKS.low)
    assert (spread > 0.98).all()


def test_the_goal_input_is_that_of_the_option():
    goals = {c: PickEnv(goal_input=c).reset(seed=SEED)[0]["environment_state"] for c in ("exact", "confuser", "none")}
    env = PickEnv()
    env.reset(seed=SEED)
    detail = env.verdict().detail
    assert goals["exact"] == pytest.approx(detail["target_xy"])
    assert goals["confuser"] == pytest.approx(detail["confuser_xy"][0])
    assert goals["none"] == pytest.approx(BLOCKS.centre)
    random = PickEnv(goal_input="random")
    first = random.reset(seed=SEED)[0]["environment_state"]
    assert np.array_equal(random.step(np.array(HOME, np.float32))[0]["environment_state"], first)
    assert not np.array_equal(first, random.reset(seed=SEED + 1)[0]["environment_state"])


def test_swapping_the_blocks_exchanges_their_places_and_nothing_else():
    plain, swapped = PickEnv(), PickEnv(swap_blocks=True)
    plain.reset(seed=SEED)
    observation, _ = swapped.reset(seed=SEED)
    a, b = plain.verdict().detail, swapped.verdict().detail
    assert b["target_xy"] == pytest.approx(a["confuser_xy"][0])
    assert b["confuser_xy"][0] == pytest.approx(a["target_xy"])
    assert np.array_equal(observation["agent_pos"], plain.reset(seed=SEED)[0]["agent_pos"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"goal_input": "exakt"},
            "unknown goal_input 'exakt'; there are: click, confuser, exact, none, random. Did you mean",
        ),
        ({"goal_input": "confuser", "confusers": 0}, "goal_input='confuser' needs a confuser"),
        ({"swap_blocks": True, "confusers": 0}, "swap_blocks needs a confuser"),
        ({"image_size": 4}, "image_size is 4; 8 to 1280 pixels are allowed"),
        ({"action_noise": -0.1}, "action_noise is -0.1 rad; 0 to 1 are allowed"),
        ({"gripper_faults": 1.5}, "gripper_faults is 1.5; it is a probability per step, 0 to 1"),
        ({"confusers": 4}, "confusers is 4; 0 to 3 are allowed"),
        ({"image_sise": 64}, "unknown option of the environment 'image_sise'; there are: action_noise, confusers, "),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'"),
    ],
)
def test_bad_options_are_refused_by_name(options, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        PickEnv(**options)


def test_unknown_environment_lists_those_that_exist():
    with pytest.raises(UnknownName, match=r"unknown environment 'picks'; there are: .*pick.* Did you mean 'pick'\?"):
        env_id("picks")


def test_coloured_confusers_look_different_and_image_size_is_kept():
    images = [PickEnv(identical=i, image_size=64).reset(seed=SEED)[0]["pixels"]["overhead"] for i in (True, False)]
    assert images[0].shape == (64, 64, 3)
    assert not np.array_equal(images[0], images[1])


def test_skipped_cameras_repeat_the_last_images_and_change_no_physics():
    looking, mask_images = PickEnv(), PickEnv()
    first = mask_images.reset(seed=SEED)[0]["pixels"]["overhead"]
    looking.reset(seed=SEED)
    mask_images.skip_cameras(True)
    command = np.array(HOME, np.float32) + np.float32(0.2)
    for _ in range(4):
        seen, stale = looking.step(command)[0], mask_images.step(command)[0]
    assert np.array_equal(stale["pixels"]["overhead"], first)
    assert np.array_equal(seen["agent_pos"], stale["agent_pos"])
    mask_images.skip_cameras(False)
    assert np.array_equal(mask_images.step(command)[0]["pixels"]["wrist"], looking.step(command)[0]["pixels"]["wrist"])


def test_a_logged_state_renders_as_it_was_seen():
    env = PickEnv()
    observation, _ = env.reset(seed=SEED)
    for _ in range(5):
        observation, *_ = env.step(np.array(HOME, np.float32) + np.float32(0.1))
    state = env.simulator_state()
    for _ in range(3):
        env.step(np.array(HOME, np.float32))
    before = env.simulator_state()
    for camera, image in observation["pixels"].items():
        assert np.array_equal(env.render_state(state, camera, 96, 96), image)
    assert np.array_equal(env.simulator_state(), before)


def test_a_slip_makes_the_gripper_do_the_opposite_for_a_while_and_leaves_the_command_clean():
    env = PickEnv(gripper_faults=1.0)
    env.reset(seed=SEED)
    command = np.array([*HOME[:5], GRIPPER_OPEN], np.float32)
    for _ in range(12):
        observation, *_ = env.step(command)
    assert observation["agent_pos"][5] < 0.3
    assert (np.array(env._log.commands)[:, 5] == np.float32(GRIPPER_OPEN)).all()
    obedient = PickEnv(gripper_faults=0.0)
    obedient.reset(seed=SEED)
    for _ in range(12):
        observation, *_ = obedient.step(command)
    assert observation["agent_pos"][5] > 0.6


def test_bad_actions_are_refused_and_leave_the_episode_as_it_was():
    env = PickEnv()
    env.reset(seed=SEED)
    before = env.simulator_state()
    with pytest.raises(ActionError, match=r"action is not finite: \[nan"):
        env.step(np.full(6, np.nan, np.float32))
    with pytest.raises(ActionError, match=r"action has shape \(5,\); expected \(6,\): shoulder_pan"):
        env.step(np.zeros(5, np.float32))
    assert np.array_equal(env.simulator_state(), before)


def test_broken_physics_is_an_error_of_the_simulation():
    env = PickEnv()
    env.reset(seed=SEED)
    env._data.qvel[:] = np.inf
    with pytest.raises(SimulationError, match="physics is no longer finite at t ="):
        env.step(np.array(HOME, np.float32))


def test_stepping_before_reset_is_refused():
    with pytest.raises(UsageError, match=re.escape("step() was called before reset()")):
        PickEnv().step(np.array(HOME, np.float32))


class PlaceOf:
    """A privileged view in which something else passes for the target: what a mistaken policy would do."""

    def __init__(self, env, pose):
        self._env, self._pose = env, pose

    def privileged(self):
        return self._pose(self._env)


def run(env, act, steps=HORIZON):
    for _ in range(steps):
        *_, terminated, _, _ = env.step(act())
        if terminated:
            return env.verdict(), True
    return env.verdict(), False


def test_expert_to_the_target_succeeds_and_ends_the_episode():
    env = PickEnv()
    env.reset(seed=SEED)
    verdict, ended = run(env, Expert(env).act)
    assert (verdict.outcome, ended) == ("success", True)
    assert abs(verdict.grasp_choice) < 0.25


def test_expert_to_the_confuser_is_wrong_block_and_ends_the_episode():
    env = PickEnv()
    env.reset(seed=SEED)
    verdict, ended = run(env, Expert(PlaceOf(env, as_if_confuser)).act)
    assert (verdict.outcome, ended) == ("wrong_block", True)
    assert verdict.grasp_choice == pytest.approx(1, abs=0.25)


def test_expert_to_the_midpoint_closes_between():
    env = PickEnv()
    env.reset(seed=SEED)
    detail = env.verdict().detail
    midpoint = (np.array(detail["target_xy"]) + np.array(detail["confuser_xy"][0])) / 2
    verdict, ended = run(env, Expert(PlaceOf(env, lambda e: seen_at(e, midpoint))).act)
    assert (verdict.outcome, ended) == ("between", False)
    assert verdict.grasp_choice == pytest.approx(0.5, abs=0.2)


def test_opening_in_transport_is_dropped():
    env = PickEnv()
    env.reset(seed=0)  # a target far from the tray
    expert = Expert(env)

    def act():
        command = expert.act()
        if act.stop is None and env.privileged().target_pos[2] > 0.043:  # the target is on its way
            act.stop = np.array([*command[:5], GRIPPER_OPEN], np.float32)
        return command if act.stop is None else act.stop

    act.stop = None
    verdict, _ = run(env, act)
    assert verdict.outcome == "dropped"


def test_placing_without_release_is_no_success():
    env = PickEnv()
    env.reset(seed=SEED)
    expert = Expert(env)

    def act():
        command = expert.act()
        if TRAY.contains(env.privileged().target_pos[:2]) and env.privileged().target_pos[2] < 0.025:
            command = np.array([*env.privileged().joints[:5], GRIPPER_CLOSED], np.float32)
        return command

    verdict, ended = run(env, act)
    assert (verdict.outcome, ended) == ("timeout", False)


def test_no_motion_is_a_timeout():
    env = PickEnv()
    env.reset(seed=SEED)
    assert run(env, lambda: np.array(HOME, np.float32))[0].outcome == "timeout"


def as_if_confuser(env):
    env._target = 1
    try:
        return env.privileged()
    finally:
        env._target = 0


def seen_at(env, place):
    from dataclasses import replace

    now = env.privileged()
    return replace(now, target_pos=np.array([*place, 0.0125]), target_yaw=0.0, target_touched=False)


def clicks(name, seed, steps, **options):
    """The goal inputs (steps + 1, 2) and the target's places of an episode in which the arm stays where it is."""
    env = make(env_id(name), {"image_size": 8, **options}).unwrapped
    observation, _ = env.reset(seed=seed)
    goals, places = [observation["environment_state"]], [env.privileged().target_pos[:2].copy()]
    for _ in range(steps):
        observation, *_ = env.step(observation["agent_pos"])
        goals.append(observation["environment_state"])
        places.append(env.privileged().target_pos[:2].copy())
    return np.array(goals), np.array(places)


def test_a_click_misses_the_target_by_a_cut_off_normal_error():
    errors = click_errors(np.random.default_rng(0), 20_000)
    lengths = np.linalg.norm(errors, axis=1)
    assert lengths.max() <= 0.030
    radius = 0.030 / 0.015  # cut off at this many deviations: E r² of a Rayleigh length below it, in closed form
    tail = np.exp(-(radius**2) / 2)
    expected = 2 * 0.015**2 * (1 - tail * (1 + radius**2 / 2)) / (1 - tail)
    assert (lengths**2).mean() == pytest.approx(expected, rel=0.02)
    assert errors.mean(axis=0) == pytest.approx([0, 0], abs=4e-4)


def test_a_click_stays_where_it_was_while_the_block_drifts():
    goals, places = clicks("moving_pick-v1", 3, 20)
    assert (goals == goals[0]).all()
    assert 0 < np.linalg.norm(goals[0] - places[0]) <= 0.030
    assert np.linalg.norm(places[-1] - places[0]) > 0.02
    exact, places = clicks("moving_pick-v1", 3, 20, goal_input="exact")
    assert exact == pytest.approx(places, abs=1e-6)


def test_the_block_that_takes_over_the_role_is_clicked_anew():
    goals, places = clicks("confuser_swap-v1", 5, 20)
    moved = np.flatnonzero(np.any(np.diff(goals, axis=0) != 0, axis=1))
    swapped = np.flatnonzero(np.linalg.norm(np.diff(places, axis=0), axis=1) > 0.05)
    assert moved.tolist() == swapped.tolist()
    assert len(moved) == 1
    assert np.linalg.norm(goals - places, axis=1).max() <= 0.031


def test_a_wrong_label_clicks_the_confuser():
    goals, places = clicks("confuser_pick-v1", 5, 0, label_noise=1.0)
    assert np.linalg.norm(goals - places) > 0.04


def test_version_0_by_option_is_version_1_and_the_reverse():
    as_v0 = clicks("confuser_pick-v1", 7, 3, goal_input="exact", max_yaw=0.35)
    assert np.array_equal(as_v0, clicks("confuser_pick-v0", 7, 3))
    as_v1 = clicks("confuser_pick-v0", 7, 3, goal_input="click", max_yaw=np.pi / 4)
    assert np.array_equal(as_v1, clicks("confuser_pick-v1", 7, 3))


def test_blocks_lie_at_any_yaw_in_version_1():
    env = make(env_id("pick-v1"), {"image_size": 8}).unwrapped
    yaws = []
    for seed in range(200):
        env.skip_cameras(True)
        env.reset(seed=seed)
        yaws.append(env.privileged().target_yaw)
    assert np.histogram(yaws, bins=4, range=(-np.pi / 4, np.pi / 4))[0].min() > 30
    with pytest.raises(UsageError, match=r"max_yaw is 1.0 rad; 0 to pi/4"):
        make(env_id("pick"), {"max_yaw": 1.0})


def test_the_expert_keeps_the_face_that_it_chose_first():
    env = make(env_id("pick-v1"), {"image_size": 8}).unwrapped
    env.reset(seed=1)
    first = env.privileged().target_yaw
    address = env._scene.block_qpos[0] + 3
    for turned in (0.3, 0.9, 1.4, -0.9):
        yaw = first + turned
        env._data.qpos[address : address + 4] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        assert env.privileged().target_yaw == pytest.approx(yaw)
