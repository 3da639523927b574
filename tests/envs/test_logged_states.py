import gymnasium as gym
import numpy as np
import pytest

import act_eval.envs  # noqa: F401
from act_eval.errors import UsageError

SIZE = (240, 320)


def reset(name: str, seed: int = 5, **options: object):
    env = gym.make(f"act_eval/{name}-v0", image_size=32, **options).unwrapped
    env.reset(seed=seed)
    return env


def red_centre(image: np.ndarray) -> np.ndarray:
    """Return x, y of the middle of all red pixels."""
    red = (image[..., 0] > 100) & (image[..., 1] < 60) & (image[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert len(rows) > 10
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("camera", ["overhead", "review"])
def test_a_block_appears_where_its_centre_is_projected(camera: str, seed: int):
    env = reset("Pick", seed)
    state = env.simulator_state()
    (centre,) = env.project(env.block_positions(state), camera, *SIZE)
    # The middle of the faces that are seen lies near the projected centre, less than half a block (about 20 px) off.
    assert np.linalg.norm(red_centre(env.render_state(state, camera, *SIZE)) - centre) < 6


def test_points_behind_a_camera_are_nowhere_and_a_moving_camera_is_refused():
    env = reset("Pick")
    assert np.isnan(env.project(np.array([[2.0, -2.0, 2.0]]), "review", *SIZE)).all()
    with pytest.raises(UsageError, match="camera 'wrist' moves with the arm"):
        env.project(np.zeros(3), "wrist", *SIZE)
    with pytest.raises(UsageError, match="camera 'nose' is not in the scene"):
        env.project(np.zeros(3), "nose", *SIZE)


def test_views_of_a_state_are_those_of_fresh_data_after_any_other_state():
    env, other = reset("ConfuserPick"), reset("ConfuserPick", 6)
    first = env.simulator_state()
    for _ in range(5):
        env.step(env.action_space.high)
    views = [("review", 64, 80), ("wrist", 32, 32)]
    expected = other.render_views(first, views)
    env.render_views(env.simulator_state(), views)
    out = [np.empty((64, 80, 3), np.uint8), None]
    for image, again, whole in zip(env.render_views(first, views, out), expected, views, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(image, env.render_state(first, *whole))
    np.testing.assert_array_equal(out[0], expected[0])


def test_the_running_episode_is_not_touched_by_looking_at_another_state():
    env, twin = reset("ConfuserPick"), reset("ConfuserPick")
    first = env.simulator_state()
    for _ in range(3):
        env.render_state(first, "review", 32, 32)
        env.scene_track(first[None], {})
        env.step(env.action_space.low)
        twin.step(env.action_space.low)
    np.testing.assert_array_equal(env.simulator_state(), twin.simulator_state())


def test_tracks_follow_blocks_and_roles():
    env = reset("ConfuserSwap")
    states, targets = [env.simulator_state()], [0]
    for _ in range(20):
        env.step(np.array([0, -0.96, 0.9, 1.6, 0, 0.65], np.float32))
        states.append(env.simulator_state())
        targets.append(env._target)
    detail = env.verdict().detail
    assert detail["event_step"] is not None
    track = env.scene_track(np.stack(states), detail)
    assert track.target.tolist() == targets
    assert 0 < sum(targets) < len(targets)
    for state, blocks in zip(states, track.blocks_xyz, strict=True):
        np.testing.assert_array_equal(blocks, env.block_positions(state))
