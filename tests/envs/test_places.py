"""Where blocks start when they have but two places, labels that slipped, and the overhead camera's projection."""

import numpy as np
import pytest
from numpy.typing import NDArray

from act_eval.envs.layout import sample_blocks
from act_eval.envs.options import PickOptions, Positions
from act_eval.envs.pick import PickEnv
from act_eval.errors import UnknownName, UsageError
from act_eval.scenes.projection import table_homography
from act_eval.scenes.workspace import BLOCK_SIDE, BLOCKS, MIN_SEPARATION, PLACE_SPREAD, PLACES


def starts(positions: Positions, count: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([sample_blocks(rng, count, 0.35, positions)[:, :2] for _ in range(200)])


def near(xy: np.ndarray, place: int) -> NDArray[np.bool_]:
    return np.all(np.abs(xy - PLACES[place]) <= PLACE_SPREAD + 1e-12, axis=-1)


def test_one_place_is_always_the_first_and_the_confuser_is_at_the_other() -> None:
    blocks = starts("one")
    assert near(blocks[:, 0], 0).all()
    assert near(blocks[:, 1], 1).all()
    assert len(np.unique(blocks[:, 0], axis=0)) == 200  # not one episode again and again


def test_of_two_places_target_and_confuser_take_one_each_so_that_the_place_says_nothing() -> None:
    blocks = starts("two")
    first = near(blocks[:, 0], 0)
    assert 70 < first.sum() < 130
    assert near(blocks[first, 1], 1).all()
    assert near(blocks[~first, 0], 1).all()
    assert near(blocks[~first, 1], 0).all()


def test_places_lie_in_the_workspace_and_far_enough_from_each_other() -> None:
    for sign in (-1, 1):
        assert BLOCKS.contains(np.array(PLACES) + sign * PLACE_SPREAD).all()
    assert np.linalg.norm(np.subtract(*PLACES)) - 2 * np.hypot(PLACE_SPREAD, PLACE_SPREAD) >= MIN_SEPARATION


def test_slipped_labels_name_the_confuser_in_their_share_of_the_episodes_and_change_nothing_else() -> None:
    plain, slipped = PickEnv(image_size=8), PickEnv(image_size=8, label_noise=0.5)
    named = []
    for seed in range(40):
        one, other = plain.reset(seed=seed)[0], slipped.reset(seed=seed)[0]
        blocks = slipped.block_positions(slipped.simulator_state())[:, :2]
        assert np.array_equal(plain.block_positions(plain.simulator_state())[:, :2], blocks)
        assert np.array_equal(one["agent_pos"], other["agent_pos"])
        named.append(int(np.linalg.norm(blocks - other["environment_state"], axis=1).argmin()))
        assert np.allclose(blocks[named[-1]], other["environment_state"], atol=1e-6)
    assert 8 < sum(named) < 32


def test_options_that_came_later_are_facts_only_where_they_are_used() -> None:
    assert set(PickOptions().facts()) == {
        *("confusers", "identical", "image_size", "action_noise", "gripper_faults", "goal_input", "swap_blocks"),
    }
    assert (
        PickOptions(positions="two", label_noise=0.1).facts().items()
        >= {"positions": "two", "label_noise": 0.1}.items()
    )


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="unknown positions 'three'; there are: continuous, one, two"):
        PickEnv(positions="three")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"label_noise is 2; it is a share of the episodes, 0 to 1"):
        PickEnv(label_noise=2)
    with pytest.raises(UsageError, match="positions 'two' leaves room for one confuser, got 2"):
        PickEnv(positions="two", confusers=2)
    with pytest.raises(UsageError, match="label_noise needs a confuser; this environment has none"):
        PickEnv(label_noise=0.5, confusers=0)


def test_the_projection_finds_the_block_in_the_overhead_image() -> None:
    env, size = PickEnv(confusers=0, image_size=96), 96
    homography = np.array(env.overhead_projection()).reshape(3, 3)
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        u, v, w = homography @ [*observation["environment_state"], 1]
        image = observation["pixels"]["overhead"].astype(float)
        red = (image[..., 0] > 90) & (image[..., 0] > 2 * image[..., 1]) & (image[..., 0] > 2 * image[..., 2])
        rows, columns = np.nonzero(red)
        assert len(rows) > 8
        assert abs(columns.mean() - u / w * size) < 2.5  # its upper face is nearer to the camera than its centre
        assert abs(rows.mean() - v / w * size) < 2.5


def test_the_projection_is_that_of_drawings_and_needs_a_camera_that_stands_still() -> None:
    env = PickEnv(confusers=0, image_size=8)
    env.reset(seed=0)
    points = np.array([[0.15, -0.1, BLOCK_SIDE / 2], [0.23, 0.12, BLOCK_SIDE / 2]])
    homogeneous = np.c_[points[:, :2], np.ones(2)] @ np.array(env.overhead_projection()).reshape(3, 3).T
    assert np.allclose(homogeneous[:, :2] / homogeneous[:, 2:], env.project(points, "overhead", 1, 1))
    with pytest.raises(UsageError, match="camera 'wrist' moves with the arm"):
        table_homography(env._scene.model, "wrist", 0.0)
