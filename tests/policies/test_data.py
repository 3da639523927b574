"""Training windows: what belongs to which step, to the index."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from act_eval.datasets import Demonstrations, merged_statistics, open_cache
from act_eval.errors import DatasetError, FeatureMismatch, UsageError
from act_eval.policies.data import JoinedWindows, Windows, iter_episode_vectors, split_episodes

LENGTHS = (7, 4, 9)


@pytest.fixture
def data(tmp_path: Path, make_demos) -> Demonstrations:
    return make_demos(tmp_path / "set", LENGTHS)[0]


def windows(data: Demonstrations, length: int, **options) -> Windows:
    return Windows(data, open_cache(data), length, **options)


@pytest.mark.parametrize("length", [1, 5, 9, 30])
def test_every_sample_by_hand(data: Demonstrations, length: int) -> None:
    """In the fixture a_t = 100 · episode + t + joint / 10 and the joints are a_t + 0.5: each number tells its place."""
    samples = windows(data, length)
    assert len(samples) == sum(LENGTHS)
    joints = np.arange(6, dtype=np.float32) / 10
    batch = samples.batch(range(len(samples)))
    row = 0
    for episode, frames in enumerate(LENGTHS):
        pictures = {c: data.frames(episode, c).transpose(0, 3, 1, 2) for c in data.cameras}
        coordinates = data.vectors(episode, ["observation.environment_state"])["observation.environment_state"]
        for t in range(frames):
            sample = {key: value[row].numpy() for key, value in batch.items()}
            times = np.minimum(t + np.arange(length), frames - 1)
            np.testing.assert_allclose(sample["action"], 100 * episode + times[:, None] + joints, rtol=1e-6)
            assert sample["action_is_pad"].tolist() == [t + k >= frames for k in range(length)]
            np.testing.assert_allclose(sample["observation.state"], 100 * episode + t + joints + 0.5, rtol=1e-6)
            previous = sample["observation.state"] if t == 0 else 100 * episode + t - 1 + joints
            np.testing.assert_allclose(sample["last_action"], previous, rtol=1e-6)
            np.testing.assert_array_equal(sample["observation.environment_state"], coordinates[t])
            for camera in data.cameras:
                np.testing.assert_array_equal(sample[f"observation.images.{camera}"], pictures[camera][t])
            row += 1
    assert row == len(samples)


@pytest.mark.parametrize("past", [1, 3, 8])
def test_commands_before_an_observation_by_hand(data: Demonstrations, past: int) -> None:
    samples = windows(data, 2, past=past)
    batch = samples.batch(range(len(samples)))
    joints = np.arange(6, dtype=np.float32) / 10
    row = 0
    for episode, frames in enumerate(LENGTHS):
        for t in range(frames):
            steps = np.maximum(np.arange(t - past, t), 0)
            wanted = 100 * episode + steps[:, None] + joints + (0.5 if t == 0 else 0)  # the joints at the start
            np.testing.assert_allclose(batch["past_actions"][row], wanted, rtol=1e-6)
            assert torch.equal(batch["past_actions"][row, -1], batch["last_action"][row])
            row += 1


def test_batch_has_the_shapes_and_types_of_training(data: Demonstrations) -> None:
    batch = windows(data, 5).batch([0, 3, 19])
    assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == {
        "observation.state": ((3, 6), torch.float32),
        "observation.environment_state": ((3, 2), torch.float32),
        "observation.images.overhead": ((3, 3, 8, 8), torch.uint8),
        "observation.images.wrist": ((3, 3, 8, 10), torch.uint8),
        "action": ((3, 5, 6), torch.float32),
        "action_is_pad": ((3, 5), torch.bool),
        "last_action": ((3, 6), torch.float32),
    }


def test_a_sample_does_not_depend_on_its_batch(data: Demonstrations) -> None:
    samples = windows(data, 6)
    order = np.random.default_rng(1).permutation(len(samples))
    batch = samples.batch(order)
    for row, number in enumerate(order):
        alone = samples[int(number)]
        assert alone.keys() == batch.keys()
        for key, value in alone.items():
            assert torch.equal(value, batch[key][row]), key


def test_chosen_episodes_hold_their_own_frames_only(data: Demonstrations) -> None:
    everything = windows(data, 5)
    chosen = windows(data, 5, episodes=[0, 2])
    assert len(chosen) == 7 + 9
    places = [*range(7), *range(11, 20)]
    for key, value in chosen.batch(range(16)).items():
        assert torch.equal(value, everything.batch(places)[key]), key


def test_chosen_cameras(data: Demonstrations) -> None:
    batch = windows(data, 2, cameras=["wrist"]).batch([0])
    assert [key for key in batch if "images" in key] == ["observation.images.wrist"]
    assert not [key for key in windows(data, 2, cameras=[]).batch([0]) if "images" in key]
    with pytest.raises(FeatureMismatch, match=r"observation\.images\.top"):
        windows(data, 2, cameras=["top"])


def test_worker_processes_read_the_same(data: Demonstrations) -> None:
    samples = windows(data, 3)
    copied = pickle.loads(pickle.dumps(samples))
    loader = DataLoader(copied, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    found = list(loader)
    assert len(found) == 5
    for key, value in samples.batch(range(20)).items():
        assert torch.equal(torch.cat([batch[key] for batch in found]), value), key


def test_wrong_requests_are_named(data: Demonstrations) -> None:
    with pytest.raises(UsageError, match="a window has 0 commands; it needs at least 1"):
        windows(data, 0)
    with pytest.raises(UsageError, match=r"has episodes 0 … 2; there is no \[3, -1\]"):
        windows(data, 5, episodes=[1, 3, -1])
    samples = windows(data, 5)
    for wrong in ([20], [-1]):
        with pytest.raises(IndexError, match=f"samples {wrong[0]} … {wrong[0]} requested; there are 20"):
            samples.batch(wrong)


def test_data_without_actions_cannot_be_trained_on(data: Demonstrations) -> None:
    cache = open_cache(data)
    del data.features["action"]
    with pytest.raises(DatasetError, match="has no action; training needs both"):
        Windows(data, cache, 5)


@pytest.mark.parametrize(
    ("count", "share", "held"), [(100, 0.05, 5), (10, 0.01, 1), (2, 0.9, 1), (1, 0.5, 0), (9, 0, 0)]
)
def test_split_covers_all_episodes_once(count: int, share: float, held: int) -> None:
    train, validate = split_episodes(count, share, seed=3)
    assert len(validate) == held
    assert sorted(train + validate) == list(range(count))
    assert train == sorted(train)
    assert (train, validate) == split_episodes(count, share, seed=3)


def test_split_follows_its_seed() -> None:
    assert len({tuple(split_episodes(50, 0.1, seed)[1]) for seed in range(5)}) == 5
    for share in (-0.1, 1.0):
        with pytest.raises(UsageError, match=rf"held-out share of the episodes is {share}; it must be in \[0, 1\)"):
            split_episodes(10, share, 0)


def test_episode_vectors_come_in_order(data: Demonstrations) -> None:
    found = list(iter_episode_vectors([data]))
    assert [len(actions) for actions, _ in found] == list(LENGTHS)
    for episode, (actions, states) in enumerate(found):
        assert actions[0, 0] == 100 * episode
        np.testing.assert_array_equal(states, actions + np.float32(0.5))


@pytest.fixture
def other(tmp_path: Path, make_demos) -> Demonstrations:
    return make_demos(tmp_path / "other", (6, 3))[0]


def test_joined_samples_are_those_of_the_parts_in_any_order(data: Demonstrations, other: Demonstrations) -> None:
    parts = [windows(data, 5, episodes=[0, 2]), windows(other, 5), windows(data, 5, episodes=[1])]
    joined = JoinedWindows(parts)
    assert len(joined) == 16 + 9 + 4
    places = [(0, 15), (2, 0), (1, 8), (0, 0), (1, 0), (2, 3)]
    starts = (0, 16, 25)
    batch = joined.batch([starts[part] + sample for part, sample in places])
    for row, (part, sample) in enumerate(places):
        for key, value in parts[part][sample].items():
            torch.testing.assert_close(batch[key][row], value, rtol=0, atol=0)
    assert {key: value.dtype for key, value in batch.items()} == {k: v.dtype for k, v in parts[0].batch([0]).items()}
    for outside in (-1, 29):
        with pytest.raises(IndexError, match="there are 29"):
            joined.batch([0, outside])


def test_vectors_of_several_data_sets_follow_each_other(data: Demonstrations, other: Demonstrations) -> None:
    assert [len(actions) for actions, _ in iter_episode_vectors([data, other])] == [*LENGTHS, 6, 3]


def test_merged_statistics_are_those_of_all_frames(data: Demonstrations, other: Demonstrations) -> None:
    merged = merged_statistics([data.stats(), other.stats()])
    for key in ("action", "observation.state", "observation.environment_state"):
        parts = [part.vectors(e, [key])[key] for part in (data, other) for e in range(len(part.episodes))]
        frames = np.concatenate(parts).astype(np.float64)
        for name in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(merged[key][name], getattr(frames, name)(axis=0), rtol=1e-12, atol=1e-12)
        assert merged[key]["count"] == [29]
    pictures = [p.frames(e, "overhead") for p in (data, other) for e in range(len(p.episodes))]
    pixels = np.concatenate([frames.reshape(-1, 3) for frames in pictures]) / 255
    camera = merged["observation.images.overhead"]
    np.testing.assert_allclose(np.ravel(camera["mean"]), pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(camera["std"]), pixels.std(axis=0), rtol=1e-12)
    assert np.shape(camera["std"]) == (3, 1, 1)
