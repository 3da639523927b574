"""Demonstration folders: LeRobot's layout to the letter, and exact round trips."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from act_eval.datasets import Demonstrations, writer
from act_eval.datasets.images import decode_png, encode_png, read_video, write_video
from act_eval.datasets.statistics import image_statistics, pixel_histogram
from act_eval.errors import UsageError

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VECTORS = ("action", "observation.state", "observation.environment_state", "next.success", "next.done")
CAMERAS = ("overhead", "wrist")


def assert_same(data: Demonstrations, episodes: list) -> None:
    """What is read is what was written; PNG to the bit, H.264 to a few grey levels."""
    assert data.episodes.lengths.tolist() == [e.length for e in episodes]
    for number, episode in enumerate(episodes):
        for key, values in data.vectors(number, VECTORS).items():
            assert values.dtype == episode.vectors[key].dtype, key
            np.testing.assert_array_equal(values, episode.vectors[key], err_msg=key)
        for camera in data.cameras:
            frames, written = data.frames(number, camera), episode.frames[f"observation.images.{camera}"]
            assert frames.shape == written.shape
            assert frames.dtype == np.uint8
            bound = 0 if data.cameras_as("image") else 3  # frames differ by 8 levels, so 3 pins each to its place
            assert np.abs(frames.astype(int) - written).max() <= bound, (number, camera)


@pytest.mark.parametrize("storage", ["image", "video"])
def test_round_trip(tmp_path: Path, make_demos, storage: str) -> None:
    data, episodes = make_demos(tmp_path / "set", storage=storage)
    assert data.cameras == CAMERAS
    assert data.fps == 20
    assert data.tasks() == ["pick it"]
    assert data.episodes.seeds is not None
    assert data.episodes.seeds.tolist() == [5000, 5001, 5002]
    assert_same(data, episodes)


@pytest.mark.parametrize("storage", ["image", "video"])
def test_files_roll_over_by_size(tmp_path: Path, make_demos, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
    monkeypatch.setattr(writer, "DATA_FILE_MB", 1e-6)
    monkeypatch.setattr(writer, "VIDEO_FILE_MB", 1e-6)
    monkeypatch.setattr(writer, "CHUNK_FILES", 2)
    data, episodes = make_demos(tmp_path / "set", storage=storage)
    kept = sorted(p.relative_to(data.root).as_posix() for p in data.root.rglob("file-*") if "meta" not in p.parts)
    places = ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000"]
    wanted = [f"data/{place}.parquet" for place in places]
    if storage == "video":
        wanted += [f"videos/observation.images.{c}/{place}.mp4" for c in CAMERAS for place in places]
    assert kept == wanted
    assert_same(data, episodes)


def test_layout_with_pictures_inside(tmp_path: Path, make_demos) -> None:
    data, episodes = make_demos(tmp_path / "set")
    files = {p.relative_to(data.root).as_posix() for p in data.root.rglob("*") if p.is_file()}
    assert files == {"meta/info.json", "meta/stats.json", "meta/tasks.parquet", EPISODES, DATA}
    table = pq.read_table(data.root / DATA)
    assert table.schema.metadata is None
    vector = pa.list_(pa.float32(), 6)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert {name: table.schema.field(name).type for name in table.column_names} == {
        "observation.state": vector,
        "observation.environment_state": pa.list_(pa.float32(), 2),
        "observation.images.overhead": picture,
        "observation.images.wrist": picture,
        "action": vector,
        "next.success": pa.bool_(),
        "next.done": pa.bool_(),
        "timestamp": pa.float32(),
        "frame_index": pa.int64(),
        "episode_index": pa.int64(),
        "index": pa.int64(),
        "task_index": pa.int64(),
    }
    assert table["index"].to_pylist() == list(range(20))
    assert table["episode_index"].to_pylist() == [0] * 7 + [1] * 4 + [2] * 9
    assert table["frame_index"].to_pylist() == [*range(7), *range(4), *range(9)]
    np.testing.assert_array_equal(
        table["timestamp"].to_numpy(), (table["frame_index"].to_numpy() / 20).astype(np.float32)
    )
    assert set(table["task_index"].to_pylist()) == {0}
    first = table["observation.images.wrist"][0].as_py()
    assert first["bytes"].startswith(b"\x89PNG")
    assert first["path"] is None
    groups = pq.ParquetFile(data.root / DATA).metadata
    assert [groups.row_group(g).num_rows for g in range(groups.num_row_groups)] == [e.length for e in episodes]


@pytest.mark.parametrize("storage", ["image", "video"])
def test_info(tmp_path: Path, make_demos, storage: str) -> None:
    data, _ = make_demos(tmp_path / "set", storage=storage)
    info = json.loads((data.root / "meta/info.json").read_text())
    features = info.pop("features")
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "so101",
        "total_episodes": 3,
        "total_frames": 20,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 20,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video_path if storage == "video" else None,
    }
    camera = features["observation.images.wrist"]
    assert camera["dtype"] == storage
    assert camera["shape"] == [8, 10, 3]
    assert camera["names"] == ["height", "width", "channels"]
    assert ("info" in camera) == (storage == "video")
    names = ["pan", "lift", "elbow", "flex", "roll", "gripper"]
    assert features["action"] == {"dtype": "float32", "shape": [6], "names": names}
    assert features["next.done"] == {"dtype": "bool", "shape": [1], "names": None}
    defaults = {"timestamp": "float32"} | dict.fromkeys(
        ("frame_index", "episode_index", "index", "task_index"), "int64"
    )
    for key, dtype in defaults.items():
        assert features[key] == {"dtype": dtype, "shape": [1], "names": None}


def test_episode_and_task_tables(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set", storage="video")
    rows = pq.read_table(data.root / EPISODES).to_pylist()
    wrist = "videos/observation.images.wrist"
    assert rows[1] == {
        "episode_index": 1,
        "tasks": ["pick it"],
        "length": 4,
        "seed": 5001,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": 7,
        "dataset_to_index": 11,
        **{f"videos/observation.images.{c}/{n}_index": 0 for c in CAMERAS for n in ("chunk", "file")},
        "videos/observation.images.overhead/from_timestamp": 0.35,
        "videos/observation.images.overhead/to_timestamp": 0.55,
        f"{wrist}/from_timestamp": 0.35,
        f"{wrist}/to_timestamp": 0.55,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    tasks = pq.read_table(data.root / "meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "pick it"}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_those_of_all_frames(tmp_path: Path, make_demos) -> None:
    data, episodes = make_demos(tmp_path / "set")
    stats = data.stats()
    assert stats.keys() == data.features.keys()
    for key in ("action", "observation.state", "observation.environment_state"):
        values = np.concatenate([e.vectors[key] for e in episodes]).astype(np.float64)
        np.testing.assert_allclose(stats[key]["mean"], values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(stats[key]["std"], values.std(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(stats[key]["max"], values.max(axis=0))
        np.testing.assert_allclose(stats[key]["q90"], np.quantile(values, 0.9, axis=0), rtol=1e-12)
        assert stats[key]["count"] == [20]
    pixels = np.concatenate([e.frames["observation.images.wrist"].reshape(-1, 3) for e in episodes]) / 255
    camera = stats["observation.images.wrist"]
    assert np.shape(camera["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(camera["mean"]), pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(camera["std"]), pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.ravel(camera["min"]), pixels.min(axis=0))
    np.testing.assert_array_equal(np.ravel(camera["max"]), pixels.max(axis=0))
    quantile = np.quantile(pixels, 0.5, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(np.ravel(camera["q50"]), quantile, rtol=1e-12)


def test_image_statistics_of_one_grey() -> None:
    frames = np.full((2, 3, 3, 3), 51, np.uint8)
    stats = image_statistics(pixel_histogram(frames), 2)
    assert np.ravel(stats["mean"]).tolist() == pytest.approx([0.2] * 3, abs=1e-15)
    assert np.ravel(stats["std"]).tolist() == pytest.approx([0.0] * 3, abs=1e-15)
    assert np.ravel(stats["q01"]).tolist() == [0.2] * 3


@pytest.mark.parametrize("storage", ["image", "video"])
def test_folders_that_lerobot_wrote(storage: str) -> None:
    """Written by lerobot 0.4.4 (golden/lerobot_v3/make.py), pictures as PNG and as AV1."""
    data = Demonstrations(Path(__file__).parent.parent / "golden/lerobot_v3" / storage)
    assert data.shapes["observation.images.top"] == (64, 64, 3)
    assert data.cameras_as(storage) == ["observation.images.top"]
    assert data.features["action"].names == ("j0", "j1", "j2", "j3", "j4", "j5")
    assert data.tasks() == ["task 0", "task 1"]
    assert data.episodes.lengths.tolist() == [5, 3]
    assert data.episodes.seeds is None
    assert np.shape(data.stats()["observation.images.top"]["mean"]) == (3, 1, 1)
    for episode, length in enumerate((5, 3)):
        rows = data.vectors(episode, ["action", "observation.state", "task_index"])
        places = 100 * episode + np.arange(length)
        np.testing.assert_array_equal(rows["observation.state"], np.repeat(places[:, None], 6, axis=1))
        np.testing.assert_array_equal(rows["action"], rows["observation.state"] + 0.5)
        assert rows["task_index"].tolist() == [episode] * length
        wanted = (30 + 60 * episode + 10 * np.arange(length))[:, None, None, None]
        bound = 0 if storage == "image" else 3
        assert np.abs(data.frames(episode, "top").astype(int) - wanted).max() <= bound


def test_other_ways_to_write_the_same(tmp_path: Path, make_demos) -> None:
    """Lists of variable size, row groups across episodes, an unnamed task index, grouped names, channels first."""
    data, episodes = make_demos(tmp_path / "set")
    table = pq.read_table(data.root / DATA)
    for key in ("action", "observation.state"):
        at = table.schema.get_field_index(key)
        table = table.set_column(at, key, table[key].cast(pa.list_(pa.float32())))
    table = table.append_column("extra", pa.array(range(20))).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, data.root / DATA, row_group_size=6)
    tasks = pa.table({"task_index": pa.array([1, 0]), "__index_level_0__": pa.array(["b", "a"], pa.large_string())})
    pq.write_table(tasks, data.root / "meta/tasks.parquet")
    info = json.loads((data.root / "meta/info.json").read_text())
    info["features"]["action"]["names"] = {"motors": ["j1", "j2", "j3", "j4", "j5", "j6"]}
    wrist = info["features"]["observation.images.wrist"]
    wrist["shape"], wrist["names"] = [3, 8, 10], ["channels", "height", "width"]
    (data.root / "meta/info.json").write_text(json.dumps(info))
    rows = pq.read_table(data.root / EPISODES).drop_columns(["seed"])
    pq.write_table(rows.slice(0, 2), data.root / EPISODES)
    pq.write_table(rows.slice(2), data.root / "meta/episodes/chunk-000/file-001.parquet")
    found = Demonstrations(data.root)
    assert found.tasks() == ["a", "b"]
    assert found.episodes.seeds is None
    assert found.collection() is None
    assert found.features["action"].names == ("j1", "j2", "j3", "j4", "j5", "j6")
    assert found.shapes["observation.images.wrist"] == (8, 10, 3)
    assert_same(found, episodes)


def test_png_keeps_every_bit(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(image), (5, 7, 3), "it"), image)


def test_video_needs_even_sides(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"H\.264 needs even image sizes, got 5×8"):
        write_video(tmp_path / "x.mp4", np.zeros((2, 5, 8, 3), np.uint8), 20)


def test_any_frame_of_a_video_can_be_the_first(tmp_path: Path) -> None:
    frames = np.broadcast_to((np.arange(30) * 8)[:, None, None, None], (30, 16, 16, 3)).astype(np.uint8)
    write_video(tmp_path / "x.mp4", frames, 20)
    for first in range(30):
        found = read_video(tmp_path / "x.mp4", np.arange(first, 30) / 20, (16, 16, 3), "it")
        assert np.abs(found.astype(int) - frames[first:]).max() <= 3
