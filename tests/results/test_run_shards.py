"""Parts of a run: who owns which, what a shard holds when it is finished, and how parts become one run."""

import errno
import fcntl
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_bench import SEEDS, Walkers, job, manifest

from act_eval.errors import RunFolderError, UsageError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.results import Manifest, RunFolder, Shard, check_sources, merge_runs, open_run, parse_sources
from act_eval.results.records import read_shard
from act_eval.video import VideoMode

MANIFEST = manifest()
CONDITIONS = MANIFEST.conditions
FEWER = replace(MANIFEST, configuration={**MANIFEST.configuration, "conditions": {"d0": {"delay": 0}}})
"""The same run without its second condition."""


def run(
    out: Path, shard: Shard | None, only: int | None = None, video: VideoMode = "none", of: Manifest = MANIFEST
) -> None:
    """Run a part; only the first few episodes of its first condition if told so."""
    whole = job(out)
    work = replace(
        whole, video=video, conditions={condition: whole.conditions[condition] for condition in of.conditions}
    )
    with worker_pool(Walkers(work.batch), 1) as team, open_run(out, of, may_grow=True, shard=shard) as folder:
        blocks = cut_blocks(work, folder.done(), 1)
        if blocks:
            begun = blocks if only is None else [replace(blocks[0], episodes=blocks[0].episodes[:only])]
            team.run(work, begun, folder.new_shards(1), lambda condition, record: None)
        if only is None:
            folder.finish() if shard is None else folder.finish_shard()


def content(out: Path) -> dict[str, bytes]:
    names = [p for p in out.glob("*/*") if p.name in ("episodes.jsonl", "metrics.jsonl")] + list(out.glob("d*/steps/*"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in names}


def videos(*outs: Path) -> dict[str, bytes]:
    found = [(path.relative_to(out).as_posix(), path) for out in outs for path in out.glob("d*/videos/*")]
    return {name: path.read_bytes() for name, path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("parts") / "whole"
    run(out, None)
    return content(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    for number in (1, 2, 3):
        run(root / f"on_machine_{number}", Shard(number, 3), video="failures")
    return root


@pytest.fixture
def cut(tmp_path: Path, made: Path) -> list[Path]:
    """Three parts, each in a folder of its own."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in sorted(made.iterdir())]


@given(st.integers(1, 60), st.data())
def test_parts_hold_every_episode_once_and_differ_by_one_at_most(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))
    parts = [Shard(number, count).episodes(total) for number in range(1, count + 1)]
    assert sorted(episode for part in parts for episode in part) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", " 1/2", "1/2.0", "1/9999999", "١/٢"]
)
def test_what_names_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^(--shard is .*; it must be NUMBER/COUNT, as in 2/8|shard \d/2: there)"):
        Shard.parse(text)


def test_more_parts_than_episodes_are_refused() -> None:
    with pytest.raises(UsageError, match="--shard 1/12: 11 episodes make at most 11 shards"):
        Shard.parse("1/12").episodes(11)


def test_parts_in_one_folder_become_the_whole_run(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    for number in (2, 3, 1):
        run(out, Shard(number, 3))
        lines = list(read_shard(out / "shards" / f"{number}-of-3.jsonl"))
        assert [(line.condition, line.record.episode) for line in lines] == [
            (condition, episode) for condition in CONDITIONS for episode in range(number - 1, len(SEEDS), 3)
        ]
    records = merge_runs(parse_sources([out]), out)
    merged = Manifest.read(out)
    assert [record.seed for record in records["d0"]] == list(SEEDS)
    assert content(out) == whole
    assert list((out / "shards").iterdir()) == []
    assert merge_runs(parse_sources([out]), out) == records
    assert Manifest.read(out) == merged


def test_parts_from_several_machines_become_the_whole_run(
    tmp_path: Path, cut: list[Path], whole: dict[str, bytes]
) -> None:
    before = {folder: content(folder) for folder in cut}
    out = tmp_path / "run"
    records = merge_runs(parse_sources(cut), out)
    merged = Manifest.read(out)
    assert content(out) == whole
    assert len(merged.notes["merged"]) == 3
    assert len(videos(out)) > 3
    assert videos(out) == videos(*cut)
    assert {folder: content(folder) for folder in cut} == before
    assert merge_runs(parse_sources(cut), out) == records
    assert Manifest.read(out) == merged


def test_single_shards_are_taken_and_the_others_left(tmp_path: Path, cut: list[Path], whole: dict[str, bytes]) -> None:
    shutil.copytree(cut[0] / "shards", cut[1] / "shards", dirs_exist_ok=True)
    shutil.copytree(cut[0], cut[1], dirs_exist_ok=True)
    shards = [
        cut[1] / "shards" / "1-of-3.jsonl",
        cut[1] / "shards" / "2-of-3.jsonl",
        cut[2] / "shards" / "3-of-3.jsonl",
    ]
    with pytest.raises(RunFolderError, match="condition d0: 4 of 11 episodes are missing: 0, 3, 6, 9"):
        merge_runs(parse_sources(shards[1:]), tmp_path / "lacking")
    assert not (tmp_path / "lacking").exists()
    merge_runs(parse_sources(shards), tmp_path / "run")
    assert content(tmp_path / "run") == whole


def test_an_interrupted_part_is_resumed(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    run(out, Shard(1, 2), only=3)
    assert [path.name for path in (out / "shards" / "1-of-2").iterdir()] == ["00000.jsonl"]
    with open_run(out, MANIFEST, shard=Shard(1, 2)) as folder:
        assert {len(numbers) for numbers in folder.done().values()} == {5, 8}  # the other part's, and three
        with pytest.raises(RunFolderError, match=r"condition d0: 3 of 6 episodes are missing: 6, 8, 10"):
            folder.finish_shard()
    run(out, Shard(1, 2))
    run(out, Shard(2, 2))
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


def test_a_run_that_was_begun_whole_can_be_cut(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    run(out, None, only=2)
    for number in (1, 2):
        run(out, Shard(number, 2))
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


def test_a_run_that_was_cut_can_be_finished_whole(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    run(out, Shard(1, 2))
    run(out, Shard(2, 2), only=1)
    run(out, None)
    assert content(out) == whole


def test_a_finished_part_may_get_further_conditions(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    for number in (1, 2):
        run(out, Shard(number, 2), of=FEWER)
    run(out, Shard(1, 2), only=1)
    assert not RunFolder(out, MANIFEST, Shard(1, 2)).is_complete()
    run(out, Shard(1, 2))
    assert RunFolder(out, MANIFEST, Shard(1, 2)).is_complete()
    with pytest.raises(RunFolderError, match="condition d2: 5 of 11 episodes are missing: 1, 3, 5, 7, 9"):
        check_sources(parse_sources([out]), out)
    run(out, Shard(2, 2))
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


def test_conditions_that_are_merged_stay_where_others_are_added_in_parts(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "run"
    run(out, None, of=FEWER)
    for number in (1, 2):
        run(out, Shard(number, 2))
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


def test_a_part_that_died_at_its_very_end_is_there_once(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    run(out, Shard(1, 2))
    left = out / "shards" / "1-of-2"
    left.mkdir()
    shutil.copy(out / "shards" / "1-of-2.jsonl", left / "00000.jsonl")  # as before the processes' files are dropped
    run(out, Shard(2, 2))
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


def test_parts_may_share_a_folder_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def as_nfs_does(file: int, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if mode != os.O_RDWR and mode != (os.O_RDONLY if operation & fcntl.LOCK_SH else os.O_WRONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", as_nfs_does)
    with open_run(tmp_path, MANIFEST, shard=Shard(1, 2)), open_run(tmp_path, MANIFEST, shard=Shard(2, 2)):
        pass


def test_episodes_that_are_there_twice_are_named_with_their_files(tmp_path: Path, cut: list[Path]) -> None:
    again = tmp_path / "again"
    shutil.copytree(cut[1], again)
    with pytest.raises(RunFolderError, match="8 episodes are duplicated:") as refusal:
        merge_runs(parse_sources([*cut, again]), tmp_path / "run")
    shards = [str(folder / "shards" / "2-of-3.jsonl") for folder in (cut[1], again)]
    assert f"  d0, episode 1: {shards[0]}, {shards[1]}" in str(refusal.value).splitlines()
    assert not (tmp_path / "run").exists()


def test_parts_of_other_runs_are_refused_by_what_differs(tmp_path: Path, cut: list[Path]) -> None:
    other = replace(MANIFEST, fingerprint={**MANIFEST.fingerprint, "cpu": "Z80"})
    with open_run(tmp_path / "other", other):
        pass
    with pytest.raises(RunFolderError, match="belong to different runs") as refusal:
        merge_runs(parse_sources([*cut, tmp_path / "other"]), tmp_path / "run")
    assert str(refusal.value).splitlines()[1].endswith("against Z80")


def test_what_is_no_part_is_refused(tmp_path: Path, cut: list[Path]) -> None:
    (tmp_path / "notes.txt").touch()
    for path, text in [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "notes.txt", "is neither a run folder nor one of its shards"),
        (tmp_path, "is not a run folder: it has no manifest.json"),
    ]:
        with pytest.raises(RunFolderError, match=text):
            merge_runs(parse_sources([*cut, path]), tmp_path / "run")
    with pytest.raises(RunFolderError, match="is one of the runs that are merged; choose another --out"):
        merge_runs(parse_sources(cut), cut[0])
    merge_runs(parse_sources(cut), tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"is merged already \(d0, d2\): it is not a shard of a run"):
        merge_runs(parse_sources([tmp_path / "run", *cut]), tmp_path / "more")


def test_a_part_without_its_steps_is_refused(tmp_path: Path, cut: list[Path]) -> None:
    lost = cut[1] / "d2" / "steps" / "0004.npz"
    lost.unlink()
    with pytest.raises(RunFolderError, match=r"0004.npz is missing; run that shard again"):
        merge_runs(parse_sources(cut), tmp_path / "run")


def test_parts_have_owners(tmp_path: Path) -> None:
    one = Shard(1, 2)
    with open_run(tmp_path, MANIFEST, shard=one):
        with (
            pytest.raises(RunFolderError, match=r"1-of-2 is in use by another process"),
            open_run(tmp_path, MANIFEST, shard=one),
        ):
            pass
        with pytest.raises(RunFolderError, match=r"is in use by another process"), open_run(tmp_path, MANIFEST):
            pass
        with open_run(tmp_path, MANIFEST, shard=Shard(2, 2)) as second:
            assert second.selected() == range(1, len(SEEDS), 2)
        (tmp_path / "shards" / "2-of-2.jsonl").touch()
        with (
            pytest.raises(RunFolderError, match=r"is already split into 2 shards, and --shard is one of 3"),
            open_run(tmp_path, MANIFEST, shard=Shard(1, 3)),
        ):
            pass
