"""A run folder: names that are paths are refused, changed files are noticed, and lost files are made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_bench import Walkers, job, manifest

from act_eval.errors import RunFolderError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.results import Manifest, Shard, merge_runs, open_run, parse_sources
from act_eval.results.integrity import DIGESTS
from act_eval.results.records import ShardWriter, read_shard
from act_eval.results.run import read_run
from act_eval.types import EpisodeRecord


def run(out: Path, shard: Shard | None = None, workers: int = 1, video: bool = False) -> int:
    """Run what is missing of a run of toys, or of a shard of it; return how many episodes that were."""
    from dataclasses import replace

    work, count = replace(job(out), video="all" if video else "none"), 0

    def ended(condition: str, record: object) -> None:
        nonlocal count
        count += isinstance(record, EpisodeRecord)

    with open_run(out, manifest(), shard=shard) as folder:
        if blocks := cut_blocks(work, folder.done(), workers):
            with worker_pool(Walkers(work.batch), workers) as team:
                team.run(work, blocks, folder.new_shards(workers), ended)
        folder.finish_own()
    return count


def content(out: Path) -> dict[str, bytes]:
    kinds = ("*/*.json*", "*/steps/*", "*/videos/*")
    paths = [path for kind in kinds for path in out.glob(kind) if path.name != "timings.jsonl"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run(out, video=True)
    return out


@pytest.fixture
def whole(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_digests_depend_on_the_episodes_alone(made: Path, tmp_path: Path) -> None:
    run(tmp_path / "two", workers=2, video=True)
    assert content(tmp_path / "two") == content(made)
    digests = json.loads((made / "d0" / DIGESTS).read_text())
    assert {name.split("/")[0] for name in digests} == {"episodes.jsonl", "metrics.jsonl", "steps", "videos"}


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        (["d0/steps/0001.npz"], 1),
        (["d0/steps/0001.npz", "d2/steps/0000.npz", "d2/steps/0002.npz"], 3),
        (["d0/steps"], 11),
        (["d2/videos"], 11),
        (["d0/metrics.jsonl"], 11),
        (["d0/timings.jsonl"], 11),
        (["d0/episodes.jsonl"], 11),
        (["d0"], 11),
    ],
)
def test_what_is_gone_is_made_again(made: Path, whole: Path, lost: list[str], again: int) -> None:
    for name in lost:
        (shutil.rmtree if (whole / name).is_dir() else Path.unlink)(whole / name)
    assert run(whole, video=True) == again
    assert content(whole) == content(made)
    assert run(whole, video=True) == 0


def test_an_unfinished_run_makes_again_what_is_gone(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, Shard(1, 2), video=True)
    run(out, Shard(2, 2), video=True)
    (out / "d0/steps/0001.npz").unlink()
    with pytest.raises(RunFolderError, match=r"condition d0: 1 of 11 episodes are missing: 1"):
        merge_runs(parse_sources([out]), out)
    assert run(out, Shard(2, 2), video=True) == 1
    merge_runs(parse_sources([out]), out)
    assert content(out) == content(made)


def test_a_shard_makes_again_only_what_is_its_own(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for number in (1, 2):
        run(out, Shard(number, 2), video=True)
    (out / "d0/steps/0001.npz").unlink()
    (out / "d0/steps/0002.npz").unlink()
    assert [run(out, Shard(number, 2), video=True) for number in (1, 2)] == [1, 1]
    merge_runs(parse_sources([out]), out)
    assert content(out) == content(made)


@pytest.mark.parametrize("file", ["episodes.jsonl", "metrics.jsonl", "timings.jsonl", "steps/0001.npz"])
def test_what_the_error_of_a_truncated_file_advises_works(made: Path, whole: Path, file: str) -> None:
    path = whole / "d0" / file
    path.write_bytes(path.read_bytes()[:-20])
    condition = read_run(whole).conditions["d0"]
    read: Callable[[], object] = (lambda: condition.steps(1)) if "steps" in file else (lambda: condition.metrics)
    with pytest.raises(RunFolderError, match="delete it and repeat the run's command"):
        read()
    path.unlink()
    assert run(whole, video=True) == (1 if "steps" in file else 11)
    assert content(whole) == content(made)


def swapped(text: str) -> str:
    """Return the records with a failure made a success."""
    assert '"outcome":"missed"' in text
    return text.replace('"outcome":"missed"', '"outcome":"success"', 1)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("d0/episodes.jsonl", swapped),
        ("d0/episodes.jsonl", lambda text: text.replace('"steps":', '"steps": ', 1)),
        ("d0/metrics.jsonl", lambda text: text.replace('"control_s":0.', '"control_s":1.', 1)),
    ],
)
def test_a_file_changed_by_hand_is_refused_and_its_advice_works(
    made: Path, whole: Path, file: str, change: Callable[[str], str]
) -> None:
    path = whole / file
    path.write_text(change(path.read_text()))
    read: Callable[[], object] = lambda: read_run(whole).check_complete()  # noqa: E731
    for attempt in (read, lambda: run(whole, video=True)) if "episodes" in file else (read,):
        with pytest.raises(RunFolderError, match=f"{path.name} was changed after the run: its digest is .* delete it"):
            attempt()
    path.unlink()
    assert run(whole, video=True) == 11
    assert content(whole) == content(made)


def test_a_changed_file_is_not_sealed_again_beside_a_lost_one(whole: Path) -> None:
    (whole / "d0/steps/0001.npz").unlink()
    for file, change in (("episodes.jsonl", swapped), ("metrics.jsonl", lambda text: text.replace("0.", "1.", 1))):
        path = whole / "d0" / file
        before = path.read_text()
        path.write_text(change(before))
        with pytest.raises(RunFolderError, match=f"{file} was changed after the run"):
            run(whole, video=True)
        path.write_text(before)
    timings = whole / "d0/timings.jsonl"
    timings.write_text("".join(timings.read_text().splitlines(keepends=True)[:4]))
    assert run(whole, video=True) == 11, "times of some episodes are gone: all run again"


def test_an_exchange_of_two_conditions_is_noticed(whole: Path) -> None:
    first, second = whole / "d0/episodes.jsonl", whole / "d2/episodes.jsonl"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(RunFolderError, match="was changed after the run"):
        read_run(whole).check_complete()


def test_changed_steps_are_noticed(whole: Path) -> None:
    path = whole / "d0/steps/0001.npz"
    path.write_bytes((whole / "d0/steps/0002.npz").read_bytes())
    with pytest.raises(RunFolderError, match=r"0001\.npz was changed after the run .*; delete it and repeat"):
        read_run(whole).conditions["d0"].steps(1)


def test_records_without_their_digests_are_refused(whole: Path) -> None:
    (whole / "d0" / DIGESTS).unlink()
    with pytest.raises(RunFolderError, match=r"digests\.json is missing, so nobody can tell"):
        _ = read_run(whole).conditions["d0"].records
    (whole / "d0/episodes.jsonl").unlink()
    assert run(whole, video=True) == 11


def test_a_record_changed_in_a_shard_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", Shard(1, 2))
    shard = tmp_path / "run/shards/1-of-2.jsonl"
    shard.write_text(swapped(shard.read_text()))
    with pytest.raises(RunFolderError, match=r"1-of-2\.jsonl, line \d+: the record was changed after the run"):
        list(read_shard(shard))
    shard.unlink()
    assert run(tmp_path / "run", Shard(1, 2)) == 12


NAMES = ("../../x", "..", ".", "", "a/b", "a\\b", "/etc", ".hidden", "shards", "a\nb", "C:x")


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_name_that_is_no_folder_name_is_refused_where_it_is_read(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "run"
    run(out, Shard(1, 2))
    run(out, Shard(2, 2))
    shard = out / "shards/2-of-2.jsonl"
    lines = [line for line in read_shard(shard) if line.condition == "d2"]
    text = shard.read_text()
    with (out / "shards/3.jsonl").open("x"):
        pass
    with ShardWriter(tmp_path / "evil.jsonl") as writer:
        for line in lines:
            object.__setattr__(line, "condition", name)
            writer.write(line)
    (out / "shards/3.jsonl").unlink()
    shard.write_bytes(text.encode() + (tmp_path / "evil.jsonl").read_bytes())
    before = set(tmp_path.rglob("*"))
    with pytest.raises(RunFolderError, match=r"2-of-2\.jsonl, line \d+: condition .* is not a folder name"):
        merge_runs(parse_sources([out]), tmp_path / "merged")
    shard.write_text(text)
    values = json.loads((out / "manifest.json").read_text())
    values["configuration"]["conditions"][name] = {"executor": "naive", "delay": 0}
    (out / "manifest.json").write_text(json.dumps(values))
    for attempt in (Manifest.read, read_run, lambda path: merge_runs(parse_sources([path]), path)):
        with pytest.raises(RunFolderError, match=r"manifest\.json: condition .* is not a folder name"):
            attempt(out)
    assert {p for p in tmp_path.rglob("*") if "merged" not in p.parts} == before


def test_an_episode_of_an_unknown_condition_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, Shard(1, 2))
    shard = out / "shards/1-of-2.jsonl"
    shard.write_text(shard.read_text().replace('{"condition":"d2"', '{"condition":"d5"'))
    with pytest.raises(RunFolderError, match=r"holds an episode of condition 'd5'; the run has d0, d2"):
        run(out, Shard(1, 2))


@pytest.mark.parametrize("name", ["../../../x.npz", "steps/../../x", "/etc/passwd", "steps/x"])
def test_a_file_name_that_leaves_its_condition_is_refused(whole: Path, name: str) -> None:
    path = whole / "d0" / DIGESTS
    path.write_text(json.dumps({**json.loads(path.read_text()), name: ""}))
    with pytest.raises(RunFolderError, match="is not a file of an episode"):
        run(whole, video=True)
