"""The sweep command on a real environment, with networks that have learned nothing."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.metrics import METRICS
from act_eval.results import Manifest
from act_eval.results.records import read_episodes
from act_eval.results.run import read_metrics
from act_eval.results.steps import load
from act_eval.stats import wilson_interval
from act_eval.types import OUTCOMES

ROOT = Path(__file__).parents[2]
SMALL = ["--image-size", "32", "--workers", "1", "--episodes", "2"]
ACT_CONDITIONS = ("naive_d0_s4", "naive_d2_s4")
RTC_CONDITIONS = (*ACT_CONDITIONS, "rtc_d0_s4", "rtc_d2_s4")
CELLS = {"act_confuser_swap": ACT_CONDITIONS, "act_rtc_confuser_swap": RTC_CONDITIONS}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(write_checkpoint(folder / kind, kind)) for kind in ("act", "act_rtc")}


@pytest.fixture(scope="module")
def grid(checkpoints: dict[str, str]) -> list[str]:
    axes = ["--envs", "confuser_swap", "--delays", "0", "2", "--executors", "naive", "rtc"]
    return ["--policies", checkpoints["act"], checkpoints["act_rtc"], *axes, *SMALL]


def sweep(*arguments: object) -> tuple[int, str]:
    """Return the exit code and what was shown."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        code = main(["sweep", *map(str, arguments)])
    return code, shown.getvalue()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, grid: list[str]) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("sweeps") / "reference"
    code, shown = sweep(*grid, "--out", out)
    assert code == 0
    return out, shown


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_cell_is_an_condition_of_an_ordinary_run_folder(reference: tuple[Path, str]):
    out, _ = reference
    for name, conditions in CELLS.items():
        manifest = Manifest.read(out / name)
        assert manifest.conditions == conditions
        assert manifest.configuration["video"] == "none"
        assert manifest.configuration["policy"]["name"] == name.removesuffix("_confuser_swap")
        for condition in conditions:
            for record in read_episodes(out / name / condition / "episodes.jsonl"):
                assert (
                    len(load(out / name / condition / "steps" / f"{record.episode:04d}.npz").state) == record.steps + 1
                )
            assert not (out / name / condition / "videos").exists()


def test_all_cells_of_an_environment_begin_in_the_same_states(reference: tuple[Path, str]):
    out, _ = reference
    starts = {
        tuple((record.seed, record.detail["initial_state"]) for record in read_episodes(path))
        for path in out.glob("*/*/episodes.jsonl")
    }
    assert len(starts) == 1
    assert len(next(iter(starts))) == 2


def test_the_table_says_what_the_records_say(reference: tuple[Path, str]):
    out, _ = reference
    rows = rows_of(out / "sweep.csv")
    assert [(f"{row['policy']}_{row['env']}", row["condition"]) for row in rows] == [
        (name, condition) for name, conditions in CELLS.items() for condition in conditions
    ]
    for row in rows:
        condition = out / f"{row['policy']}_{row['env']}" / row["condition"]
        records = read_episodes(condition / "episodes.jsonl")
        successes = sum(record.outcome == "success" for record in records)
        assert (int(row["episodes"]), int(row["valid"]), int(row["successes"])) == (2, 2, successes)
        low, high = wilson_interval(successes, 2)
        assert (float(row["success_low"]), float(row["success_high"])) == pytest.approx((low, high), rel=1e-5)
        for outcome in OUTCOMES:
            assert int(row[f"n_{outcome}"]) == sum(record.outcome == outcome for record in records)
        assert {f"metric_{metric.name}" for metric in METRICS} <= set(row)
        ages = [one.action_age_max for one in read_metrics(condition)]
        assert float(row["metric_action_age_max"]) == max(age for age in ages if age is not None)
        assert (row["vs_d0_reference"] != "") == (row["delay"] == "2")
    assert {row["covered_horizon"] for row in rows} == {"4", "6"}


def test_the_json_holds_the_same_cells_and_what_did_not_run(reference: tuple[Path, str]):
    out, shown = reference
    found = json.loads((out / "sweep.json").read_text())
    assert [cell["condition"] for cell in found["cells"]] == [row["condition"] for row in rows_of(out / "sweep.csv")]
    assert found["grid"]["delays"] == [0, 2]
    assert found["suites"] == {"confuser_swap": Manifest.read(out / "act_confuser_swap").suite.hash}
    assert {(cell["policy"], cell["executor"], cell["delay"]) for cell in found["not_run"]} == {
        ("act", "rtc", 0),
        ("act", "rtc", 2),
    }
    reason = "rtc needs a policy that takes a prefix of committed commands"
    assert found["not_run"][0]["reason"].startswith(reason)
    assert f"not run act: rtc at d = 0, s = half; d = 2, s = half: {reason}" in shown
    assert len(found["trends"]) == 3
    assert {row["second"] for row in rows_of(out / "comparisons.csv") if row["family"] == "executor"} == {
        "act_rtc_confuser_swap/rtc_d0_s4",
        "act_rtc_confuser_swap/rtc_d2_s4",
    }


def test_the_screen_shows_a_table_and_a_sentence_for_every_series(reference: tuple[Path, str]):
    _, shown = reference
    assert "6 cells, 12 episodes" in shown
    assert "2 episodes (seed 0), the same in every cell" in shown
    assert shown.count("done    ") == 6
    assert "done    act_rtc_confuser_swap/rtc_d2_s4: 0 of 2 succeeded" in shown
    for series in ("act naive, s = half: ", "act_rtc naive, s = half: ", "act_rtc rtc, s = half: "):
        assert f"confuser_swap, {series}" in shown
    assert "confuser_swap under naive execution: no fall with delay detected" in shown
    assert (
        "confuser_swap, act_rtc rtc, d = 2, s = 4: of naive's loss recovered: undefined: naive loses nothing" in shown
    )


def test_the_plots_are_images(reference: tuple[Path, str]):
    out, _ = reference
    plots = {path.name for path in (out / "plots").iterdir()}
    wanted = {f"{name}_confuser_swap.{kind}" for name in ("success", "time_to_success") for kind in ("png", "svg")}
    assert wanted <= plots
    assert not [name for name in plots if name.endswith(".part")]
    for path in (out / "plots").glob("*.png"):
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 5, path.name


def test_repeating_a_finished_sweep_runs_nothing_and_writes_the_same(reference: tuple[Path, str], grid: list[str]):
    out, _ = reference
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, shown = sweep(*grid, "--out", out)
    assert code == 0
    assert "12 episodes are finished already; 0 are left to run" in shown
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_killed_sweep_is_taken_up_at_its_episode(tmp_path: Path, reference: tuple[Path, str], grid: list[str]):
    finished, _ = reference
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "act_eval", "sweep", *grid, "--batch", "1", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not _shard_lines(out):
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -9
    kept = _shard_lines(out)
    assert 0 < kept < 12
    code, shown = sweep(*grid, "--out", out)
    assert code == 0
    assert f"{kept} episodes are finished already; {12 - kept} are left to run" in shown
    for name, conditions in CELLS.items():
        for condition in conditions:
            for file in ("episodes.jsonl", "steps/0000.npz", "steps/0001.npz"):
                assert (out / name / condition / file).read_bytes() == (finished / name / condition / file).read_bytes()
    clock = {f"metric_{metric.name}" for metric in METRICS if metric.wall_clock}
    for mine, theirs in zip(rows_of(out / "sweep.csv"), rows_of(finished / "sweep.csv"), strict=True):
        assert {k: v for k, v in mine.items() if k not in clock} == {k: v for k, v in theirs.items() if k not in clock}


def _shard_lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/shards/*.jsonl"))


def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, grid: list[str], monkeypatch: pytest.MonkeyPatch, reference: tuple[Path, str]
):
    from act_eval.launch import InProcessPool

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    out = tmp_path / "copy"
    shutil.copytree(reference[0], out)
    shutil.rmtree(out / "act_rtc_confuser_swap")
    monkeypatch.setattr(InProcessPool, "run", interrupted)
    code, shown = sweep(*grid, "--out", out)
    assert code == 130
    assert f"interrupted; finished episodes are kept in {out}: repeat the command to resume" in shown


def test_cells_may_be_added_and_not_left_out(
    tmp_path: Path, reference: tuple[Path, str], checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    finished, _ = reference
    out = tmp_path / "grown"
    shutil.copytree(finished, out)
    both = ["--policies", checkpoints["act"], checkpoints["act_rtc"], "--envs", "confuser_swap", "--executors", "naive"]
    code, shown = sweep(*both, "rtc", "--delays", 0, 1, 2, *SMALL, "--out", out)
    assert code == 0
    assert "12 episodes are finished already; 6 are left to run" in shown
    assert Manifest.read(out / "act_confuser_swap").conditions == ("naive_d0_s4", "naive_d1_s4", "naive_d2_s4")
    assert len(rows_of(out / "sweep.csv")) == 9
    old = [
        path
        for name, conditions in CELLS.items()
        for condition in conditions
        for path in (finished / name / condition).glob("*.jsonl")
    ]
    assert all((out / path.relative_to(finished)).read_bytes() == path.read_bytes() for path in old)

    capsys.readouterr()
    assert sweep(*both, "--delays", 0, 1, 2, *SMALL, "--out", out)[0] == 1
    refusal = capsys.readouterr().err
    assert "act_rtc_confuser_swap holds another run" in refusal
    assert (
        'configuration.conditions.rtc_d2_s4: {"executor": "rtc", "delay": 2, "execution_horizon": 4} against (absent)'
        in refusal
    )
    assert sweep("--policies", checkpoints["act"], *both[3:], "--delays", 0, 1, 2, *SMALL, "--out", out)[0] == 1
    assert f"{out} holds act_rtc_confuser_swap, which are not in this grid" in capsys.readouterr().err


def test_other_episodes_into_the_same_folder_are_refused(
    reference: tuple[Path, str], grid: list[str], capsys: pytest.CaptureFixture[str]
):
    out, _ = reference
    assert sweep(*grid, "--seed", 1, "--out", out)[0] == 1
    message = capsys.readouterr().err
    assert "act_confuser_swap holds another run" in message
    assert "suite.seeds: entry 0 is " in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delays", "0", "x"], "--delays has 'x'; delays are whole control steps from 0 to 10000, with spaces"),
        (["--delays", "0,4"], "--delays has '0,4'; delays are whole control steps"),
        (["--delays", "1.5"], "--delays has '1.5'"),
        (["--delays", "99999"], "--delays has '99999'"),
        (["--delays"], "--delays is empty; give at least one, as in --delays 0 4"),
        (["--envs"], "--envs is empty"),
        (["--policies"], "--policies is empty"),
        (["--executors"], "--executors is empty; give at least one, as in --executors naive rtc"),
        (["--execution-horizon", "0"], "--execution-horizon is '0'; it must be a whole number of control steps"),
        (["--policies", "atc"], "unknown policy 'atc'; there are: act, act_collapsed, act_rtc"),
        (["--policies", "expert"], "the expert acts in every step without inference: there is no delay to sweep"),
        (["--envs", "moving_pik"], "unknown environment 'moving_pik'; there are: confuser_pick, "),
        (["--gpus-per-worker", "1"], "--gpus-per-worker is for --launcher ray; on Slurm it is --launcher-options"),
        (["--executors", "rct"], "unknown executor 'rct'; there are: blend, ensemble, naive, rtc"),
        (["--executors", "bid"], "executor 'bid' is not offered: bidirectional decoding"),
        (["--delay-estimator", "orcale"], "estimated delay 'orcale': there is no 'orcale'; there are: "),
        (["--prefix", "padd"], "prefix 'padd': there is no 'padd'; there are: committed, "),
        (["--episodes", "0"], "--episodes is 0; it must be at least 1"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--batch", "-2"], "--batch is -2; it must be at least 1"),
        (["--compile", "fast"], "unknown compile mode 'fast'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert sweep(*arguments, "--out", tmp_path / "out")[0] == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("error: ")
    assert message in refusal
    assert not (tmp_path / "out").exists()


def test_a_grid_without_any_cell_says_why(
    tmp_path: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    arguments = ["--policies", checkpoints["act"], "--envs", "pick", "--delays", 2, 7, "--executors", "naive", "rtc"]
    assert sweep(*arguments, "--execution-horizon", 1, *SMALL, "--out", tmp_path / "out")[0] == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: no cell of the grid can run:",
        "  act, pick: naive at d = 2, s = 1: naive needs d <= s <= C - d, with C = 8, d = 2: 2 <= s <= 6; got s = 1",
        "  act, pick: naive at d = 7, s = 1: `naive` cannot run with delay 7: it needs d ≤ s ≤ C − d, and C = 8 "
        "leaves no s",
        "  act, pick: rtc at d = 2, s = 1; d = 7, s = 1: rtc needs a policy that takes a prefix of committed "
        "commands; this one takes none (run it as naive)",
    ]
    assert not (tmp_path / "out").exists()


def test_a_policy_that_does_not_fit_an_environment_is_named(
    tmp_path: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    arguments = [
        "--policies",
        checkpoints["act"],
        "--envs",
        "pick",
        "--image-size",
        48,
        "--episodes",
        1,
        "--workers",
        1,
    ]
    assert sweep(*arguments, "--out", tmp_path / "out")[0] == 2
    assert "act in pick: policy and environment do not fit:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thesis.tex", "is not the folder of a sweep and holds thesis.tex; choose another --out"),
        ("manifest.json", "is the folder of a single run; choose another --out"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, grid: list[str], capsys: pytest.CaptureFixture[str], name: str, message: str
):
    (tmp_path / name).write_text("{}")
    assert sweep(*grid, "--out", tmp_path)[0] == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_asked_twice_runs_once(tmp_path: Path, checkpoints: dict[str, str], reference: tuple[Path, str]):
    out = tmp_path / "copy"
    shutil.copytree(reference[0], out)
    twice = [
        "--policies",
        *[checkpoints["act"], checkpoints["act_rtc"]] * 2,
        "--envs",
        "confuser_swap",
        "confuser_swap",
    ]
    axes = [
        "--delays",
        0,
        2,
        0,
        "--executors",
        "naive",
        "rtc",
        "naive",
        "--execution-horizon",
        "half",
        "4",
        "--delay-estimator",
        "oracle",
    ]
    code, shown = sweep(*twice, *axes, *SMALL, "--out", out)
    assert code == 0
    assert "12 episodes are finished already; 0 are left to run" in shown


def records_of(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("*/*/episodes.jsonl")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings are not ours to mend
def test_actors_of_a_cluster_leave_what_one_process_leaves(
    tmp_path: Path, reference: tuple[Path, str], grid: list[str]
) -> None:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        code, shown = sweep(*grid, "--launcher", "ray", "--workers", "2", "--out", tmp_path / "run")
    finally:
        ray.shutdown()
    assert code == 0, shown
    assert records_of(tmp_path / "run") == records_of(reference[0])
    assert len(records_of(tmp_path / "run")) == len(ACT_CONDITIONS) + len(RTC_CONDITIONS)


def test_workers_on_another_kind_of_machine_are_refused(
    tmp_path: Path, grid: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("act_eval.launch.local.machine", lambda: {"cpu": "another"})
    code, _ = sweep(*grid, "--out", tmp_path / "run")
    assert code == 1
    said = capsys.readouterr().err
    assert "the workers run on another kind of machine than the sweep; start it on one of theirs" in said
    assert re.search(r"machine\.cpu: .* against another", said)
