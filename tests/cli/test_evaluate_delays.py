"""Delays of every kind through the evaluate command: what it writes, replays, resumes and refuses."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.launch import InProcessPool
from act_eval.results.records import read_episodes
from act_eval.results.steps import load
from act_eval.timing import read_trace

SMALL = ["--image-size", "32", "--workers", "1", "--video", "none"]
MEASURED = ["--delay", "measured:injected_ms=60", "--beyond-max-delay", "clip"]
CONDITION = "rtc_measured60ms_s4_clip"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "act_rtc", "act_rtc"))


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), *SMALL])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, policy: str) -> Path:
    """A run under measured delay, interrupted after its first episode and resumed."""
    out = tmp_path_factory.mktemp("runs") / "measured"
    arguments = ["--policy", policy, "--seeds", "3,17", *MEASURED, "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        real = InProcessPool.run

        def interrupted(self, job, blocks, shards, progress, on_check):
            def stop(condition, news):
                if not isinstance(news, int):
                    raise KeyboardInterrupt

            real(self, job, blocks, shards, stop, on_check)

        patch.setattr(InProcessPool, "run", interrupted)
        assert evaluate(*arguments) == 130
    assert not (out / CONDITION / "trace.json").exists()
    assert evaluate(*arguments) == 0
    return out


def test_a_measured_run_says_how_it_ran_and_leaves_a_trace(measured: Path):
    configuration = json.loads((measured / "manifest.json").read_text())["configuration"]
    assert configuration["conditions"] == {
        CONDITION: {
            "executor": "rtc",
            "delay": "measured:injected_ms=60",
            "execution_horizon": 4,
            "delay_estimator": "max",
            "beyond_max_delay": "clip",
        }
    }
    assert configuration["rows_per_call"] == 1, "a robot asks for one chunk at a time"
    records = read_episodes(measured / CONDITION / "episodes.jsonl")
    trace = read_trace(measured / CONDITION / "trace.json")
    assert list(trace.episodes) == [3, 17]
    for record in records:
        assert list(trace.episodes[record.seed]) == record.detail["actual_delays"][1:]
        assert len(trace.episodes[record.seed]) >= 2
        assert min(trace.episodes[record.seed]) >= 2, "60 ms are two steps at least"


def test_its_trace_replays_it_to_the_last_bit(tmp_path: Path, measured: Path, policy: str):
    trace = measured / CONDITION / "trace.json"
    replay = [
        "--delay",
        f"trace:{trace}",
        "--delay-estimator",
        "max",
        "--beyond-max-delay",
        "clip",
        "--rows-per-call",
        1,
    ]
    assert evaluate("--policy", policy, "--seeds", "3,17", *replay, "--out", tmp_path / "run") == 0
    (condition,) = json.loads((tmp_path / "run" / "manifest.json").read_text())["configuration"]["conditions"]
    assert condition.startswith("rtc_trace")
    for name in ("episodes.jsonl", "steps/0000.npz", "steps/0001.npz"):
        assert (tmp_path / "run" / condition / name).read_bytes() == (measured / CONDITION / name).read_bytes(), name
    assert (tmp_path / "run" / condition / "trace.json").read_bytes() == trace.read_bytes()


def test_every_delay_is_an_condition_and_constant_ones_leave_no_trace(tmp_path: Path, policy: str):
    out = tmp_path / "run"
    delays = ["2", "uniform:0,2", "lossy:0.2,of=1", "2", "constant:2"]
    taps = [
        "--timeout",
        5,
        "--observation-delay",
        1,
        "--actuation-delay",
        1,
        "--delay-estimator",
        "p95",
        "--execution-horizon",
        4,
    ]
    assert evaluate("--policy", policy, "--seeds", 5, "--delay", *delays, *taps, "--out", out) == 0
    conditions = [f"rtc_{delay}_s4_est-p95_t5_o1_a1" for delay in ("d2", "uniform0-2", "lossy0.2-d1")]
    assert list(json.loads((out / "manifest.json").read_text())["configuration"]["conditions"]) == conditions
    assert [(out / condition / "trace.json").exists() for condition in conditions] == [False, True, True]
    (lossy,) = read_episodes(out / conditions[2] / "episodes.jsonl")
    assert lossy.detail["lost_answers"] > 0
    assert set(lossy.detail["observation_ages"]) == {0, 1}
    steps = load(out / conditions[0] / "steps" / "0000.npz")
    assert np.array_equal(steps.ran[1:], steps.command[:-1])
    assert not np.array_equal(steps.ran[0], steps.command[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delay", "unifrom:1,6"], "delay 'unifrom:1,6': there is no 'unifrom'; there are: bursty, constant,"),
        (["--delay", "uniform:1"], "delay 'uniform:1': uniform needs high; it takes low, high"),
        (["--delay", "-1"], "delay '-1': delay d is -1; it must be a whole number of control steps, at least 0"),
        (["--delay", "1.5"], "delay '1.5': steps is '1.5'; it must be a whole number of control steps"),
        (["--delay", "trace:nowhere.json"], "delay trace nowhere.json cannot be read"),
        (["--delay-estimator", "mux"], "there is no 'mux'; there are: average, constant, max, oracle, p95"),
        (["--executor", "bid"], "executor 'bid' is not offered: bidirectional decoding chooses among sampled chunks"),
        (["--executor", "guided_rtc"], "executor 'guided_rtc' is not offered: guided real-time chunking steers"),
        (["--device", "quantum"], "--device quantum: "),
        (["--compile", "fast"], "unknown compile mode 'fast'; there are: auto, default, "),
        (["--policy", "expert", "--delay", "measured"], "the expert acts in every step without inference"),
        (["--policy", "expert", "--actuation-delay", "1"], "the expert acts in every step without inference"),
    ],
)  # fmt: skip
def test_what_needs_no_policy_is_refused_before_anything_is_loaded(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    first = [] if "--policy" in arguments else ["--policy", policy]
    assert evaluate(*first, *arguments, "--out", tmp_path / "run") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.out == "", "nothing is said to be loading"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delay", "measured"], "the estimated delay is unbounded; the policy was trained for delays up to"),
        (["--delay", "measured", "--delay-estimator", "oracle"], "the oracle cannot know a measured delay"),
        (["--delay", "lossy:0.1"], "lost answers need a timeout, in steps"),
        (["--delay", "4", "--timeout", "3"], "delay 4 is above the timeout of 3 steps"),
        (["--delay", "3", "--observation-delay", "2"], "the estimated delay can reach 5 (observation delay k = 2"),
        (["--observation-delay", "-1"], "observation delay is -1; it must be a whole number of control steps"),
        (["--executor", "naive", "--delay-estimator", "max"], "rtc"),
        (["--delay", "trace:SHORT"], "the delay trace holds 3 answers for episode seed 3; 200 steps with s = 4 may"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_before_the_first_episode(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    short = tmp_path / "short.json"
    short.write_text('{"episodes": {"3": [1, 1, 2]}}')
    named = [text.replace("SHORT", str(short)) for text in arguments]
    assert evaluate("--policy", policy, "--seeds", 3, *named, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_refused_stays_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert evaluate("--policy", "expert", "--seeds", 3, "--out", tmp_path / "mine") == 1
    assert "is not a run folder and holds thesis.tex; choose another --out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert evaluate("--policy", "expert", "--seeds", 3, "--out", tmp_path / "mine" / "thesis.tex") == 2
    assert f"{tmp_path / 'mine' / 'thesis.tex'} is a file; name a folder" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("size", [8192, 20_000])  # too small for the steps, which workers write, or for a figure
def test_a_full_disk_is_named_and_the_run_resumes(tmp_path: Path, size: int):
    arguments = ["evaluate", "--policy", "expert", "--seeds", "3,17", "--video", "none", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "act_eval", *arguments, "--workers", "2"],  # cuts no bytecode files off
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot write to {tmp_path / 'run'}: File too large" in done.stderr
    assert "Finished episodes are kept: repeat the command" in done.stderr
    assert "Traceback" not in done.stderr
    assert main([*arguments, "--workers", "1"]) == 0
    assert len(read_episodes(tmp_path / "run" / "expert" / "episodes.jsonl")) == 2
