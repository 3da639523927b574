"""Damaged or unfitting demonstration folders are refused by name."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from act_eval.datasets import DatasetWriter, Demonstrations, Shown, demonstration_features
from act_eval.datasets.images import encode_png, write_video
from act_eval.errors import DatasetError, FeatureMismatch

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def _edit_info(root: Path, **changes: object) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | changes))


def _edit_table(path: Path, column: str, values: list[object]) -> None:
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, pa.array(values, table.schema.field(column).type)), path)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda r: (r / "meta/info.json").unlink(), r"meta/info\.json is missing"),
        (lambda r: (r / "meta/info.json").write_text("{"), r"meta/info\.json is damaged: not JSON"),
        (
            lambda r: (r / "meta/info.json").write_text("[]"),
            r"info\.json is damaged: it is a list with 0 entries; it must be an object",
        ),
        (lambda r: _edit_info(r, codebase_version="v2.1"), r"codebase_version 'v2\.1'; LeRobotDataset v3 is needed"),
        (lambda r: _edit_info(r, fps=None), r"info\.json is damaged: fps is null; it must be a finite number"),
        (lambda r: _edit_info(r, features={"action": {"dtype": "float32"}}), r"features\.action\.shape is missing"),
        (lambda r: _edit_info(r, total_frames=21), r"says 21 frames; its episodes have 20"),
        (lambda r: (r / EPISODES).unlink(), r"meta/episodes has no Parquet file"),
        (lambda r: _edit_table(r / EPISODES, "dataset_from_index", [0, 8, 11]), "must follow each other without a gap"),
        (lambda r: pq.write_table(pa.table({"length": [1]}), r / EPISODES), r"has no column episode_index"),
        (lambda r: (r / DATA).unlink(), r"file-000\.parquet is missing; the data set is incomplete"),
        (lambda r: (r / DATA).write_bytes((r / DATA).read_bytes()[:-50]), r"file-000\.parquet is damaged"),
        (
            lambda r: pq.write_table(pq.read_table(r / DATA).slice(1), r / DATA),
            r"begins with index 1; the rows before it",
        ),
        (lambda r: pq.write_table(pq.read_table(r / DATA).slice(0, 19), r / DATA), r"19 frames.*episodes have 20"),
        (
            lambda r: pq.write_table(pq.read_table(r / DATA).drop_columns(["action"]), r / DATA),
            r"file-000\.parquet has no column action",
        ),
    ],
)
def test_damaged_folder_is_refused_when_opened(tmp_path: Path, make_demos, spoil, text: str) -> None:
    data, _ = make_demos(tmp_path / "set")
    Demonstrations(data.root)
    spoil(data.root)
    with pytest.raises(DatasetError, match=text):
        Demonstrations(data.root)


def test_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no data set folder .*nowhere; `act-eval collect` makes one"):
        Demonstrations(tmp_path / "nowhere")


def test_missing_video_is_refused(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set", storage="video")
    (data.root / "videos/observation.images.wrist/chunk-000/file-000.mp4").unlink()
    with pytest.raises(DatasetError, match=r"wrist/chunk-000/file-000\.mp4 is missing"):
        Demonstrations(data.root)


def test_broken_and_short_videos_are_named(tmp_path: Path, make_demos) -> None:
    data, episodes = make_demos(tmp_path / "set", storage="video")
    path = data.root / "videos/observation.images.wrist/chunk-000/file-000.mp4"
    write_video(path, episodes[0].frames["observation.images.wrist"], 20)
    assert len(data.frames(0, "wrist")) == 7
    with pytest.raises(DatasetError, match=r"no frame within 0\.0001 s of 0\.3500 s, the time of .* episode 1 frame 0"):
        data.frames(1, "wrist")
    path.write_bytes(b"no video")
    with pytest.raises(DatasetError, match="is not a readable video"):
        data.frames(0, "wrist")


def test_damaged_pictures_are_named(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    key = "observation.images.wrist"
    pictures = pq.read_table(data.root / DATA)[key].to_pylist()
    for spoiled, text in (
        ({"bytes": pictures[8]["bytes"][:60], "path": None}, f"episode 1 {key} frame 1 holds a damaged picture"),
        (
            {"bytes": encode_png(np.zeros((4, 4, 3), np.uint8)), "path": None},
            r"shape \(4, 4, 3\); \(8, 10, 3\) is decl",
        ),
        ({"bytes": None, "path": "x.png"}, f"has no picture inside its data file for {key} frame 1"),
    ):
        _edit_table(data.root / DATA, key, [*pictures[:8], spoiled, *pictures[9:]])
        found = Demonstrations(data.root)
        assert len(found.frames(0, "wrist")) == 7
        with pytest.raises(DatasetError, match=text):
            found.frames(1, "wrist")


def test_vectors_of_another_length_are_refused(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    _edit_table(data.root / DATA, "next.done", [None] * 20)
    with pytest.raises(DatasetError, match="column of type bool should hold 1 numbers in each of 7 rows"):
        Demonstrations(data.root).vectors(0, ["next.done"])


def test_stats_that_lack_a_feature_are_refused(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    stats = data.stats()
    del stats["observation.environment_state"]
    (data.root / "meta/stats.json").write_text(json.dumps(stats))
    with pytest.raises(DatasetError, match=r"observation\.environment_state has no statistics 'min'"):
        data.stats()


def test_misfits_are_named_by_feature(tmp_path: Path, make_demos) -> None:
    data, _ = make_demos(tmp_path / "set")
    data.require({"action": (6,), "observation.images.overhead": (8, 8, 3)})
    text = (
        r"action: \(7,\) is needed, \(6,\) is there; observation\.images\.top: \(8, 8, 3\) is needed, nothing is there"
    )
    with pytest.raises(FeatureMismatch, match=text):
        data.require({"action": (7,), "observation.state": (6,), "observation.images.top": (8, 8, 3)})
    with pytest.raises(FeatureMismatch, match="has no camera 'top'; it has: overhead, wrist"):
        data.frames(0, "top")


def test_writer_refuses_full_folders_and_empty_sets(tmp_path: Path) -> None:
    features = demonstration_features(Shown(state=("a",), action=("a",), cameras={}), "image")
    new = DatasetWriter(tmp_path / "new", features, fps=20, task="t", robot="r")
    with pytest.raises(DatasetError, match="would have no episode"):
        new.finish({})
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is not empty"):
        DatasetWriter(tmp_path, features, fps=20, task="t", robot="r")
