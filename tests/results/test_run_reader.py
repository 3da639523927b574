"""The reader of run folders: everything in it agrees with what was written, and every kind of damage is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_run, outcomes
from reviewed_runs import make_reviewed_run

from act_eval.errors import RunFolderError, UnknownName, UnmeasuredRun, UsageError
from act_eval.results import Manifest
from act_eval.results.run import StoredCondition, read_run, run_folders, video_name
from act_eval.types import OUTCOMES, EpisodeRecord

VECTOR = ("success", "wrong_block", "success")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reviewed_run(tmp_path_factory.mktemp("made") / "run", {"d0": VECTOR, "d4": VECTOR}, lengths=(12,))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of a measured run with videos, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_it_gives_what_was_written(made: Path) -> None:
    run = read_run(str(made))
    assert run.folder == made
    assert run.manifest == Manifest.read(made)
    assert list(run.conditions) == ["d0", "d4"]
    condition = run.conditions["d4"]
    assert condition.settings == {"executor": "rtc", "delay": 4, "execution_horizon": 10}
    assert condition.outcomes == VECTOR
    assert (condition.rate.successes, condition.rate.trials) == (2, 3)
    assert [one.episode for one in condition.episode_metrics] == [one.episode for one in condition.timings] == [0, 1, 2]
    assert {i: path.name for i, path in condition.videos.items()} == {
        record.episode: video_name(record) for record in condition.records
    }
    assert condition.steps(2).steps == condition.records[2].steps == 12
    assert run.policy == "act_rtc"


def test_metrics_are_written_once_and_are_what_is_read(run: Path) -> None:
    condition = read_run(run).conditions["d0"]
    assert condition.write_summary() == condition.metrics
    path = run / "d0" / "summary.json"
    values = json.loads(path.read_text())
    assert {**values["metrics"], **values["wall_clock"]} == condition.metrics
    written = path.stat().st_mtime_ns
    condition.write_summary()
    assert path.stat().st_mtime_ns == written, "a finished run is left alone"


def test_rows_are_the_episodes_of_all_conditions_in_order(made: Path) -> None:
    rows = read_run(made).rows()
    assert [(row["condition"], row["episode"]) for row in rows] == [
        (condition, i) for condition in ("d0", "d4") for i in range(3)
    ]
    assert [row["success"] for row in rows[:3]] == [True, False, True]
    assert all((made / row["video"]).is_file() for row in rows)


def test_an_invalid_episode_neither_succeeds_nor_fails(tmp_path: Path) -> None:
    condition = read_run(make_run(tmp_path / "run", {"d0": outcomes(2, 1, 1)})).conditions["d0"]
    assert (condition.rate.successes, condition.rate.trials) == (2, 3)


def test_files_are_read_when_they_are_asked_for(run: Path) -> None:
    """A damaged condition keeps nobody from reading the other one."""
    (run / "d0" / "episodes.jsonl").write_bytes(b"{")
    found = read_run(run)
    assert found.conditions["d4"].outcomes == VECTOR
    with pytest.raises(RunFolderError, match=r"d0/episodes\.jsonl"):
        found.check_complete()


@pytest.mark.parametrize(
    ("file", "damage", "asked", "text"),
    [
        ("d0/episodes.jsonl", lambda _: None, lambda c: c.records, "is missing: the run has not finished"),
        ("d0/episodes.jsonl", lambda text: text[:-20], lambda c: c.records, "is truncated; delete it"),
        ("d0/episodes.jsonl", lambda text: text.split("\n")[0] + "\n", lambda c: c.records, "seeds of the suite"),
        ("d0/episodes.jsonl", lambda text: "[" * 100_000 + "\n", lambda c: c.records, "line 1"),
        ("d0/metrics.jsonl", lambda _: None, lambda c: c.episode_metrics, "repeat the run's command"),
        ("d0/metrics.jsonl", lambda text: "\n".join(text.split("\n")[1:]), lambda c: c.episode_metrics, "in order"),
        ("d0/metrics.jsonl", lambda text: text.split("\n")[0] + "\n", lambda c: c.metrics, "was changed after the run"),
        ("d0/timings.jsonl", lambda _: None, lambda c: c.timings, "is missing"),
        ("d0/timings.jsonl", lambda text: text.replace("1.0", "NaN"), lambda c: c.timings, "wall_s"),
        ("d0/steps/0001.npz", lambda _: None, lambda c: c.steps(1), "0001.npz is missing"),
        ("d0/steps/0001.npz", lambda _: "PK nonsense", lambda c: c.steps(1), "0001.npz is damaged"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    run: Path,
    file: str,
    damage: Callable[[str], str | None],
    asked: Callable[[StoredCondition], object],
    text: str,
) -> None:
    path = run / file
    content = damage("" if path.suffix == ".npz" else path.read_text())
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(RunFolderError, match=text):
        asked(read_run(run).conditions["d0"])


def test_a_run_without_metrics_is_estimated_from_a_damaged_one(run: Path) -> None:
    (run / "d0" / "metrics.jsonl").unlink()
    with pytest.raises(UnmeasuredRun):
        _ = read_run(run).conditions["d0"].metrics


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "is not a run folder: it has no manifest.json"),
        ("{", "is damaged"),
        ('{"schema": 99}', "has schema 99"),
        ("[]", "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(run: Path, content: str | None, text: str) -> None:
    (run / "manifest.json").unlink()
    if content is not None:
        (run / "manifest.json").write_text(content)
    with pytest.raises(RunFolderError, match=text):
        read_run(run)


def test_an_unknown_condition_lists_those_that_there_are(made: Path) -> None:
    with pytest.raises(UnknownName, match="'d8'; there are: d0, d4"):
        read_run(made).conditions["d8"]


def test_a_folder_of_runs_names_them(made: Path) -> None:
    with pytest.raises(UsageError, match=f"is not a run folder but holds some; name one of them: {made}"):
        read_run(made.parent)
    assert run_folders([made.parent]) == [made]


def test_a_run_under_way_gives_what_has_ended(run: Path) -> None:
    lines = [(run / "d0" / name).read_text().splitlines() for name in ("episodes.jsonl", "timings.jsonl")]
    shard = [
        json.dumps({"condition": "d0", "record": json.loads(record), "timing": json.loads(timing), "metrics": {}})
        for record, timing in zip(*lines, strict=True)
    ]
    (run / "d0" / "episodes.jsonl").unlink()
    (run / "shards").mkdir(exist_ok=True)
    (run / "shards" / "00000.jsonl").write_text("\n".join(shard[:2]) + "\n" + shard[2][:30])
    found, problems = read_run(run), list[str]()
    assert not found.conditions["d0"].is_finished
    assert [record.episode for record in found.ended()["d0"]] == [0, 1], "a truncated last line is dropped"
    assert sorted(found.shard_records(problems)["d0"]) == [0, 1]
    assert problems == []


@given(st.integers(0, 99_999), st.integers(0, 2**53 - 1), st.sampled_from(OUTCOMES))
def test_videos_are_found_by_their_names(episode: int, seed: int, outcome: str) -> None:
    from act_eval.results import run as reader

    name = video_name(EpisodeRecord(episode=episode, seed=seed, outcome=outcome, steps=1))
    found = reader._VIDEO.fullmatch(name)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (episode, seed)
