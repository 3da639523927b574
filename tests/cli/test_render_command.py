"""Filming again from logged states, and what a finished run gives to other tools."""

import csv
import json
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_runs import make_run
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.encoding import encode_line
from act_eval.export.lerobot_info import write_eval_info
from act_eval.results.records import read_episodes
from act_eval.results.run import read_run
from act_eval.results.steps import load
from act_eval.types.steps import EpisodeSteps

CONDITION = "rtc_d2_s4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two failures, filmed while they ran."""
    folder = tmp_path_factory.mktemp("render")
    policy = str(write_checkpoint(folder / "act_rtc", "act_rtc"))
    out = folder / "run"
    flags = ["--policy", policy, "--seeds", "3,17", "--delay", "2", "--image-size", "32", "--workers", "1"]
    flags += ["--goal-input", "exact"]
    assert main(["evaluate", *flags, "--no-probe", "--out", str(out), "--export", "csv", "parquet", "tensorboard"]) == 0
    return out


def render(*arguments: object) -> int:
    return main(["render", *map(str, arguments)])


def share(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_rendering_again_gives_the_recorded_video_to_the_bit(run: Path, capsys: pytest.CaptureFixture[str]):
    recorded = {path.name: path.read_bytes() for path in (run / CONDITION / "videos").iterdir()}
    assert len(recorded) == 2
    for name in recorded:
        (run / CONDITION / "videos" / name).unlink()
    capsys.readouterr()
    assert render(run, "--episodes", "all", "--size", 256, "--workers", 1) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:] == [str(run / CONDITION / "videos" / name) for name in sorted(recorded)]
    assert {path.name: path.read_bytes() for path in (run / CONDITION / "videos").iterdir()} == recorded


def test_a_larger_video_shows_every_state_and_lies_beside(run: Path):
    records = read_episodes(run / CONDITION / "episodes.jsonl")
    assert render(run, "--seeds", "17", "--size", 300, "--workers", 1) == 0
    (path,) = (run / CONDITION / "videos_300").iterdir()
    assert path.name == f"0001_seed17_{records[1].outcome}.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.height == 300
        assert sum(1 for _ in container.decode(stream)) == records[1].steps + 1 + 10


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--episodes", "bad"], "--episodes is 'bad'; allowed: failures, all, invalid, policy_error, success"),
        (["--episodes", "0,2"], "--episodes 2: the run has episodes 0 to 1"),
        (["--seeds", "4"], "--seeds 4 is not a seed of the run's suite; it has 3, 17"),
        (["--episodes", "success"], "none of the 2 finished episodes in rtc_d2_s4 matches --episodes success"),
        (["--condition", "rtc_d9"], "'rtc_d9'; there are: rtc_d2_s4"),
        (["--size", "719"], "video height is 719; even numbers from 256 to 1280 are allowed"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
    ],
)
def test_bad_flags_are_named(run: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]):
    assert render(run, *arguments) == 2
    assert text in error(capsys)


def test_folders_that_hold_no_run_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert render(tmp_path / "gone") == 2
    assert "gone does not exist; name a run folder of evaluate" in error(capsys)
    assert render(run.parent) == 2
    assert f"{run.parent} is not a run folder but holds some; name one of them: {run}" in error(capsys)


def test_a_run_of_another_scene_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = make_run(tmp_path / "made", {"d0": ["missed"]})
    assert render(made, "--workers", 1) == 1
    assert "builds another scene here than in the run (suite.facts.scene): the version that made the run (aa)" in error(
        capsys
    )


def test_an_episode_whose_log_is_gone_is_named_and_the_others_are_filmed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    steps = run / CONDITION / "steps" / "0000.npz"
    kept = steps.read_bytes()
    try:
        steps.write_bytes(kept[: len(kept) // 2])
        assert render(run, "--episodes", "all", "--size", 256, "--out", tmp_path / "out", "--workers", 1) == 1
        assert "not rendered:" in (delay_estimator := error(capsys))
        assert "0000.npz is damaged" in delay_estimator
        steps.unlink()
        assert render(run, "--episodes", "all", "--size", 256, "--out", tmp_path / "out", "--workers", 1) == 1
        assert "0000.npz is missing" in error(capsys)
    finally:
        steps.write_bytes(kept)
    assert [path.name[:4] for path in (tmp_path / "out").iterdir()] == ["0001"]


def test_every_action_is_found_in_the_answer_that_it_came_from(run: Path):
    for episode in (0, 1):
        steps = load(run / CONDITION / "steps" / f"{episode:04d}.npz")
        driven = np.flatnonzero(steps.chunk >= 0)
        assert len(driven) > 100
        np.testing.assert_array_equal(
            steps.predicted[steps.chunk[driven], steps.index[driven]], steps.command[driven].astype(np.float32)
        )
        np.testing.assert_array_equal(steps.start[steps.chunk[driven]] + steps.index[driven], driven)
        np.testing.assert_array_equal(np.flatnonzero(steps.requested), np.unique(steps.sent))
        flying = (steps.sent[:, None] <= np.arange(steps.steps)) & (np.arange(steps.steps) < steps.ready[:, None])
        np.testing.assert_array_equal(flying.sum(axis=0), steps.in_flight)
        assert steps.estimated.tolist() == [0] + [2] * (len(steps.estimated) - 1)
        assert steps.blocks_xyz.shape == (steps.steps + 1, 2, 3)
        np.testing.assert_allclose(steps.goal_input, steps.blocks_xyz[steps.observation_step, 0, :2])


def test_steps_of_an_earlier_version_are_read(run: Path, tmp_path: Path):
    with np.load(run / CONDITION / "steps" / "0000.npz") as arrays:
        required = {name: arrays[name] for name in arrays.files if name in _required()}
    np.savez_compressed(tmp_path / "0000.npz", **required)
    old = load(tmp_path / "0000.npz")
    assert old.steps > 100
    assert old.predicted.shape == (0, 0, 0)
    assert old.blocks_xyz.shape == (0, 0, 3)


def _required() -> set[str]:
    new = {"sent", "observation_step", "start", "ready", "delay_estimator", "actual", "lost", "predicted", "goal_input"}
    return {f.name for f in fields(EpisodeSteps)} - new - {"joints", "gripper_xyz", "blocks_xyz", "target"}


def test_tables_hold_what_the_records_hold(run: Path):
    records = read_episodes(run / CONDITION / "episodes.jsonl")
    with (run / "episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    parquet = pq.read_table(run / "episodes.parquet").to_pylist()
    assert [row["seed"] for row in rows] == ["3", "17"]
    for record, row, typed in zip(records, rows, parquet, strict=True):
        assert (row["condition"], row["outcome"], int(row["steps"])) == (CONDITION, record.outcome, record.steps)
        assert (
            json.loads(row["detail_estimated_delays"])
            == record.detail["estimated_delays"]
            == typed["detail_estimated_delays"]
        )
        assert typed["success"] is False
        assert (run / typed["video"]).is_file()
        assert all(name.removeprefix("detail_") in json.loads(encode_line(record))["detail"]
                   for name in row if name.startswith("detail_"))  # fmt: skip
    steps = pq.read_table(run / "steps.parquet")
    assert steps.num_rows == sum(record.steps for record in records)
    first = steps.slice(0, records[0].steps).to_pydict()
    logged = load(run / CONDITION / "steps" / "0000.npz")
    np.testing.assert_array_equal(np.array(first["command"], np.float32), logged.command)
    assert first["chunk"] == logged.chunk.tolist()


def test_lerobots_form_has_the_valid_episodes(run: Path, tmp_path: Path):
    made = make_run(tmp_path / "made", {"d0": ["success", "invalid", "missed", "success"]})
    write_eval_info(read_run(made).conditions["d0"], tmp_path / "eval_info.json")
    info = json.loads((tmp_path / "eval_info.json").read_text())
    (task,) = info["per_task"]
    assert task["metrics"]["successes"] == [True, False, True]
    assert info["per_group"][task["task_group"]]["pc_success"] == pytest.approx(200 / 3)
    assert (info["overall"]["n_episodes"], info["overall"]["avg_sum_reward"]) == (3, None)
    assert share(run, "--to", "lerobot") == 0
    shown = json.loads((run / CONDITION / "eval_info.json").read_text())["overall"]["video_paths"]
    assert [Path(path).is_file() for path in shown] == [True, True]


def test_tensorboard_shows_rates_and_episodes(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert share(run, "--to", "tensorboard") == 0  # again: in the place of what is there
    board = EventAccumulator(str(run / "tensorboard" / CONDITION))
    board.Reload()
    assert [event.value for event in board.Scalars("success/rate")] == [0.0]
    assert [event.step for event in board.Scalars("episode/success")] == [0, 1]
    assert "metrics/stall_fraction" in board.Tags()["scalars"]


def test_a_run_that_is_unfinished_or_gone_is_not_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert share(tmp_path / "gone") == 2
    assert "does not exist; name a run folder of evaluate" in error(capsys)
    made = make_run(tmp_path / "made", {"d0": ["missed"]})
    (made / "d0" / "metrics.jsonl").unlink(missing_ok=True)
    (made / "d0" / "episodes.jsonl").unlink()
    assert share(made) == 1
    assert "episodes.jsonl" in error(capsys)


@pytest.mark.parametrize("tool", ["wandb", "trackio", "rerun"])
def test_a_tool_that_is_not_installed_is_named_before_anything_runs(
    tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if find_spec(tool) is not None:
        pytest.skip(f"{tool} is installed")
    assert share(tmp_path / "gone", "--to", tool) == 1
    assert f"{tool} is not installed: pip install 'act_eval[{tool}]'" in error(capsys)
    assert main(["evaluate", "--policy", "expert", "--export", tool, "--out", str(tmp_path / "run")]) == 1
    assert f"pip install 'act_eval[{tool}]'" in error(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default")
def test_wandb_is_given_a_table_with_videos(run: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert share(run, "--to", "wandb") == 0
    (table,) = (run / "wandb").glob("offline-run-*/files/media/table/*.json")
    content = json.loads(table.read_text())
    assert content["columns"][-1] == "video"
    assert [row[1:3] for row in content["data"]] == [[0, 3], [1, 17]]


@pytest.mark.filterwarnings("default")
def test_trackio_is_given_rates_and_a_table(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read on import
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    for _ in range(2):
        assert share(run, "--to", "trackio", "--project", "arm") == 0
    (name,) = storage.get_runs("arm")
    first, *_ = storage.get_logs("arm", name)
    assert first[f"{CONDITION}/success"] == 0
    assert first[f"{CONDITION}/success_high"] == pytest.approx(0.66, abs=0.01)
    assert [row["seed"] for row in first["episodes"]["_value"]] == [3, 17]


@pytest.mark.filterwarnings("default")
def test_rerun_is_given_a_recording_per_episode(run: Path, tmp_path: Path):
    pytest.importorskip("rerun")
    assert share(run, "--to", "rerun", "--episodes", "1", "--out", tmp_path) == 0
    (path,) = (tmp_path / CONDITION / "rerun").iterdir()
    content = path.read_bytes()
    assert content.startswith(b"RRF2")
    for entity in (b"scene/chunk", b"scene/blocks", b"command", b"events", b"video"):
        assert entity in content
