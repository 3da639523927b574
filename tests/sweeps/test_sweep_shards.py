"""`sweep` in parts and as an array of jobs: whoever runs the episodes, the sweep is the same."""

import csv
import io
import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.metrics import METRICS
from act_eval.progress import Tally
from act_eval.results import JOBS, Manifest, locked
from act_eval.types import EpisodeRecord

# submitit's debug executor leaves its log files open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

CONDITIONS = ("naive_d0_s4", "naive_d2_s4")
RUNS = ("act_confuser_pick", "act_confuser_swap")
CLOCK = frozenset(f"metric_{metric.name}" for metric in METRICS if metric.wall_clock)
DEBUG = ("--launcher", "slurm", "--workers", "2", "--launcher-options", "cluster=debug")
LOCAL = ("--launcher", "slurm", "--workers", "2", "--launcher-options", "cluster=local", "timeout_min=10")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    policy = write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "act", "act")
    axes = ["--envs", "confuser_pick", "confuser_swap", "--delays", "0", "2", "--executors", "naive"]
    return ["--policies", str(policy), *axes, "--image-size", "32", "--episodes", "3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, grid: list[str]) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "whole"
    assert run(*grid, "--workers", "1", "--out", out)[0] == 0
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, grid: list[str]) -> Path:
    """A folder with the parts 1/2 and 2/2 of the sweep, each in a folder of its own."""
    root = tmp_path_factory.mktemp("parts")
    for number in (1, 2):
        code, shown = run(*grid, "--workers", "1", "--shard", f"{number}/2", "--out", root / f"on_{number}")
        assert code == 0, shown
    return root


@pytest.fixture
def parts(tmp_path: Path, made: Path) -> list[Path]:
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in sorted(made.iterdir())]


@pytest.fixture(autouse=True)
def jobs_find_these_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def run(*arguments: object, command: str = "sweep") -> tuple[int, str]:
    """Return the exit code and what was shown."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        code = main([command, *map(str, arguments)])
    return code, shown.getvalue()


def content(out: Path) -> dict[str, object]:
    """Return what a sweep holds and no clock has touched: bytes of files, and tables without columns of the clock."""
    names = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    timed = ("sweep.csv", "sweep.json", "manifest.json", "timings.jsonl", "summary.json", ".lock")
    found: dict[str, object] = {name: (out / name).read_bytes() for name in names if not name.endswith(timed)}
    with (out / "sweep.csv").open(newline="") as file:
        found["sweep.csv"] = [without_clock(row) for row in csv.DictReader(file)]
    values = json.loads((out / "sweep.json").read_text())
    found["sweep.json"] = {**values, "cells": [without_clock(cell) for cell in values["cells"]]}
    return found


def without_clock(row: dict) -> list[tuple]:
    assert set(row) >= CLOCK
    return [(name, value) for name, value in row.items() if name not in CLOCK]


def test_what_is_compared_is_all_of_it(whole: Path) -> None:
    conditions = [f"{name}/{condition}" for name in RUNS for condition in CONDITIONS]
    wanted = [
        f"{condition}/{file}"
        for condition in conditions
        for file in ("episodes.jsonl", "metrics.jsonl", "steps/0002.npz")
    ]
    assert {*wanted, "comparisons.csv", "sweep.csv", "sweep.json"} <= set(content(whole))
    assert [name for name in content(whole) if name.startswith("plots/")]


def test_parts_in_one_folder_become_the_whole_sweep(tmp_path: Path, grid: list[str], whole: Path) -> None:
    out = tmp_path / "shared"
    for number, episodes in ((2, 4), (1, 8)):
        code, shown = run(*grid, "--workers", "1", "--shard", f"{number}/2", "--out", out)
        assert code == 0
        assert f"4 cells, 12 episodes, of which shard {number}/2 has {episodes}" in shown
        assert f"shard   {number}/2 is finished: {episodes} episodes of 4 cells, {out}/*/shards/{number}-of-2" in shown
        assert "When all 2 are finished: repeat this command without --shard to write the tables." in shown
        assert "Wilson" not in shown
        assert not list(out.glob("*.csv")) + list(out.glob("plots")) + list(out.glob("*/*/episodes.jsonl"))
    code, shown = run(*grid, "--workers", "1", "--out", out)
    assert (code, "12 episodes are finished already; 0 are left to run" in shown) == (0, True)
    assert content(out) == content(whole)


def test_what_a_missing_part_left_out_is_run(parts: list[Path], grid: list[str], whole: Path) -> None:
    code, shown = run(*grid, "--workers", "1", "--out", parts[1])
    assert code == 0
    assert "4 episodes are finished already; 8 are left to run" in shown
    assert content(parts[1]) == content(whole)


def test_a_part_that_was_interrupted_is_resumed(parts: list[Path], grid: list[str], made: Path) -> None:
    out = parts[0]
    shard = out / RUNS[1] / "shards" / "1-of-2.jsonl"
    lines = shard.read_bytes().splitlines(keepends=True)
    (shard.parent / "1-of-2").mkdir()
    (shard.parent / "1-of-2" / "00000.jsonl").write_bytes(lines[0] + lines[1][:40])
    shard.unlink()
    code, shown = run(*grid, "--workers", "1", "--shard", "1/2", "--out", out)
    assert code == 0
    assert "5 episodes are finished already; 3 are left to run" in shown
    before = [json.loads(line) for line in lines]
    after = [json.loads(line) for line in shard.read_bytes().splitlines()]
    assert [(line["condition"], line["record"], line["metrics"]) for line in after] == [
        (line["condition"], line["record"], line["metrics"]) for line in before
    ]


def test_cells_may_be_added_to_parts(parts: list[Path], grid: list[str], tmp_path: Path) -> None:
    larger = [*grid, "--delays", "0", "1", "2", "--workers", "1"]
    assert run(*larger, "--out", tmp_path / "larger")[0] == 0
    code, shown = run(*larger, "--shard", "1/2", "--out", parts[0])
    assert (code, "8 episodes are finished already; 4 are left to run" in shown) == (0, True)
    code, shown = run(*larger, "--out", parts[0])
    assert (code, "12 episodes are finished already; 6 are left to run" in shown) == (0, True)
    assert content(parts[0]) == content(tmp_path / "larger")


def test_parts_in_several_folders_are_merged_to_the_whole_sweep(
    tmp_path: Path, parts: list[Path], grid: list[str], whole: Path
) -> None:
    out = tmp_path / "together"
    code, shown = run(*parts, "--out", out, command="merge")
    assert code == 0
    assert f"merged  {parts[0]}/{RUNS[1]}, {parts[1]}/{RUNS[1]}" in shown
    assert (
        f"results {out}; repeat the sweep's command with --out {out} and without --shard to write the tables" in shown
    )
    assert run(*parts, "--out", out, command="merge")[0] == 0
    code, shown = run(*grid, "--workers", "1", "--out", out)
    assert (code, "12 episodes are finished already; 0 are left to run" in shown) == (0, True)
    assert content(out) == content(whole)


def test_parts_in_one_folder_are_merged_in_their_place(parts: list[Path], whole: Path, grid: list[str]) -> None:
    assert run(*grid, "--workers", "1", "--shard", "2/2", "--out", parts[0])[0] == 0
    assert run(parts[0], command="merge")[0] == 0
    for name in RUNS:
        for condition in CONDITIONS:
            file = Path(name, condition, "episodes.jsonl")
            assert (parts[0] / file).read_bytes() == (whole / file).read_bytes()


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(list(map(str, words)))
    return code, capsys.readouterr().err


def test_what_makes_no_whole_sweep_is_named_and_nothing_written(
    tmp_path: Path, parts: list[Path], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = parts
    out = tmp_path / "out"
    again = Path(shutil.copytree(second, tmp_path / "again"))
    narrow = Path(shutil.copytree(second, tmp_path / "narrow"))
    shutil.rmtree(narrow / RUNS[1])
    other = Path(shutil.copytree(second, tmp_path / "other"))
    manifest = other / RUNS[1] / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "fingerprint": {**values["fingerprint"], "cpu": "Z80"}}))
    short = Path(shutil.copytree(second, tmp_path / "short"))
    (short / RUNS[1] / "shards" / "2-of-2.jsonl").unlink()
    shard = f"{RUNS[0]}/shards/2-of-2.jsonl"
    for folders, code, text in [
        ([first, second], 2, f"--out is needed: the shards are in 2 folders ({first}, {second}, …)"),
        ([first, "--out", out], 1, f"{RUNS[0]}: condition {CONDITIONS[0]}: 1 of 3 episodes are missing: 1"),
        ([first, short, "--out", out], 1, f"{RUNS[1]}: condition {CONDITIONS[0]}: 1 of 3 episodes are missing: 1"),
        (
            [first, second, again, "--out", out],
            1,
            f"{RUNS[0]}: 2 episodes are duplicated:\n  {CONDITIONS[0]}, episode 1: ",
        ),
        ([first, second, again, "--out", out], 1, f"{second}/{shard}, {again}/{shard}"),
        ([first, narrow, "--out", out], 1, f"{narrow} holds no {RUNS[1]}, which {first} holds: it ran another grid"),
        ([first, other, "--out", out], 1, f"{RUNS[1]}: {first / RUNS[1]} and {other / RUNS[1]} belong to different"),
        ([first, other, "--out", out], 1, "against Z80"),
        ([first, whole, "--out", out], 1, f"{RUNS[0]}: {whole / RUNS[0]} is merged already ({', '.join(CONDITIONS)})"),
        ([first, second / RUNS[0], "--out", out], 2, f"{second / RUNS[0]} is not a sweep folder, unlike others"),
        ([first, second, "--out", first], 1, f"{first / RUNS[0]} is one of the runs that are merged; choose another"),
        ([first, second, "--out", tmp_path], 1, f"{tmp_path} is not the folder of a sweep and holds again, narrow, o"),
    ]:
        found, said = refusal(capsys, "merge", *folders)
        assert (found, text in said) == (code, True), said
        assert not out.exists()
    assert not list(first.glob("*/*/episodes.jsonl"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--shard", "3/2"], "shard 3/2: there are shards 1/2 to 2/2"),
        (["--shard", "1/4"], "--shard 1/4: 3 episodes make at most 3 shards"),
        (["--shard", "half"], "--shard is 'half'; it must be NUMBER/COUNT, as in 2/8"),
        ([*DEBUG, "--shard", "1/2"], "--launcher slurm splits the run into --workers shards itself; omit --shard"),
        (
            ["--launcher-options", "timeout_min=3"],
            "--launcher-options is for --launcher slurm; add --launcher slurm, or omit",
        ),
        (
            [*DEBUG, "--launcher-options", "timeout"],
            "--launcher-options takes NAME=VALUE, as in timeout_min=60; got 'timeout'",
        ),
        (["--launcher", "slurm"], "--launcher slurm needs --workers, the number of jobs"),
        (
            [*DEBUG, "--gpus-per-worker", "1"],
            "--gpus-per-worker is for --launcher ray; on Slurm it is --launcher-options",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, grid: list[str], words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = refusal(capsys, "sweep", *grid, *words, "--out", tmp_path / "out")
    assert (code, text in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_jobs_need_a_folder(grid: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refusal(capsys, "sweep", *grid, *DEBUG)
    assert (code, said) == (2, "error: --launcher slurm needs --out, a folder that every node sees\n")


def test_another_cut_or_other_episodes_are_refused(
    parts: list[Path], grid: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = refusal(capsys, "sweep", *grid, "--shard", "1/3", "--out", parts[0])
    assert (code, "is already split into 2 shards, and --shard is one of 3; choose one of 2" in said) == (1, True)
    for words in (["--shard", "2/2"], DEBUG):
        code, said = refusal(capsys, "sweep", *grid, *words, "--seed", 1, "--out", parts[0])
        assert (code, f"{parts[0] / RUNS[0]} holds another run" in said, "suite.seeds" in said) == (1, True, True)


def test_parts_run_beside_each_other_and_a_whole_sweep_alone(
    parts: list[Path], grid: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(parts[0], shared=True):
        assert refusal(capsys, "sweep", *grid, "--shard", "1/2", "--workers", "1", "--out", parts[0]) == (0, "")
        code, said = refusal(capsys, "sweep", *grid, "--workers", "1", "--out", parts[0])
    assert (code, f"{parts[0]} is in use by another process" in said) == (1, True)


def test_jobs_leave_what_one_process_leaves(tmp_path: Path, grid: list[str], whole: Path) -> None:
    out = tmp_path / "run"
    code, shown = run(*grid, *DEBUG, "--out", out)
    assert code == 0, shown
    assert f"2 of 2 shards are left to run, one job each: {out / JOBS}" in shown
    assert content(out) == content(whole)
    assert not (out / JOBS).exists()
    before = content(out)
    code, shown = run(*grid, *DEBUG, "--out", out)
    assert (code, "0 of 2 shards are left to run" in shown, "Wilson" in shown) == (0, True, True)
    assert content(out) == before


def test_jobs_run_what_is_left_and_keep_the_cut(
    parts: list[Path], grid: list[str], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = parts[0]
    code, shown = run(*grid, *DEBUG, "--workers", "3", "--out", out)
    assert code == 0
    assert "1 of 2 shards are left to run" in shown
    assert content(out) == content(whole)


def test_jobs_on_another_kind_of_machine_are_concluded_here(tmp_path: Path, grid: list[str], whole: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in RUNS:
        values = Manifest.read(out / name).to_json()
        elsewhere = {
            "configuration": {**values["configuration"], "device": "cuda"},
            "fingerprint": {**values["fingerprint"], "gpu": "H200"},
        }
        (out / name / "manifest.json").write_text(json.dumps({**values, **elsewhere}))
    (out / "sweep.csv").unlink()
    assert run(*grid, *DEBUG, "--out", out)[0] == 0
    assert content(out) == content(whole)
    assert run(*grid, *DEBUG, "--device", "cpu", "--out", out)[0] == 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Cell and episode of everything that moves the bar."""
    found: list[tuple[str, int]] = []

    count = Tally.ended

    def both(self: Tally, cell: str, record: EpisodeRecord) -> None:
        found.append((cell, record.episode))
        count(self, cell, record)

    monkeypatch.setattr(Tally, "ended", both)
    return found


def test_an_interrupt_keeps_what_jobs_have_finished(
    tmp_path: Path, grid: list[str], monkeypatch: pytest.MonkeyPatch, whole: Path, counted: list[tuple[str, int]]
) -> None:
    out = tmp_path / "run"

    def first_job_and_then_ctrl_c(task, parts, folder, options, watch) -> None:
        watch()
        assert task(parts[0]) is None
        watch()
        watch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("act_eval.launch.slurm.run_array", first_job_and_then_ctrl_c)
        code, shown = run(*grid, *DEBUG, "--out", out)
    assert code == 130
    assert f"interrupted; finished episodes are kept in {out}: repeat the command to resume" in shown
    assert not list(out.glob("*.csv"))
    cells = [f"{name}/{condition}" for name in RUNS for condition in CONDITIONS]
    assert sorted(counted) == [(cell, number) for cell in cells for number in (0, 2)]
    counted.clear()
    code, shown = run(*grid, *DEBUG, "--out", out)
    assert (code, "1 of 2 shards are left to run" in shown) == (0, True)
    assert content(out) == content(whole)
    assert sorted(counted) == [(cell, 1) for cell in cells]


@pytest.mark.slow
def test_jobs_in_processes_leave_what_one_process_leaves(tmp_path: Path, grid: list[str], whole: Path) -> None:
    out = tmp_path / "run"
    code, shown = run(*grid, *LOCAL, "--out", out)
    assert code == 0, shown
    assert shown.count("done    ") == 4
    assert content(out) == content(whole)
