"""Somebody else's data: read as LeRobot reads it, or refused by name; never other numbers, never a traceback."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from act_eval.datasets import Demonstrations, open_cache
from act_eval.datasets.images import write_video
from act_eval.errors import ActEvalError, DatasetError

DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
WRIST = "observation.images.wrist"
VIDEO = f"videos/{WRIST}/chunk-000/file-000.mp4"


def _edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(change(values) or values))


def _edit_column(path: Path, name: str, values: Any) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values)), path)


def _read_all(root: Path) -> dict[str, Any]:
    """Everything that training reads."""
    data = Demonstrations(root)
    keys = ["action", "observation.state"]
    found: dict[str, Any] = {"vectors": [data.vectors(e, keys) for e in range(len(data.episodes))]}
    found["frames"] = [data.frames(e, camera) for e in range(len(data.episodes)) for camera in data.cameras]
    return found | {"stats": data.stats(), "tasks": data.tasks()}


@pytest.fixture
def video_set(tmp_path: Path, make_demos) -> tuple[Path, list, np.ndarray]:
    data, episodes = make_demos(tmp_path / "set", storage="video", size=16)
    return data.root, episodes, np.concatenate([episode.frames[WRIST] for episode in episodes])


def test_frames_of_a_denser_video_are_taken_by_their_time(video_set) -> None:
    root, episodes, frames = video_set
    others = np.full_like(frames, 255)
    write_video(root / VIDEO, np.stack([frames, others], axis=1).reshape(-1, *frames.shape[1:]), 40)
    data = Demonstrations(root)
    for number, episode in enumerate(episodes):
        assert np.abs(data.frames(number, "wrist").astype(int) - episode.frames[WRIST]).max() <= 3


def test_a_dropped_frame_is_named_and_does_not_shift_the_others(video_set) -> None:
    root, _, frames = video_set
    write_video(root / VIDEO, np.delete(frames, 9, axis=0), 20)
    assert len(Demonstrations(root).frames(1, "wrist")) == 4  # the video's frames are evenly spaced again
    write_video(root / VIDEO, frames[:18], 20)
    text = (
        rf"{root / VIDEO} has no frame within 0\.0001 s of 0\.9000 s, the time of .*set episode 2 frame 7; its nearest"
    )
    with pytest.raises(DatasetError, match=text + r" is at 0\.8500 s"):
        Demonstrations(root).frames(2, "wrist")


def test_times_between_two_frames_are_refused(video_set) -> None:
    root, _, _ = video_set
    times = pq.read_table(root / DATA)["timestamp"].to_numpy().copy()
    times[8] += 0.01
    _edit_column(root / DATA, "timestamp", times)
    with pytest.raises(DatasetError, match=r"0\.4100 s, the time of .* episode 1 frame 1; its nearest is at 0\.4000 s"):
        Demonstrations(root).frames(1, "wrist")


def test_rows_are_found_over_all_files_whatever_the_episodes_say(tmp_path: Path, make_demos) -> None:
    data, episodes = make_demos(tmp_path / "set")
    table = pq.read_table(data.root / DATA)
    pq.write_table(table.slice(11), data.root / DATA)  # the order of the files is not that of the rows
    pq.write_table(table.slice(0, 11), data.root / "data/chunk-000/file-001.parquet", row_group_size=3)
    found = Demonstrations(data.root)
    for number, episode in enumerate(episodes):
        np.testing.assert_array_equal(found.vectors(number, ["action"])["action"], episode.vectors["action"])
        np.testing.assert_array_equal(found.frames(number, "wrist"), episode.frames[WRIST])


@pytest.mark.parametrize(
    ("column", "rows", "text"),
    [
        ("index", [*range(11, 20), *range(11)], r"row 9 has index 0 after 19: rows must be in order"),
        ("index", range(1, 21), r"row 6 has index 7, episode_index 0; .* is in episode 1"),
        ("index", range(-1, 19), r"row 0 has index -1, episode_index 0; .*is in none"),
        ("episode_index", [0] * 7 + [2] * 4 + [1] * 9, r"row 7 has index 7, episode_index 2; .* is in episode 1"),
        ("index", np.arange(20.0), r"index holds values of type double; whole numbers are needed"),
        ("index", [None] * 20, r"should hold 1 numbers in each of 20 rows"),
    ],
)
def test_rows_that_contradict_the_episodes_are_refused(tmp_path: Path, make_demos, column, rows, text) -> None:
    data, _ = make_demos(tmp_path / "set")
    _edit_column(data.root / DATA, column, rows)
    with pytest.raises(DatasetError, match=text):
        Demonstrations(data.root)


def test_a_file_with_the_rows_of_another_is_refused(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    shutil.copy(data.root / DATA, data.root / "data/chunk-000/file-001.parquet")
    with pytest.raises(DatasetError, match=r"file-001\.parquet begins with index 0; the rows before it end at 20"):
        Demonstrations(data.root)


@pytest.mark.parametrize(
    ("fps", "text"),
    [(0, "fps is 0; it must be above 0"), (-20, "fps is -20"), (float("nan"), "fps is NaN"), ("20", "fps is '20'")],
)
def test_impossible_rates_are_refused(tmp_path: Path, make_demos, fps: Any, text: str) -> None:
    data, _ = make_demos(tmp_path / "set")
    _edit_json(data.root / "meta/info.json", lambda info: info | {"fps": fps})
    with pytest.raises(DatasetError, match=text):
        Demonstrations(data.root)


def _rename(root: Path, old: str, new: str) -> None:
    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {new if key == old else key: value for key, value in values.items()}

    _edit_json(root / "meta/info.json", lambda info: info | {"features": renamed(info["features"])})
    _edit_json(root / "meta/stats.json", renamed)
    table = pq.read_table(root / DATA)
    pq.write_table(table.rename_columns([new if name == old else name for name in table.column_names]), root / DATA)


def test_the_single_camera_of_pusht_is_read(tmp_path: Path, make_demos) -> None:
    data, episodes = make_demos(tmp_path / "set")
    stats = data.stats()
    _rename(data.root, WRIST, "observation.image")
    found = Demonstrations(data.root)
    assert found.cameras == ("overhead", "image")
    np.testing.assert_array_equal(found.frames(1, "image"), episodes[1].frames[WRIST])
    cached = open_cache(found).read("observation.images.image", np.arange(7))
    np.testing.assert_array_equal(cached, episodes[0].frames[WRIST].transpose(0, 3, 1, 2))
    assert found.stats()["observation.images.image"] == stats[WRIST]
    _rename(data.root, "observation.images.overhead", "observation.images.image")
    with pytest.raises(DatasetError, match=r"images\.image and observation\.image are both the camera 'image'"):
        Demonstrations(data.root)


def test_string_columns_need_no_statistics(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    table = pq.read_table(data.root / DATA)
    pq.write_table(table.append_column("language", pa.array(["pick it"] * 20)), data.root / DATA)
    language = {"dtype": "string", "shape": [1], "names": None}
    _edit_json(data.root / "meta/info.json", lambda info: info["features"].update(language=language))
    assert "language" not in _read_all(data.root)["stats"]
    with pytest.raises(DatasetError, match="language: a column of type string should hold 1 numbers"):
        Demonstrations(data.root).vectors(0, ["language"])


@pytest.mark.parametrize(
    ("key", "name", "value", "text"),
    [
        ("action", "std", [None] * 6, r"stats\.json: action: statistics 'std' are not numbers: \[None"),
        ("action", "mean", ["0"] * 6, "action: statistics 'mean' are not numbers"),
        ("action", "mean", [0.0] * 5, r"'mean' have shape \(5,\); the feature has \(6,\)"),
        ("action", "std", [-1.0] * 6, "'std' are .* which is impossible"),
        ("action", "std", [float("nan")] * 6, r"action\.std.* NaN"),
        ("observation.state", "min", None, "'min' are not numbers: None"),
        ("observation.state", "max", [[1, 2], [3]], "'max' are no array of numbers"),
        (WRIST, "mean", [0.5, 0.5, 0.5], r"'mean' have shape \(3,\); the feature has \(3, 1, 1\)"),
        (WRIST, "count", [0], r"'count' are \[0\], which is impossible"),
    ],
)
def test_statistics_that_are_no_numbers_are_named(tmp_path: Path, make_demos, key, name, value, text) -> None:
    data, _ = make_demos(tmp_path / "set")
    _edit_json(data.root / "meta/stats.json", lambda stats: stats[key].update({name: value}))
    with pytest.raises(DatasetError, match=text):
        data.stats()


@pytest.mark.parametrize("key", ["action", "observation.state", "observation.environment_state"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_before_training(tmp_path: Path, make_demos, key: str, value) -> None:
    data, episodes = make_demos(tmp_path / "set")
    values = np.concatenate([episode.vectors[key] for episode in episodes])
    values[8, 1] = value
    _edit_column(data.root / DATA, key, list(values))
    with pytest.raises(DatasetError, match=rf"set episode 1 frame 1: {key} is \[.*(nan|inf).*finite float32"):
        open_cache(Demonstrations(data.root))


@pytest.mark.parametrize("name", ["data_path", "video_path"])
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{chunk}/x.parquet", r"'\{chunk\}/x\.parquet' fails; its fields are video_key, chunk_index, file_index"),
        ("{}/x", "fails; its fields are"),
        ("{chunk_index.real.x}", "fails; its fields are"),
        ("{chunk_index[0]}", "fails; its fields are"),
        ("{chunk_index", "fails; its fields are"),
        ("{chunk_index:q}", "fails; its fields are"),
        ("/etc/{chunk_index}", "leads to '/etc/0', which is no path in the data set"),
        ("../set/data/chunk-000/file-000.parquet", "which is no path in the data set"),
        (".", "which is no path in the data set"),
        ("data/\0", "which is no path in the data set"),
        ("data/" + 300 * "x", "is missing|name too long"),
        ("data/**/x", "is missing"),
    ],
)
def test_odd_templates_are_refused(tmp_path: Path, make_demos, name: str, template: str, text: str) -> None:
    data, _ = make_demos(tmp_path / "set", storage="video")
    _edit_json(data.root / "meta/info.json", lambda info: info | {name: template})
    with pytest.raises(DatasetError, match=text):
        Demonstrations(data.root)


ODD = (None, True, -1, 3.5, 10**30, "x", "", [], ["x"], [-1], [10**9, 10**9, 10**9], {}, {"x": [1]})


def _odd_infos(info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in ODD:
        for key in info:
            yield info | {key: value}
        for feature, entry in info["features"].items():
            yield info | {"features": info["features"] | {feature: value}}
            for field in ("dtype", "shape", "names"):
                yield info | {"features": info["features"] | {feature: entry | {field: value}}}


@pytest.mark.parametrize("storage", ["image", "video"])
def test_an_info_file_of_any_shape_is_read_or_refused(tmp_path: Path, make_demos, storage: str) -> None:
    data, _ = make_demos(tmp_path / "set", lengths=(2, 2), storage=storage)
    path = data.root / "meta/info.json"
    refused = 0
    for info in _odd_infos(json.loads(path.read_text())):
        path.write_text(json.dumps(info))
        try:
            _read_all(data.root)
        except ActEvalError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("file", [DATA, EPISODES, "meta/tasks.parquet"])
@pytest.mark.parametrize("storage", ["image", "video"])
def test_columns_of_any_type_are_read_or_refused(tmp_path: Path, make_demos, file: str, storage: str) -> None:
    data, _ = make_demos(tmp_path / "set", lengths=(2, 2), storage=storage)
    table = pq.read_table(data.root / file)
    rows, refused = table.num_rows, 0
    for at, name in enumerate(table.column_names):
        odd = [["x"] * rows, [None] * rows, [-1] * rows, [float("nan")] * rows, [[1, 2]] * rows, [{"a": 1}] * rows]
        odd += [[2**62] * rows, [b"\0"] * rows, [{"bytes": b"no", "path": None}] * rows, [{"bytes": 3}] * rows]
        spoiled = [table.set_column(at, name, pa.array(values)) for values in odd]
        spoiled += [table.remove_column(at), table.append_column(name, table[name]), table.slice(1)]
        for one in spoiled:
            pq.write_table(one, data.root / file)
            try:
                _read_all(data.root)
            except ActEvalError:
                refused += 1
    assert refused > rows
