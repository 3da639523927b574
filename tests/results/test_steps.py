from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from act_eval.errors import RunFolderError
from act_eval.results.steps import collect, load, path_of, save
from act_eval.types import StepRecord

RECORDS = [
    StepRecord(
        episode=3, seed=9, step=t, command=np.full(6, t, np.float32), chunk=t // 2, index=t % 2, observed=t - t % 2,
        requested=t % 2 == 0, estimated_delay=1, actual_delay=2, in_flight=1, chunk_switch=t == 2,
        state=np.full(4, t / 3),
    )
    for t in range(3)
]  # fmt: skip


def test_steps_survive_the_disk_with_the_terminal_state_last(tmp_path: Path):
    steps = collect(RECORDS, np.full(4, 7.0))
    save(path_of(tmp_path, 3), steps)
    read = load(tmp_path / "0003.npz")
    for f in fields(steps):
        kept, expected = getattr(read, f.name), getattr(steps, f.name)
        assert kept.dtype == expected.dtype
        np.testing.assert_array_equal(kept, expected)
    assert read.steps == 3
    np.testing.assert_array_equal(read.state[:, 0], [0, 1 / 3, 2 / 3, 7])
    np.testing.assert_array_equal(read.chunk_switch, [False, False, True])


def test_equal_steps_give_equal_bytes(tmp_path: Path):
    for name in ("a.npz", "b.npz"):
        save(tmp_path / name, collect(RECORDS, np.zeros(4)))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_episode_that_broke_before_its_first_step_has_its_state(tmp_path: Path):
    save(tmp_path / "0.npz", collect([], np.zeros(4)))
    assert load(tmp_path / "0.npz").state.shape == (1, 4)


def test_damage_is_named(tmp_path: Path):
    path = tmp_path / "0.npz"
    with pytest.raises(RunFolderError, match=r"0.npz is missing"):
        load(path)
    save(path, collect(RECORDS, np.zeros(4)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunFolderError, match=r"0.npz is damaged"):
        load(path)
    path.write_text("hello")
    with pytest.raises(RunFolderError, match=r"0.npz is damaged"):
        load(path)
