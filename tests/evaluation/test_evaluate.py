"""The evaluate command on the real environments, with the expert and with networks that have learned nothing."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.errors import UsageError
from act_eval.evaluation.plan import delay_of_latency
from act_eval.results.records import read_episodes
from act_eval.results.steps import load

ROOT = Path(__file__).parents[2]
SMALL = ["--image-size", "32", "--workers", "1", "--video", "none"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(write_checkpoint(folder / kind, kind)) for kind in ("act", "act_rtc")}


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the text of a refusal, after checking that it is one and no traceback."""
    assert evaluate(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, str]) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reference"
    arguments = ["--policy", checkpoints["act_rtc"], "--seeds", "3,17,99", "--delay", 0, 2, "--out", out, *SMALL]
    assert evaluate(*arguments) == 0
    return out


def test_the_expert_succeeds_and_its_run_folder_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    assert evaluate("--policy", "expert", "--seeds", "3,17", "--out", out, "--workers", 1) == 0
    shown = capsys.readouterr().out
    assert "2/2 = 1.00, 95% Wilson [0.34, 1.00]" in shown
    assert str(out) in shown
    records = read_episodes(out / "expert" / "episodes.jsonl")
    assert [(record.seed, record.outcome) for record in records] == [(3, "success"), (17, "success")]
    assert sorted(path.name for path in (out / "expert" / "videos").iterdir()) == [
        "0000_seed3_success.mp4",
        "0001_seed17_success.mp4",
    ]
    for record in records:
        assert len(load(out / "expert" / "steps" / f"{record.episode:04d}.npz").state) == record.steps + 1
    assert len((out / "expert" / "timings.jsonl").read_text().splitlines()) == 2
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["suite"]["env"] == "act_eval/ConfuserPick-v1"
    assert manifest["suite"]["seeds"] == [3, 17]
    assert manifest["fingerprint"]["renderer"]
    assert manifest["fingerprint"]["threads"] == 1


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (1, 2), (2, 8)])
def test_episodes_do_not_depend_on_workers_or_batch(
    tmp_path: Path, reference: Path, checkpoints: dict[str, str], workers: int, batch: int
):
    arguments = ["--policy", checkpoints["act_rtc"], "--seeds", "3,17,99", "--delay", 0, 2, "--out", tmp_path / "run"]
    assert evaluate(*arguments, *SMALL, "--workers", workers, "--batch", batch) == 0
    for condition in ("rtc_d0_s4", "rtc_d2_s4"):
        for name in ("episodes.jsonl", "metrics.jsonl", "steps/0000.npz", "steps/0001.npz", "steps/0002.npz"):
            assert (tmp_path / "run" / condition / name).read_bytes() == (reference / condition / name).read_bytes()


def test_conditions_share_their_starts_and_differ_by_delay(reference: Path):
    conditions = [read_episodes(reference / condition / "episodes.jsonl") for condition in ("rtc_d0_s4", "rtc_d2_s4")]
    for first, second in zip(*conditions, strict=True):
        assert first.detail["initial_state"] == second.detail["initial_state"]
        assert set(first.detail["actual_delays"][1:]) == {0}
        assert set(second.detail["actual_delays"][1:]) == {2}
    assert conditions[0] != conditions[1]


def test_a_finished_run_is_shown_again_and_left_alone(
    reference: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*") if path.suffix}
    arguments = ["--policy", checkpoints["act_rtc"], "--seeds", "3,17,99", "--delay", 0, 2, "--out", reference]
    assert evaluate(*arguments, *SMALL) == 0
    assert "6 episodes are finished already; 0 are left to run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*") if path.suffix} == before


def test_another_run_into_the_same_folder_is_refused_by_what_differs(
    reference: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    arguments = ["--policy", checkpoints["act_rtc"], "--seeds", "3,17,98", "--delay", 0, 2, "--out", reference, *SMALL]
    assert evaluate(*arguments) == 1
    message = capsys.readouterr().err
    assert "holds another run" in message
    assert "suite.seeds: entry 2 is 99 against 98" in message


def test_an_interrupted_run_is_resumed_to_the_same_bytes(
    tmp_path: Path, reference: Path, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    from act_eval.launch import InProcessPool

    arguments = ["--policy", checkpoints["act_rtc"], "--seeds", "3,17,99", "--delay", 0, 2, "--out", tmp_path / "run"]
    real = InProcessPool.run

    def interrupted(self, job, blocks, shards, progress, on_check):
        def stop(condition, news):
            if not isinstance(news, int):
                raise KeyboardInterrupt

        real(self, job, blocks, shards, stop, on_check)

    monkeypatch.setattr(InProcessPool, "run", interrupted)
    assert evaluate(*arguments, *SMALL, "--batch", 2) == 130
    assert not list((tmp_path / "run").glob("*/episodes.jsonl"))
    monkeypatch.setattr(InProcessPool, "run", real)
    assert evaluate(*arguments, *SMALL) == 0
    for condition in ("rtc_d0_s4", "rtc_d2_s4"):
        assert (tmp_path / "run" / condition / "episodes.jsonl").read_bytes() == (
            reference / condition / "episodes.jsonl"
        ).read_bytes()


def test_defaults_are_stated_and_recorded(
    tmp_path: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    assert evaluate("--policy", checkpoints["act"], "--env", "pick", "--seeds", "5", "--out", out, *SMALL) == 0
    shown = capsys.readouterr().out
    assert "naive_d0_s4: executor naive, delay d = 0, execution horizon s = 4" in shown
    assert "naive_d4_s4: executor naive, delay d = 4, execution horizon s = 4" in shown
    assert "cpu, float32, not compiled" in shown
    configuration = json.loads((out / "manifest.json").read_text())["configuration"]
    assert configuration["conditions"] == {
        "naive_d0_s4": {"executor": "naive", "delay": 0, "execution_horizon": 4},
        "naive_d4_s4": {"executor": "naive", "delay": 4, "execution_horizon": 4},
    }
    assert configuration["compile"] == "off"
    assert configuration["policy"]["chunk"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "atc_rtc"], "unknown policy 'atc_rtc'; there are: "),
        (["--env", "confuser_pik"], "unknown environment 'confuser_pik'; there are: confuser_pick, "),
        (["--policy", "ACT", "--executor", "rct"], "unknown executor 'rct'; there are: blend, ensemble, naive, rtc"),
        (["--policy", "ACT", "--executor", "bid"], "executor 'bid' is not offered: bidirectional decoding"),
        (["--policy", "ACT", "--executor", "rtc"], "rtc needs a policy that takes a prefix"),
        (["--policy", "ACT", "--delay", "5"], "it needs d ≤ s ≤ C − d, and C = 8 leaves no s"),
        (["--policy", "ACT", "--execution-horizon", "9"], "with C = 8, d = 0: 1 <= s <= 8; got s = 9"),
        (["--policy", "RTC", "--delay", "5"], "the estimated delay can reach 5; the policy was trained for delays"),
        (["--policy", "ACT", "--compile", "fast"], "unknown compile mode 'fast'; there are: auto, default, "),
        (["--policy", "ACT", "--device", "quantum"], "--device quantum: "),
        (["--policy", "ACT", "--image-size", "48"], "made for (32, 32, 3), the environment gives (48, 48, 3)"),
        (["--policy", "expert", "--delay", "4"], "the expert acts in every step without inference"),
        (["--policy", "expert", "--seeds", "3,x"], "got 'x' in '3,x'"),
        (["--policy", "expert", "--seeds", "3", "--episodes", "4"], "--seeds lists the episodes"),
        (["--policy", "expert", "--episodes", "0"], "--episodes is 0; it must be at least 1"),
        (["--policy", "expert", "--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--policy", "expert", "--batch", "0"], "--batch is 0; it must be at least 1"),
        (["--policy", "expert", "--confusers", "9"], "confusers"),
        (["--policy", "expert", "--env", "pick", "--swap-blocks"], "swap_blocks needs a confuser"),
        (["--policy", "ACT", "--delay", "0", "--latency-ms", "50"], "give one of them"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_is_allowed(
    tmp_path: Path,
    checkpoints: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    named = [{"ACT": checkpoints["act"], "RTC": checkpoints["act_rtc"]}.get(a, a) for a in arguments]
    size = [] if "--image-size" in named else ["--image-size", "32"]
    assert message in refusal(capsys, *named, *size, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate("--policy", tmp_path) == 1
    assert f"{tmp_path} is a folder without a checkpoint: it has no config.json" in capsys.readouterr().err


def test_an_unknown_flag_lists_what_exists(capsys: pytest.CaptureFixture[str]):
    said = refusal(capsys, "--polcy", "act")
    assert said.startswith("error: unknown option '--polcy'; there are: --action-noise, ")
    assert "--policy" in said
    assert "does not take 'hello'; act-eval evaluate --help lists its arguments" in refusal(capsys, "hello")


def test_an_unknown_command_lists_what_exists(capsys: pytest.CaptureFixture[str]):
    assert main(["evalute"]) == 2
    assert "unknown command 'evalute'; there are: baseline, " in capsys.readouterr().err


def test_latency_is_rounded_up_to_control_steps():
    assert [delay_of_latency(ms, 50.0) for ms in (0, 1, 50, 50.1, 180, 200)] == [0, 1, 1, 2, 4, 4]
    assert delay_of_latency(3 * 33.3, 33.3) == 3
    with pytest.raises(UsageError, match="--latency-ms is -1; it must be finite and at least 0"):
        delay_of_latency(-1, 50.0)


def test_help_is_quick_and_needs_no_heavy_import():
    command = [sys.executable, "-X", "importtime", str(ROOT / "scripts" / "evaluate.py"), "--help"]
    began = time.process_time()
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.process_time() - began < 1
    for flag in ("--policy", "--env", "--delay", "--executor", "--video", "--goal-input"):
        assert flag in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "tyro" in imported
    assert imported.isdisjoint({"torch", "mujoco", "gymnasium", "scipy", "matplotlib"})
