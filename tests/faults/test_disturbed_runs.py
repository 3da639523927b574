"""Full disks, interrupts, rivals, truncated files and missing OpenGL: a named cause, and a run that can go on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disturbed import content, toy_run, undisturbed_content, wait_for
from toy_run import run

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits file sizes and looks into /proc")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed_content(tmp_path_factory.mktemp("faults") / "undisturbed")


def no_traceback(said: str) -> str:
    assert "Traceback" not in said, said
    return said


@pytest.mark.parametrize(
    ("largest_file", "workers"),
    [(100, 1), (2500, 1), pytest.param(1200, 2, marks=pytest.mark.slow), pytest.param(4000, 2, marks=pytest.mark.slow)],
)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, undisturbed: dict[str, bytes], largest_file: int, workers: int
) -> None:
    out = tmp_path / "run"
    code, said = toy_run(out, workers, pause_s=0, largest_file=largest_file).end()
    assert code == 1
    assert f"error: cannot write to {out}: File too large" in no_traceback(said)
    assert "Finished episodes are kept: repeat the command once writing is possible." in said
    assert not list(out.glob("*/episodes.jsonl"))
    run(out, workers=1, episodes=8, pause_s=0)
    assert content(out) == undisturbed


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_two_interrupts_end_everything_without_a_traceback(
    tmp_path: Path, undisturbed: dict[str, bytes], seed: int
) -> None:
    moment = random.Random(seed)
    out = tmp_path / "run"
    process = toy_run(out, pause_s=0.03)
    wait_for(out / "manifest.json", process)
    time.sleep(moment.uniform(0, 0.5))
    process.signal_all(signal.SIGINT)
    time.sleep(moment.uniform(0, 0.2))
    process.signal_all(signal.SIGINT)
    code, said = process.end()
    assert code in (130, -signal.SIGINT)  # a shell says 130 either way
    assert no_traceback(said).splitlines()[-1] == "interrupted"
    run(out, workers=1, episodes=8, pause_s=0)
    assert content(out) == undisturbed


def test_an_interrupt_after_the_end_of_a_command_is_silent() -> None:
    late = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
    command = "import sys; from act_eval.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run([sys.executable, "-c", f"{late}\n{command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_of_two_runs_into_one_folder_one_ends_and_the_other_is_refused(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "run"
    rivals = [toy_run(out, 1, pause_s=0.05) for _ in range(2)]
    ended = sorted(rival.end() for rival in rivals)
    assert ended[0] == (0, "")
    refused = f"error: {out} is in use by another process; wait for it or choose another --out\n"
    assert ended[1] in [(1, refused), (0, "")]  # the second may have come when all was done
    assert content(out) == undisturbed


@pytest.mark.parametrize("kept", [0, 1, 300, -1])
def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path, undisturbed: dict[str, bytes], kept: int) -> None:
    out = tmp_path / "run"
    process = toy_run(out, 1, pause_s=0.03)
    shard = out / "shards" / "00000.jsonl"
    wait_for(shard, process)
    while not shard.read_bytes().count(b"\n"):
        time.sleep(0.01)
    process.signal_all(signal.SIGKILL)
    process.end()
    whole = shard.read_bytes()
    begun = whole.rindex(b"\n", 0, len(whole) - 1) + 1 if whole.count(b"\n") > 1 else 0
    last = whole[begun:]
    shard.write_bytes(whole[:begun] + (last[:kept] if kept >= 0 else last[:-1]))
    run(out, workers=1, episodes=8, pause_s=0)
    assert content(out) == undisturbed


def test_missing_opengl_is_named(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "evaluate.py", "--policy", "expert", "--episodes", "1"]
    environment = {**os.environ, "MUJOCO_GL": "egl", "LD_PRELOAD": "", "EGL_PLATFORM": "nonsense", "DISPLAY": ""}
    environment |= {"__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    ended = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "run"), "--workers", "1"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "error: " in no_traceback(ended.stderr)
    assert "OpenGL" in ended.stderr
