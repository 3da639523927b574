"""The parts of training: schedule, averages, order of samples, image shifts, checkpoints on disk."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from act_eval.errors import CheckpointError, DatasetError, UsageError
from act_eval.policies.optim import AveragedWeights, OptimConfig, make_optimizer, rate_factor, set_rate
from act_eval.policies.sampling import FrameOrder, seed_torch, shift_images
from act_eval.policies.training_state import last_checkpoint, write_checkpoint

IMAGE = "observation.images.top"


def test_the_rate_climbs_linearly_then_falls_on_a_cosine() -> None:
    config = OptimConfig(warmup=0.1, final_rate=0.001)
    rates = [rate_factor(config, step, 1001) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[50] == pytest.approx((1 / 25 + 1) / 2)
    assert rates[100] == 1.0
    assert rates[550] == pytest.approx((1 + 0.001) / 2)
    assert rates[1000] == pytest.approx(0.001)
    assert np.argmax(rates) == 100
    assert all(a < b for a, b in pairwise(rates[:101]))
    assert all(a > b for a, b in pairwise(rates[100:]))


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    config = OptimConfig(schedule="constant", warmup=0.5)
    assert [rate_factor(config, step, 4) for step in range(4)] == pytest.approx([0.04, 0.52, 1, 1])
    assert rate_factor(OptimConfig(schedule="constant", warmup=0), 0, 4) == 1.0


@given(steps=st.integers(1, 40), warmup=st.floats(0, 0.99))
def test_rates_are_positive_for_every_length(steps: int, warmup: float) -> None:
    config = OptimConfig(warmup=warmup)
    assert all(0 < rate_factor(config, step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"warmup": 1.0}, "warmup is 1.0; it is a share of the steps"),
        ({"final_rate": 2.0}, "final rate is 2.0"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"average": 1.0}, "average is 1.0; a decay is"),
    ],
)
def test_settings_outside_their_range_are_refused(change: dict[str, float], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        OptimConfig(**change)


def test_every_group_keeps_its_own_rate() -> None:
    head, backbone = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [
        {"params": list(head.parameters())},
        {"params": []},
        {"params": list(backbone.parameters()), "lr": 1e-5},
    ]
    optimizer = make_optimizer(groups, rate=1e-3, weight_decay=0.0)
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [2.5e-4, 2.5e-6]


def test_averages_follow_their_recursion_and_leave_the_source_alone() -> None:
    source = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    average = AveragedWeights(source, decay=0.5)
    assert not any(p.requires_grad for p in average.module.parameters())
    expected = source[0].weight.detach().clone()
    for update in range(30):
        with torch.no_grad():
            source[0].weight += 1.0
        before = source[0].weight.detach().clone()
        average.update(update)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * before
        assert torch.equal(source[0].weight, before)
    source(torch.randn(8, 2))  # moves the buffers
    refreshed = average.refreshed()
    assert torch.allclose(refreshed[0].weight, expected)  # pyright: ignore[reportIndexIssue]
    assert torch.equal(refreshed[1].running_mean, source[1].running_mean)  # pyright: ignore[reportIndexIssue]


def test_without_averaging_the_saved_weights_are_the_present_ones() -> None:
    source = nn.Linear(2, 2)
    average = AveragedWeights(source, decay=0.0)
    with torch.no_grad():
        source.weight += 1.0
    average.update(5)
    assert torch.equal(average.module.weight, source.weight)  # pyright: ignore[reportArgumentType]


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 23), batch=st.integers(1, 9), ranks=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_pass_shows_every_frame_once(frames: int, batch: int, ranks: int, seed: int) -> None:
    orders = [FrameOrder(frames, batch, seed, rank, ranks) for rank in range(ranks)]
    steps = math.ceil(3 * frames / (batch * ranks))
    shown = np.concatenate([order.at(step) for step in range(steps) for order in orders])
    for number in range(2):
        assert Counter(shown[number * frames : (number + 1) * frames].tolist()) == Counter(range(frames))


def test_a_step_has_the_same_frames_whatever_was_asked_before() -> None:
    straight, jumping = FrameOrder(50, 8, seed=1), FrameOrder(50, 8, seed=1)
    batches = [straight.at(step) for step in range(20)]
    for step in (19, 3, 7, 3, 0):
        assert np.array_equal(jumping.at(step), batches[step])
    assert not np.array_equal(FrameOrder(50, 8, seed=2).at(0), batches[0])
    with pytest.raises(DatasetError, match="no frame is left to train on"):
        FrameOrder(0, 8, seed=1)


def test_shifted_images_are_windows_of_the_padded_image() -> None:
    images = torch.randint(0, 256, (24, 3, 7, 9), dtype=torch.uint8)
    batch = {IMAGE: images, "observation.state": torch.randn(24, 6)}
    shifted = shift_images(batch, 2, seed=0, step=5)
    assert shifted["observation.state"] is batch["observation.state"]
    padded = nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    found = set()
    for image, before in zip(shifted[IMAGE], padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, before[:, y : y + 7, x : x + 9])]
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 10  # every image moves on its own


def test_a_shift_depends_on_seed_step_and_rank_alone() -> None:
    batch = {IMAGE: torch.randint(0, 256, (16, 3, 12, 12), dtype=torch.uint8)}
    one = shift_images(batch, 4, seed=0, step=5)[IMAGE]
    torch.rand(3)
    assert torch.equal(shift_images(batch, 4, seed=0, step=5)[IMAGE], one)
    for seed, step, rank in ((1, 5, 0), (0, 6, 0), (0, 5, 1)):
        assert not torch.equal(shift_images(batch, 4, seed, step, rank)[IMAGE], one)
    assert shift_images(batch, 0, seed=0, step=5)[IMAGE] is batch[IMAGE]


def test_dropout_depends_on_seed_step_and_rank_alone() -> None:
    def draw(*place: int) -> float:
        seed_torch(*place)
        return float(torch.rand(()))

    assert draw(0, 3, 1) == draw(0, 3, 1)
    assert len({draw(0, 3, 1), draw(1, 3, 1), draw(0, 4, 1), draw(0, 3, 2)}) == 4


def write_name(folder: Path) -> None:
    (folder / "training_state").mkdir()
    (folder / "training_state" / "progress.json").write_text("{}")


def test_the_newest_checkpoints_stay_and_last_is_a_relative_link(tmp_path: Path) -> None:
    for step in (5, 10, 100, 1_000_000):
        write_checkpoint(tmp_path, step, keep=2, write=write_name)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000100", "1000000", "last"]
    link = tmp_path / "checkpoints" / "last"
    assert not link.readlink().is_absolute()
    tmp_path.rename(tmp_path.with_name("moved"))
    assert last_checkpoint(tmp_path.with_name("moved")).name == "1000000"


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, keep=1, write=write_name)

    def fail(folder: Path) -> None:
        write_name(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path, 2, keep=1, write=fail)
    assert last_checkpoint(tmp_path).name == "000001"
    write_checkpoint(tmp_path, 2, keep=1, write=write_name)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["000002", "last"]


def test_a_later_folder_of_a_killed_run_does_not_push_out_the_newest(tmp_path: Path) -> None:
    left_over = tmp_path / "checkpoints" / "000009"
    left_over.mkdir(parents=True)
    (tmp_path / "checkpoints" / ".000009.partial").mkdir()
    write_checkpoint(tmp_path, 5, keep=1, write=write_name)
    assert last_checkpoint(tmp_path).name == "000005"
    assert not (tmp_path / "checkpoints" / ".000009.partial").exists()


def test_a_folder_without_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint to resume from"):
        last_checkpoint(tmp_path)
