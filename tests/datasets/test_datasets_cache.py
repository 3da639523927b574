"""The frame cache: the same pixels as decoding, built once, whole or not at all, in constant memory."""

import json
import multiprocessing
import os
import pickle
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from act_eval.datasets import FrameCache, cache, open_cache
from act_eval.errors import DatasetError

WRIST = "observation.images.wrist"


@pytest.mark.parametrize("storage", ["image", "video"])
def test_frames_equal_the_decoded_ones(tmp_path: Path, make_demos, storage: str) -> None:
    data, episodes = make_demos(tmp_path / "set", storage=storage)
    frames = open_cache(data)
    order = np.random.default_rng(0).permutation(data.total_frames)
    for camera in data.cameras:
        decoded = np.concatenate([data.frames(e, camera) for e in range(3)]).transpose(0, 3, 1, 2)
        found = frames.read(f"observation.images.{camera}", order)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, decoded[order])
    for key in ("action", "observation.state", "observation.environment_state"):
        written = np.concatenate([e.vectors[key] for e in episodes])
        np.testing.assert_array_equal(frames.read(key, order), written[order])
    twice = np.array([4, 4, 0])
    np.testing.assert_array_equal(frames.read(WRIST, twice), decoded[twice])
    assert frames.read(WRIST, np.array([], np.int64)).shape == (0, 3, 8, 10)


def test_built_once_and_again_when_the_data_change(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    message: list[tuple[int, int]] = []
    first = open_cache(data, on_episode=lambda done, total: message.append((done, total)))
    assert message == [(1, 3), (2, 3), (3, 3)]
    assert first.folder.parent == data.root / ".frame_cache"
    again = open_cache(data, on_episode=lambda done, total: message.append((done, total)))
    assert again.folder == first.folder
    assert len(message) == 3
    shutil.rmtree(data.root)
    changed, episodes = make_demos(tmp_path / "set", lengths=(5, 7, 3))
    rebuilt = open_cache(changed)
    assert rebuilt.folder != first.folder
    np.testing.assert_array_equal(rebuilt.read("action", np.arange(5)), episodes[0].vectors["action"])


def test_stale_caches_go(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    old = open_cache(data).folder
    file = data.root / "data/chunk-000/file-000.parquet"
    os.utime(file, ns=(1, 1))
    new = open_cache(data).folder
    assert [p.name for p in (data.root / ".frame_cache").iterdir()] == [new.name]
    assert new != old


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(data, on_episode=interrupt)
    assert list((data.root / ".frame_cache").iterdir()) == []
    assert len(open_cache(data).read("action", np.arange(20))) == 20


def test_what_a_killed_build_left_is_removed(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    for name, age in (("dead", 4000), ("alive", 60)):
        file = data.root / f".frame_cache/.partial-{name}/x.bin"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    cached = open_cache(data)
    names = {p.name for p in (data.root / ".frame_cache").iterdir()}
    assert names == {".partial-alive", cached.folder.name}


def test_a_system_without_positioned_reads_maps_the_files(
    tmp_path: Path, make_demos, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = make_demos(tmp_path / "set")
    rows = np.array([5, 0, 19])
    read = open_cache(data).read(WRIST, rows)
    monkeypatch.delattr(os, "preadv")
    np.testing.assert_array_equal(open_cache(data).read(WRIST, rows), read)


def test_a_build_that_another_process_finished_first_is_taken(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")

    def other(done: int, total: int) -> None:
        if done == 1:
            open_cache(data)

    cached = open_cache(data, on_episode=other)
    assert [p.name for p in (data.root / ".frame_cache").iterdir()] == [cached.folder.name]
    assert len(cached.read("action", np.arange(20))) == 20


def test_other_folder(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    assert open_cache(data, tmp_path / "elsewhere").folder.parent == tmp_path / "elsewhere"
    assert not (data.root / ".frame_cache").exists()


def test_unwritable_and_full_disks_are_named(tmp_path: Path, make_demos, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = make_demos(tmp_path / "set")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot write a frame cache into .*file/here"):
        open_cache(data, tmp_path / "file/here")
    monkeypatch.setattr(cache, "_RESERVE", 10**18)
    with pytest.raises(DatasetError, match=r"needs 0\.0 GB; .* GB are free"):
        open_cache(data)
    assert list((data.root / ".frame_cache").iterdir()) == []


def test_a_file_that_was_cut_off_is_named(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    frames = open_cache(data)
    file = frames.folder / f"{WRIST}.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert len(frames.read(WRIST, np.array([18]))) == 1
    with pytest.raises(DatasetError, match="ends before frame 19"):
        frames.read(WRIST, np.array([18, 19]))


def test_a_copy_in_another_process_reads_the_same(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    frames = open_cache(data)
    rows = np.array([3, 11])
    copied = pickle.loads(pickle.dumps(frames))
    frames.close()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(copied.read, (WRIST, rows))
    np.testing.assert_array_equal(there, copied.read(WRIST, rows))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    """Every frame of a 64 MB camera is read once; resident memory, mapped files included, stays where it was."""
    count, shape = 2048, (3, 104, 104)
    (tmp_path / "contents.json").write_text(json.dumps({"shapes": {WRIST: shape}, "dtypes": {WRIST: "uint8"}}))
    with (tmp_path / f"{WRIST}.bin").open("wb") as file:
        for frame in range(count):
            file.write(np.full(shape, frame % 251, np.uint8).data)
    frames = FrameCache(tmp_path)
    order = np.random.default_rng(0).permutation(count).reshape(-1, 32)
    frames.read(WRIST, order[0])
    before = _resident()
    for rows in order:
        assert (frames.read(WRIST, rows)[:, 0, 0, 0] == rows % 251).all()
    assert _resident() - before < 8 * 2**20


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
