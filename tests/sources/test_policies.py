import shutil
from pathlib import Path

import pytest

from act_eval.errors import CheckpointError, UnknownName
from act_eval.sources.network_sources import digest, label
from act_eval.sources.policies import checkpoint_folder


def write(folder: Path, config: str = "{}") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_checkpoint_is_found_by_its_folder_or_by_the_one_around_it(tmp_path: Path):
    inner = write(tmp_path / "step" / "pretrained_model")
    assert checkpoint_folder(str(inner)) == inner
    assert checkpoint_folder(str(tmp_path / "step")) == inner


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"is a folder without a checkpoint: it has no config.json"):
        checkpoint_folder(str(tmp_path))


@pytest.mark.parametrize("last", [True, False])
def test_the_folder_of_a_training_names_its_newest_checkpoint(tmp_path: Path, last: bool):
    steps = tmp_path / "run" / "checkpoints"
    for step in ("000900", "020000", "1000000"):
        (steps / step / "pretrained_model").mkdir(parents=True)
        (steps / step / "pretrained_model" / "config.json").write_text("{}")
    if last:
        (steps / "last").symlink_to("020000")
    newest = steps / ("last" if last else "1000000")
    for folder in (tmp_path / "run", steps):
        with pytest.raises(CheckpointError, match=f"of a training, whose newest checkpoint is {newest}$"):
            checkpoint_folder(str(folder))
    assert checkpoint_folder(str(newest)) == newest / "pretrained_model"


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(
        UnknownName, match=r"unknown policy 'nonsense'; there are: .*expert.*path of a checkpoint folder"
    ):
        checkpoint_folder("nonsense")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("act_rtc", "act_rtc"), ("/a/b/pretrained_model", "b"), ("../runs/x/", "x"), ("/", "policy"), (".", "policy")],
)
def test_a_policy_has_a_short_name(name: str, expected: str):
    assert label(name) == expected


def test_the_digest_is_that_of_the_content_wherever_it_lies(tmp_path: Path):
    first = write(tmp_path / "a")
    copy = Path(shutil.copytree(first, tmp_path / "b"))
    assert digest(first) == digest(copy)
    (copy / "notes.txt").write_text("no part of the policy")
    assert digest(first) == digest(copy)
    (copy / "model.safetensors").write_bytes(b"other")
    assert digest(first) != digest(copy)
    assert digest(write(tmp_path / "c", '{"chunk_size": 3}')) != digest(first)
